"""Trains a ToolRanker on episodes: a contrastive loss, then the calibration of its scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.checkpoint import fingerprint
from tryage.core.validation import check_integer, check_number, require_extra
from tryage.errors import InputError
from tryage.learning.training.optimizer import ResumableTrainer, Schedule
from tryage.tools.bm25 import N_LEXICAL_FEATURES, BM25Index
from tryage.tools.calibration import RankingExample, calibrate_matcher, fit_lexical_weights
from tryage.tools.episodes import group_by_toolset, is_held_out
from tryage.tools.matching import (
    N_NEEDED_FEATURES,
    N_USEFULNESS_FEATURES,
    ToolMatcher,
    tool_fingerprints,
)
from tryage.tools.ranker import ToolRanker

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, Int64Array
    from tryage.perception.encoder import Encoder
    from tryage.tools.episodes import Episode, EpisodeGroup

_MIN_EPISODES = 50

_INITIAL_ARGUMENT_WEIGHT = 0.3

_INITIAL_COSINE_SCALE = 20.0

_INITIAL_LEXICAL_WEIGHTS = (4.0, 1.0, 1.0)

_SCALAR_LR_FACTOR = 10.0  # scalars learn this much faster than the maps

# Tools of other episodes are negatives as well, with a lower weight: one of them may be of use.
_OUTSIDE_LOGIT_BIAS = -2.0

_MIN_GROUPS_TO_TRANSFER = 3  # lists of tools; of fewer nothing can be learned about other lists

_MAX_TRANSFER_EPISODES = 300  # of each list of tools


@dataclass(frozen=True, slots=True)
class ToolRankerConfig:
    """How to train.

    `identity_penalty` pulls the maps to the identity, which suits every tool to some degree.
    `negatives` limits the tools that one step compares. One in `held_out_one_in` queries is kept
    from the maps and calibrates the scores.

    `interpolation` is how far the maps go from the identity, 0, to those learned, 1 (Wortsman et
    al., 2022): 1 is best for the tools of training, 0.5 for tools that training has not seen.
    `seen_penalty` is subtracted from the scores of the former, so that the latter compete with them
    fairly. Both apply after the optimization, so one checkpoint serves all their values.

    Raises:
        InputError: a number is out of range.
    """

    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=7, learning_rate=2e-3, batch_size=128, dropout=0.1)
    )
    identity_penalty: float = 3e-3
    negatives: int = 256
    held_out_one_in: int = 5
    interpolation: float = 1.0
    seen_penalty: float = 1.4  # chosen by leaving out tools again, inside a fold's training part

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        check_number("identity_penalty", self.identity_penalty)
        check_integer("negatives", self.negatives, 1)
        check_integer("held_out_one_in", self.held_out_one_in, 2)
        check_number("interpolation", self.interpolation, 0.0, 1.0)
        check_number("seen_penalty", self.seen_penalty)


def fit_ranker(
    episodes: Sequence[Episode],
    encoder: Encoder,
    *,
    config: ToolRankerConfig | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> ToolRanker:
    """Train a ranker on what queries needed.

    The loss is InfoNCE (van den Oord et al., 2018) over the tools of each episode. A fifth of the
    queries, by their text, is held out: the scores are calibrated on them. If there are three lists
    of tools or more, each is left out once, to learn how much the shared words tell of tools that
    are not in training.

    Args:
        episodes: Queries with their tools; from those that need no tool it learns when to abstain.
        encoder: Embeds queries and tools; it is not changed.
        config: Schedule, seed and sizes.
        checkpoint: A folder; the same call, killed and started again, continues where it stopped.
        progress: Whether to show a progress bar.

    Raises:
        InputError: fewer than 50 episodes in which a tool is useful.
        MissingExtraError: torch or scikit-learn is not installed.
    """
    for package, extra in (("torch", "train"), ("sklearn", "evaluate")):
        require_extra(package, extra)
    config = config or ToolRankerConfig()
    one_in = config.held_out_one_in
    held_out = [episode for episode in episodes if is_held_out(episode, one_in)]
    training = [
        episode for episode in episodes if episode.useful and not is_held_out(episode, one_in)
    ]
    if len(training) < _MIN_EPISODES:
        raise InputError(
            f"{len(training)} episodes with a useful tool are left to learn from; training needs "
            f"at least {_MIN_EPISODES}, and some hundreds to be better than the bundled ranker."
        )
    groups = [_EncodedGroup(group, encoder) for group in group_by_toolset(training)]
    path = None if checkpoint is None else Path(checkpoint) / _checkpoint_name(training, config)
    learned_matcher = _fit_maps(groups, encoder.dim, config, path, progress=progress)
    matcher = replace(
        learned_matcher.interpolate(config.interpolation),
        seen_fingerprints=np.unique(
            tool_fingerprints(tool for group in groups for tool in group.tools)
        ),
        seen_penalty=config.seen_penalty,
    )
    if len(groups) >= _MIN_GROUPS_TO_TRANSFER:
        weights = _fit_unseen_weights(groups, learned_matcher, config, progress=progress)
        matcher = replace(matcher, unseen_lexical_weights=weights)
    return ToolRanker(encoder, calibrate_matcher(matcher, encoder, held_out))


def _checkpoint_name(training: Sequence[Episode], config: ToolRankerConfig) -> str:
    """Return a name that is the same for the same episodes and the same optimization."""
    optimization = asdict(replace(config, interpolation=1.0, seen_penalty=0.0))
    key = fingerprint(*((e.query, tuple(sorted(e.useful))) for e in training), optimization)
    return f"tools-{key}.safetensors"


# What a step compares ---------------------------------------------------------------------


class _EncodedGroup:
    """A group as numbers: embeddings and words of its queries and tools, and the useful tools.

    `own_tools` and `useful` hold per episode the positions of its tools and of its useful ones.
    """

    def __init__(self, group: EpisodeGroup, encoder: Encoder) -> None:
        self.episodes, self.tools = group.episodes, group.tools
        self.queries = encoder.encode([episode.query for episode in group.episodes])
        self.titles = encoder.encode([tool.title for tool in group.tools])
        self.full_texts = encoder.encode([tool.full_text for tool in group.tools])
        index = BM25Index(group.tools)
        self._lexical = [_nonzero_rows(index(episode.query)) for episode in group.episodes]
        positions = {tool: i for i, tool in enumerate(group.tools)}
        lists = {id(episode.tools): episode.tools for episode in group.episodes}
        positions_by_toolset = {
            key: np.array([positions[tool] for tool in tools]) for key, tools in lists.items()
        }
        self.own_tools = [positions_by_toolset[id(episode.tools)] for episode in group.episodes]
        self.useful = [
            np.unique([positions[episode.tools[row]] for row in episode.useful_rows()])
            for episode in group.episodes
        ]

    def lexical_features(self, rows: Int64Array, columns: Int64Array) -> Float32Array:
        """Return words' features, `(n_rows, n_columns, N_LEXICAL_FEATURES)`."""
        features = np.zeros((len(rows), len(self.titles), N_LEXICAL_FEATURES), np.float32)
        for row_features, row in zip(features, rows, strict=True):
            tools, nonzero = self._lexical[row]
            row_features[tools] = nonzero
        return features[:, columns]

    def ranking_examples(self, matcher: ToolMatcher) -> list[RankingExample]:
        """Return some episodes with the cosines of `matcher`, each among its own tools."""
        tools = matcher.embed_tools(self.titles, self.full_texts)
        order = np.random.default_rng(0).permutation(len(self.episodes))[:_MAX_TRANSFER_EPISODES]
        examples = []
        for row in np.sort(order):
            own_tools = self.own_tools[row]
            query = matcher.embed_queries(self.queries[[row]])[0]
            lexical = self.lexical_features(np.array([row]), own_tools)[0]
            is_useful = np.isin(own_tools, self.useful[row])
            examples.append(RankingExample(tools[own_tools] @ query, lexical, is_useful))
        return examples

    def sample_candidates(
        self, rows: Int64Array, limit: int, rng: np.random.Generator
    ) -> Int64Array:
        """Return the tools of one step: all useful ones, and others that the episodes have."""
        useful = np.unique(np.concatenate([self.useful[row] for row in rows]))
        others = np.setdiff1d(np.concatenate([self.own_tools[row] for row in rows]), useful)
        negatives = rng.permutation(others)[: max(limit - len(useful), 0)]
        return np.sort(np.concatenate([useful, negatives]))


