"""Trains a ToolRanker on episodes: a contrastive loss, then the calibration of its scores."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.learning.checkpoint import fingerprint
from tryage.learning.training.optimizer import ResumableTrainer, Schedule
from tryage.tools.bm25 import N_LEXICAL_FEATURES, BM25Index
from tryage.tools.matching import (
    N_NEEDED_FEATURES,
    Feedback,
    QueryScores,
    Toolbox,
    ToolMatcher,
    build_toolbox,
    margins,
    score_query,
    tool_fingerprints,
)
from tryage.tools.ranker import ToolRanker
from tryage.tools.tool import unique_names

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float32Array, Int64Array
    from tryage.perception.encoder import Encoder
    from tryage.tools.tool import Tool

_MIN_EPISODES = 50

_MIN_GROUP_SIZE = 32  # episodes that share their tools; smaller groups are joined

_INITIAL_ARGUMENT_WEIGHT = 0.3

_INITIAL_COSINE_SCALE = 20.0

_INITIAL_LEXICAL_WEIGHTS = (4.0, 1.0, 1.0)

_SCALAR_LR_FACTOR = 10.0  # scalars learn this much faster than the maps

# Tools of other episodes are negatives as well, with a lower weight: one of them may be of use.
_OUTSIDE_LOGIT_BIAS = -2.0

# Another split of queries by the same hash must not contain all held-out ones, hence the salt.
_HELD_OUT_SALT = b"kept apart"

_MAX_CALIBRATION_EPISODES = 4_000  # more do not change what is learned from them

_CLAUSE_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5)

_RECALL_AT = 5  # the clause weight is the one with the highest recall at 5

_N_HARD_NEGATIVES = 20  # the useless tools of an episode that score highest

_ALWAYS_NEEDED_INTERCEPT = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One query among `tools`; `useful` names the tools that it needs, if any.

    A name that several tools have stands for all of them; a name of `unique_names` for one.

    Raises:
        InputError: no tools, or a useful one that is not among them.
    """

    query: str
    tools: Sequence[Tool]
    useful: Collection[str]

    def __post_init__(self) -> None:
        """Check that the useful tools are among the tools."""
        unknown_names = set(self.useful) - {tool.name for tool in self.tools}
        if unknown_names:  # unique names are looked up last, because they take time to make
            unknown_names -= set(unique_names(self.tools))
        if not self.tools or unknown_names:
            raise InputError(
                "An episode needs tools, and the useful ones among them; got "
                f"{len(self.tools)} tools and, not among them, {sorted(unknown_names)[:5]}."
            )

    def useful_rows(self) -> NDArray[np.intp]:
        """Return the positions of the useful tools among the tools, in their order."""
        is_useful = np.array([tool.name in self.useful for tool in self.tools])
        if is_useful.sum() < len(self.useful):  # some names are unique names
            is_useful |= [name in self.useful for name in unique_names(self.tools)]
        return np.flatnonzero(is_useful)


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
    """

    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=7, learning_rate=2e-3, batch_size=128, dropout=0.1)
    )
    identity_penalty: float = 3e-3
    negatives: int = 256
    held_out_one_in: int = 5
    interpolation: float = 1.0
    seen_penalty: float = 1.4  # chosen by leaving out tools again, inside a fold's training part


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
    queries, by their text, is held out: the scores are calibrated on them.

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
    return ToolRanker(encoder, calibrate_matcher(matcher, encoder, held_out))


def is_held_out(episode: Episode, one_in: int) -> bool:
    """Tell, by the text of its query, whether an episode is kept from training the maps."""
    text = episode.query.encode("utf-8", "replace")
    digest = blake2b(text, digest_size=4, salt=_HELD_OUT_SALT).digest()
    return int.from_bytes(digest, "big") % one_in == 0


def _checkpoint_name(training: Sequence[Episode], config: ToolRankerConfig) -> str:
    """Return a name that is the same for the same episodes and the same optimization."""
    optimization = asdict(replace(config, interpolation=1.0, seen_penalty=0.0))
    key = fingerprint(*((e.query, tuple(sorted(e.useful))) for e in training), optimization)
    return f"tools-{key}.safetensors"


# Groups of episodes that share their tools -------------------------------------------------


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes that one step may compare, and every tool that one of them has."""

    episodes: tuple[Episode, ...]
    tools: tuple[Tool, ...]


def group_by_toolset(episodes: Sequence[Episode]) -> tuple[EpisodeGroup, ...]:
    """Group episodes that have the same list of tools; those with rare lists form one group."""
    by_toolset: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_toolset[id(episode.tools)].append(episode)
    groups = [group for group in by_toolset.values() if len(group) >= _MIN_GROUP_SIZE]
    small_groups = [group for group in by_toolset.values() if len(group) < _MIN_GROUP_SIZE]
    if small_groups:
        groups.append([episode for group in small_groups for episode in group])
    return tuple(EpisodeGroup(tuple(group), _union_of_tools(group)) for group in groups)