def _nonzero_rows(features: Float32Array) -> tuple[NDArray[np.intp], Float32Array]:
    """Return the rows of `(n_tools, N_LEXICAL_FEATURES)` that are not zero: indices and values."""
    tools = np.flatnonzero(features.any(axis=1))
    return tools, features[tools]


# The maps: a contrastive loss --------------------------------------------------------------


def _fit_maps(
    groups: Sequence[_EncodedGroup],
    dim: int,
    config: ToolRankerConfig,
    path: Path | None,
    *,
    progress: bool,
) -> ToolMatcher:
    """Train maps and weights, or continue from the checkpoint at `path`; nothing is calibrated."""
    model = _TrainableMatcher(dim)
    objective = _ContrastiveObjective(groups, config)
    trainer = ResumableTrainer(model.parameters, config.schedule, path=path, progress=progress)
    trainer.run(lambda rows, rng: objective.loss(model, rows, rng), objective.batches)
    return model.to_matcher()


def _fit_unseen_weights(
    groups: Sequence[_EncodedGroup],
    learned_matcher: ToolMatcher,
    config: ToolRankerConfig,
    *,
    progress: bool,
) -> Float32Array:
    """Leave each group out of the maps, and fit the weights of the words on all that were out."""
    dim = len(learned_matcher.query_map)
    examples = []
    for left_out in groups:
        others = [group for group in groups if group is not left_out]
        matcher = _fit_maps(others, dim, config, None, progress=progress)
        examples.append(left_out.ranking_examples(matcher.interpolate(config.interpolation)))
    return fit_lexical_weights(examples, learned_matcher.cosine_scale)


class _ContrastiveObjective:
    """InfoNCE over groups of very different sizes: a group counts by the root of its size.

    Batches hold row numbers over all groups; group `i` has those from `starts[i]` on.
    """

    def __init__(self, groups: Sequence[_EncodedGroup], config: ToolRankerConfig) -> None:
        self.groups, self.config = groups, config
        self.starts = np.cumsum([0, *(len(group.episodes) for group in groups)])

    def batches(self, rng: np.random.Generator) -> list[Int64Array]:
        """Draw the batches of an epoch: as many as all episodes fill, each from one group."""
        sizes = np.diff(self.starts)
        share = np.sqrt(sizes) / np.sqrt(sizes).sum()
        size = self.config.schedule.batch_size
        n_batches = max(1, round(float(sizes.sum()) / size))
        drawn_groups = rng.choice(len(sizes), n_batches, p=share)
        return [
            self.starts[group] + rng.permutation(sizes[group])[:size].astype(np.int64)
            for group in drawn_groups.tolist()
        ]

    def loss(
        self, model: _TrainableMatcher, rows: Int64Array, rng: np.random.Generator
    ) -> torch.Tensor:
        """Compare each query's useful tools with the others, and stay near the identity."""
        import torch

        group_index = int(np.searchsorted(self.starts, rows[0], side="right")) - 1
        group, group_rows = self.groups[group_index], rows - self.starts[group_index]
        columns = group.sample_candidates(group_rows, self.config.negatives, rng)
        scores = model.scores(
            torch.from_numpy(group.queries[group_rows]),
            (torch.from_numpy(group.titles[columns]), torch.from_numpy(group.full_texts[columns])),
            torch.from_numpy(group.lexical_features(group_rows, columns)),
            self.config.schedule.dropout,
        )
        targets, bias = _targets(group, group_rows, columns)
        log_probabilities = (scores + torch.from_numpy(bias)).log_softmax(1)
        contrastive = -(torch.from_numpy(targets) * log_probabilities).sum(1).mean()
        return contrastive + self.config.identity_penalty * model.identity_distance()