def _union_of_tools(episodes: Sequence[Episode]) -> tuple[Tool, ...]:
    lists = {id(episode.tools): episode.tools for episode in episodes}
    return tuple(dict.fromkeys(tool for tools in lists.values() for tool in tools))


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
            usefulness_coef=np.array([0, 1, 0], np.float32),
            needed_coef=np.zeros(N_NEEDED_FEATURES + 1, np.float32),
        )


def _to_numpy(parameter: torch.Tensor) -> Float32Array:
    return np.array(parameter.detach().numpy(), np.float32)


# Calibration: the weight of clauses, and what a score means --------------------------------


def calibrate_matcher(
    matcher: ToolMatcher, encoder: Encoder, held_out: Sequence[Episode]
) -> ToolMatcher:
    """Fit the clause weight and both logistic regressions on episodes that the maps have not seen.

    Without an episode that has a useful tool the matcher is returned as it is.
    """
    order = np.random.default_rng(0).permutation(len(held_out))[:_MAX_CALIBRATION_EPISODES]
    sample = [held_out[i] for i in sorted(order.tolist())]
    scored_episodes = _score_episodes(matcher, encoder, sample)
    tool_episodes = [episode for episode in scored_episodes if episode.useful.any()]
    if not tool_episodes:
        return matcher
    candidates = [replace(matcher, clause_weight=weight) for weight in _CLAUSE_WEIGHTS]
    recalls = [
        np.mean([episode.recall(candidate) for episode in tool_episodes])
        for candidate in candidates
    ]
    best = candidates[int(np.argmax(recalls))]
    return replace(
        best,
        usefulness_coef=_fit_usefulness(best, scored_episodes),
        needed_coef=_fit_needed(scored_episodes),
    )


@dataclass(frozen=True, slots=True)
class _ScoredEpisode:
    """The scores of an episode, which of its tools are useful `(n_tools,)`, and its group."""

    scores: QueryScores
    useful: BoolArray
    group: int

    def combined_scores(self, matcher: ToolMatcher) -> Float32Array:
        """Return the scores of the query and its best clause, `(n_tools,)`."""
        return matcher.combine_clauses(self.scores.whole_query, self.scores.clauses)

    def recall(self, matcher: ToolMatcher) -> float:
        """Return the share of the useful tools among the best `_RECALL_AT`."""
        best = np.argsort(-self.combined_scores(matcher), kind="stable")[:_RECALL_AT]
        return float(self.useful[best].sum() / self.useful.sum())


def _score_episodes(
    matcher: ToolMatcher, encoder: Encoder, episodes: Sequence[Episode]
) -> list[_ScoredEpisode]:
    toolboxes: dict[int, Toolbox] = {}
    scored_episodes = []
    for group_index, group in enumerate(group_by_toolset(episodes)):
        for episode in group.episodes:
            if id(episode.tools) not in toolboxes:
                toolboxes[id(episode.tools)] = build_toolbox(episode.tools, encoder, matcher)
            scores = score_query(
                episode.query, toolboxes[id(episode.tools)], encoder, matcher, Feedback()
            )
            useful = np.zeros(len(episode.tools), np.bool_)
            useful[episode.useful_rows()] = True
            scored_episodes.append(_ScoredEpisode(scores, useful, group_index))
    return scored_episodes


def _fit_usefulness(
    matcher: ToolMatcher, scored_episodes: Sequence[_ScoredEpisode]
) -> Float32Array:
    """Fit the probability that a tool is of use, from its score and its margin."""
    rows, labels = [], []
    for episode in scored_episodes:
        scores = episode.combined_scores(matcher)
        order = np.argsort(-scores, kind="stable")
        hard_negatives = order[~episode.useful[order]][:_N_HARD_NEGATIVES]
        sampled_tools = np.concatenate([np.flatnonzero(episode.useful), hard_negatives])
        rows.append(np.stack([scores, margins(scores)], axis=1)[sampled_tools])
        labels.append(episode.useful[sampled_tools])
    return _fit_logistic(np.concatenate(rows), np.concatenate(labels))


def _fit_needed(scored_episodes: Sequence[_ScoredEpisode]) -> Float32Array:
    """Fit the probability that any tool is needed.

    Only groups count in which some queries need a tool and others do not: elsewhere the two would
    differ by their tools. Without such a group a tool is always needed.
    """
    needs_tool = np.array([bool(episode.useful.any()) for episode in scored_episodes])
    groups = np.array([episode.group for episode in scored_episodes])
    mixed_groups = np.intersect1d(groups[needs_tool], groups[~needs_tool])
    is_mixed = np.isin(groups, mixed_groups)
    if not is_mixed.any():
        return np.array([_ALWAYS_NEEDED_INTERCEPT, *np.zeros(N_NEEDED_FEATURES)], np.float32)
    features = np.stack([episode.scores.needed_features for episode in scored_episodes])
    return _fit_logistic(features[is_mixed], needs_tool[is_mixed])


def _fit_logistic(rows: Float32Array, labels: BoolArray) -> Float32Array:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0, max_iter=1_000).fit(rows, labels)
    return np.array([model.intercept_[0], *model.coef_[0]], np.float32)