def _targets(
    group: _EncodedGroup, rows: Int64Array, columns: Int64Array
) -> tuple[Float32Array, Float32Array]:
    """Return the useful tools as rows that sum to 1, and the bias of other episodes' tools."""
    targets = np.zeros((len(rows), len(columns)), np.float32)
    bias = np.full_like(targets, _OUTSIDE_LOGIT_BIAS)
    for i, row in enumerate(rows):
        targets[i, np.searchsorted(columns, group.useful[row])] = 1 / len(group.useful[row])
        bias[i, np.isin(columns, group.own_tools[row])] = 0
    return targets, bias


class _TrainableMatcher:
    """The parameters of a `ToolMatcher` as tensors."""

    def __init__(self, dim: int) -> None:
        import torch

        self._identity = torch.eye(dim)
        self._initial_scalars = torch.tensor(
            [_INITIAL_ARGUMENT_WEIGHT, _INITIAL_COSINE_SCALE, *_INITIAL_LEXICAL_WEIGHTS]
        )
        self._initial_scalars[1] = self._initial_scalars[1].log()
        self.parameters = {
            "query_map": torch.nn.Parameter(self._identity.clone()),
            "tool_map": torch.nn.Parameter(self._identity.clone()),
            "numbers": torch.nn.Parameter(torch.zeros(len(self._initial_scalars))),
        }

    def scores(
        self,
        queries: torch.Tensor,
        tools: tuple[torch.Tensor, torch.Tensor],
        lexical: torch.Tensor,
        dropout_rate: float,
    ) -> torch.Tensor:
        """Score every query with every tool, as `ToolMatcher.scores` does.

        `tools` are the embeddings of the titles and of the full texts.
        """
        import torch
        from torch.nn.functional import dropout, normalize

        argument_weight, log_cosine_scale, *lexical_weights = self.scalars()
        tool_embeddings = (1 - argument_weight) * tools[0] + argument_weight * tools[1]
        query_vectors = normalize(
            dropout(queries, dropout_rate) @ self.parameters["query_map"], eps=1e-6
        )
        tool_vectors = normalize(
            dropout(tool_embeddings, dropout_rate) @ self.parameters["tool_map"], eps=1e-6
        )
        cosines = log_cosine_scale.exp() * query_vectors @ tool_vectors.T
        scores: torch.Tensor = cosines + lexical @ torch.stack(lexical_weights)
        return scores

    def scalars(self) -> torch.Tensor:
        """Return the argument weight, the logarithm of the cosine scale, the lexical weights."""
        return self._initial_scalars + _SCALAR_LR_FACTOR * self.parameters["numbers"]

    def identity_distance(self) -> torch.Tensor:
        """Return the squared distance of the maps from the identity."""
        maps = (self.parameters["query_map"], self.parameters["tool_map"])
        return (maps[0] - self._identity).pow(2).sum() + (maps[1] - self._identity).pow(2).sum()

    def to_matcher(self) -> ToolMatcher:
        """Return what was learned, not yet calibrated."""
        argument_weight, log_cosine_scale, *lexical_weights = self.scalars().tolist()
        return ToolMatcher(
            query_map=_to_numpy(self.parameters["query_map"]),
            tool_map=_to_numpy(self.parameters["tool_map"]),
            argument_weight=float(np.clip(argument_weight, 0, 1)),
            cosine_scale=float(np.exp(log_cosine_scale)),
            lexical_weights=np.array(lexical_weights, np.float32),
            clause_weight=0.0,
            usefulness_coef=np.array([0, 1, *np.zeros(N_USEFULNESS_FEATURES - 1)], np.float32),
            needed_coef=np.zeros(N_NEEDED_FEATURES + 1, np.float32),
        )


def _to_numpy(parameter: torch.Tensor) -> Float32Array:
    return np.array(parameter.detach().numpy(), np.float32)
