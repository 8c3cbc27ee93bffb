"""Learns a fit of queries and tools from episodes: contrast first, then what its scores mean."""

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

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, Int64Array
    from tryage.perception.encoder import Encoder
    from tryage.tools.tool import Tool

_MIN_EPISODES = 50

_INITIAL_VALUES = {"details": 0.3, "sharpness": 20.0, "share": 4.0, "told": 1.0, "named": 1.0}

_SCALAR_LR_FACTOR = 10.0  # numbers learn this much faster than the maps

_OUTSIDE_LOGIT_BIAS = (
    -2.0
)  # another episode's tools teach too, but less: one of them might have served

_HELD_OUT_SALT = (
    b"kept apart"  # whoever splits queries by the same hash shall not take all that judge
)

_MIN_GROUP_SIZE = 32  # episodes with the same tools are learned among themselves

_CLAUSE_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5)

_RECALL_AT = 5  # recall among so many is what a clause's weight is chosen by

_MAX_EPISODES = 4_000  # episodes that judge; more would not change what is learned from them

_N_HARD_NEGATIVES = 20  # tools of no use that an episode shows, the nearest ones


@dataclass(frozen=True, slots=True)
class ToolRankerConfig:
    """How to learn.

    `stay` pulls the maps to the identity, which knows every tool a little; `negatives` bounds the
    tools that one step compares; `kept_apart` is one in how many queries only judges. `trust` is
    how far the maps go from the plain encoder, 0, to what was learned, 1 (Wortsman et al., 2022):
    all the way is best for the tools of training, half of it for tools that it has not seen.
    `handicap` is taken off the scores of the former, so that the latter compete with them fairly.
    Neither takes part in the descent: one that is kept serves whatever they are.
    """

    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=7, learning_rate=2e-3, batch_size=128, dropout=0.1)
    )
    identity_penalty: float = 3e-3
    negatives: int = 256
    held_out_one_in: int = 5
    interpolation: float = 1.0
    seen_penalty: float = (
        1.4  # chosen by leaving out tools once more, inside a fold's training part
    )


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
    queries, by their text, only judge: what scores mean is learned there.

    Args:
        episodes: Queries with their tools; those that need none teach when to abstain.
        encoder: Reads queries and tools; it stays as it is.
        recipe: Schedule, seed and sizes.
        checkpoint: A folder; the same call, killed and started again, goes on where it was.
        progress: Whether to show a progress bar.

    Raises:
        InputError: fewer than 50 episodes in which a tool is useful.
        MissingExtraError: torch or scikit-learn is not installed.
    """
    for package, extra in (("torch", "train"), ("sklearn", "evaluate")):
        require_extra(package, extra)
    config = config or ToolRankerConfig()
    held_out = [one for one in episodes if is_held_out(one, config.held_out_one_in)]
    training = [
        one for one in episodes if one.useful and not is_held_out(one, config.held_out_one_in)
    ]
    if len(training) < _MIN_EPISODES:
        raise InputError(
            f"{len(training)} episodes with a useful tool are left to learn from; training needs at "
            f"least {_MIN_EPISODES}, and some hundreds to be better than the bundled ranker."
        )
    descent = asdict(replace(config, interpolation=1.0, seen_penalty=0.0))
    key = fingerprint(*((e.query, tuple(sorted(e.useful))) for e in training), descent)
    path = None if checkpoint is None else Path(checkpoint) / f"tools-{key}.safetensors"
    model = _TrainableMatcher(encoder.dim)
    parts = [_EncodedGroup(group, encoder) for group in group_by_toolset(training)]
    run = ResumableTrainer(model.parameters, config.schedule, path=path, progress=progress)
    objective = _ContrastiveObjective(parts, config)
    run.run(lambda rows, rng: objective.loss(model, rows, rng), objective.batches)
    seen = np.unique(tool_fingerprints(tool for part in parts for tool in part.tools))
    matcher = replace(
        model.to_matcher().interpolate(config.interpolation),
        seen_fingerprints=seen,
        seen_penalty=config.seen_penalty,
    )
    return ToolRanker(encoder, calibrate_matcher(matcher, encoder, held_out))


class _EncodedGroup:
    """A group as numbers: embeddings of its queries and tools, its words, and who is useful."""

    def __init__(self, group: EpisodeGroup, encoder: Encoder) -> None:
        self.episodes, self.tools = group.episodes, group.tools
        self.queries = encoder.encode([one.query for one in group.episodes])
        self.titles = encoder.encode([tool.title for tool in group.tools])
        self.full_texts = encoder.encode(
            [f"{tool.title} {tool.arguments_text}" for tool in group.tools]
        )
        index = BM25Index(group.tools)
        self._lexical = [_nonzero_rows(index(one.query)) for one in group.episodes]
        places = {tool: i for i, tool in enumerate(group.tools)}
        lists = {id(one.tools): one.tools for one in group.episodes}
        own = {key: np.array([places[tool] for tool in tools]) for key, tools in lists.items()}
        self.own_tools = [own[id(one.tools)] for one in group.episodes]
        self.useful = [
            np.array([places[tool] for tool in one.tools if tool.name in one.useful])
            for one in group.episodes
        ]

    def lexical_features(self, rows: Int64Array, columns: Int64Array) -> Float32Array:
        """Say what words tell of these episodes and tools, `(n_rows, n_columns, WIDTH)`."""
        whole = np.zeros((len(rows), len(self.titles), N_LEXICAL_FEATURES), np.float32)
        for place, row in zip(whole, rows, strict=True):
            tools, told = self._lexical[row]
            place[tools] = told
        return whole[:, columns]

    def sample_candidates(
        self, rows: Int64Array, limit: int, rng: np.random.Generator
    ) -> Int64Array:
        """Choose the tools of one step: the useful ones, and others that the episodes have."""
        useful = np.unique(np.concatenate([self.useful[row] for row in rows]))
        others = np.setdiff1d(np.concatenate([self.own_tools[row] for row in rows]), useful)
        drawn = rng.permutation(others)[: max(limit - len(useful), 0)]
        return np.sort(np.concatenate([useful, drawn]))


class _ContrastiveObjective:
    """Steps over parts of very different sizes: a part counts by the root of its size."""

    def __init__(self, groups: Sequence[_EncodedGroup], config: ToolRankerConfig) -> None:
        self.groups, self.config = groups, config
        self.starts = np.cumsum([0, *(len(part.episodes) for part in groups)])

    def batches(self, rng: np.random.Generator) -> list[Int64Array]:
        """Draw an epoch: as many batches as all episodes fill."""
        sizes = np.diff(self.starts)
        share = np.sqrt(sizes) / np.sqrt(sizes).sum()
        size = self.config.schedule.batch_size
        count = max(1, round(float(sizes.sum()) / size))
        drawn = rng.choice(len(sizes), count, p=share)
        return [
            self.starts[part] + rng.permutation(sizes[part])[:size].astype(np.int64)
            for part in drawn.tolist()
        ]

    def loss(
        self, model: _TrainableMatcher, rows: Int64Array, rng: np.random.Generator
    ) -> torch.Tensor:
        """Compare each query's useful tools with the others, and stay near the identity."""
        import torch

        number = int(np.searchsorted(self.starts, rows[0], side="right")) - 1
        part, local = self.groups[number], rows - self.starts[number]
        columns = part.sample_candidates(local, self.config.negatives, rng)
        scores = model.scores(
            torch.from_numpy(part.queries[local]),
            (torch.from_numpy(part.titles[columns]), torch.from_numpy(part.full_texts[columns])),
            torch.from_numpy(part.lexical_features(local, columns)),
            self.config.schedule.dropout,
        )
        goal, outside = _targets(part, local, columns)
        chances = (scores + torch.from_numpy(outside)).log_softmax(1)
        contrast = -(torch.from_numpy(goal) * chances).sum(1).mean()
        return contrast + self.config.identity_penalty * model.identity_distance()


def _targets(
    group: _EncodedGroup, rows: Int64Array, columns: Int64Array
) -> tuple[Float32Array, Float32Array]:
    """Return who is useful, rows that sum to one, and what outsiders are charged."""
    goal = np.zeros((len(rows), len(columns)), np.float32)
    outside = np.full_like(goal, _OUTSIDE_LOGIT_BIAS)
    for i, row in enumerate(rows):
        goal[i, np.searchsorted(columns, group.useful[row])] = 1 / len(group.useful[row])
        outside[i, np.isin(columns, group.own_tools[row])] = 0
    return goal, outside


class _TrainableMatcher:
    """The parameters of a fit, while they learn."""

    def __init__(self, dim: int) -> None:
        import torch

        one = torch.eye(dim)
        start = torch.tensor(list(_INITIAL_VALUES.values()))
        start[1] = start[1].log()
        self._identity, self._initial_values = one, start
        self.parameters = {
            "query_map": torch.nn.Parameter(one.clone()),
            "tool_map": torch.nn.Parameter(one.clone()),
            "numbers": torch.nn.Parameter(torch.zeros(len(start))),
        }

    def scores(
        self,
        queries: torch.Tensor,
        texts: tuple[torch.Tensor, torch.Tensor],
        lexical: torch.Tensor,
        dropout: float,
    ) -> torch.Tensor:
        """Score every query with every tool, as `Fit.scores` does."""
        import torch
        from torch.nn.functional import dropout as hidden
        from torch.nn.functional import normalize

        details, sharpness, *weights = self.scalars()
        tools = (1 - details) * texts[0] + details * texts[1]
        placed = normalize(hidden(queries, dropout) @ self.parameters["query_map"], eps=1e-6)
        kept = normalize(hidden(tools, dropout) @ self.parameters["tool_map"], eps=1e-6)
        scores: torch.Tensor = sharpness.exp() * placed @ kept.T + lexical @ torch.stack(weights)
        return scores

    def scalars(self) -> torch.Tensor:
        """Return `_START` as it is now, the sharpness as a logarithm."""
        return self._initial_values + _SCALAR_LR_FACTOR * self.parameters["numbers"]

    def identity_distance(self) -> torch.Tensor:
        """Squared distance of the maps from the identity."""
        maps = (self.parameters["query_map"], self.parameters["tool_map"])
        return (maps[0] - self._identity).pow(2).sum() + (maps[1] - self._identity).pow(2).sum()

    def to_matcher(self) -> ToolMatcher:
        """Return what was learned; what scores mean is not known yet."""
        details, sharpness, *words = self.scalars().tolist()
        return ToolMatcher(
            query_map=_to_numpy(self.parameters["query_map"]),
            tool_map=_to_numpy(self.parameters["tool_map"]),
            argument_weight=float(np.clip(details, 0, 1)),
            cosine_scale=float(np.exp(sharpness)),
            lexical_weights=np.array(words[:N_LEXICAL_FEATURES], np.float32),
            clause_weight=0.0,
            usefulness_coef=np.array([0, 1, 0], np.float32),
            needed_coef=np.zeros(N_NEEDED_FEATURES + 1, np.float32),
        )


def _nonzero_rows(words: Float32Array) -> tuple[NDArray[np.intp], Float32Array]:
    """Keep of `(n_tools, WIDTH)` the tools that words tell of: mostly few, read in every epoch."""
    tools = np.flatnonzero(words.any(axis=1))
    return tools, words[tools]


def _to_numpy(parameter: torch.Tensor) -> Float32Array:
    return np.array(parameter.detach().numpy(), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One query among `tools`; `useful` names those it needs, none if it needs no tool.

    Raises:
        InputError: no tool, or a useful one that is not among them.
    """

    query: str
    tools: Sequence[Tool]
    useful: Collection[str]

    def __post_init__(self) -> None:
        """Check that the useful tools are there."""
        names = {tool.name for tool in self.tools}
        if not names or not set(self.useful) <= names:
            raise InputError(
                f"An episode needs tools, and the useful ones among them; got {len(names)} tools "
                f"and, not among them, {sorted(set(self.useful) - names)[:5]}."
            )


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes learned together, and every tool that one of them has."""

    episodes: tuple[Episode, ...]
    tools: tuple[Tool, ...]


def group_by_toolset(episodes: Sequence[Episode]) -> tuple[EpisodeGroup, ...]:
    """Group episodes that have the same list of tools; those whose lists are rare, together."""
    same: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        same[id(episode.tools)].append(episode)
    rest = [one for many in same.values() if len(many) < _MIN_GROUP_SIZE for one in many]
    parts = [many for many in same.values() if len(many) >= _MIN_GROUP_SIZE] + (
        [rest] if rest else []
    )
    return tuple(EpisodeGroup(tuple(part), _union_of_tools(part)) for part in parts)


def _union_of_tools(episodes: Sequence[Episode]) -> tuple[Tool, ...]:
    lists = {id(one.tools): one.tools for one in episodes}
    return tuple(dict.fromkeys(tool for tools in lists.values() for tool in tools))


def is_held_out(episode: Episode, one_in: int) -> bool:
    """Tell, by the text of its query, whether an episode is kept from training."""
    digest = blake2b(
        episode.query.encode("utf-8", "replace"), digest_size=4, salt=_HELD_OUT_SALT
    ).digest()
    return int.from_bytes(digest, "big") % one_in == 0


@dataclass(frozen=True, slots=True)
class _ScoredEpisode:
    """An episode as the maps see it, and which of its tools are useful `(n_tools,)`."""

    scores: QueryScores
    useful: NDArray[np.bool_]
    group: int

    def recall(self, matcher: ToolMatcher) -> float:
        best = np.argsort(
            -matcher.combine_clauses(self.scores.whole_query, self.scores.clauses), kind="stable"
        )[:_RECALL_AT]
        return float(self.useful[best].sum() / self.useful.sum())


def calibrate_matcher(
    matcher: ToolMatcher, encoder: Encoder, held_out: Sequence[Episode]
) -> ToolMatcher:
    """Learn from episodes that the maps were not trained on; without any, nothing is changed."""
    drawn = np.random.default_rng(0).permutation(len(held_out))[:_MAX_EPISODES]
    judged = _score_episodes(matcher, encoder, [held_out[i] for i in sorted(drawn.tolist())])
    served = [one for one in judged if one.useful.any()]
    if not served:
        return matcher
    tried = [replace(matcher, clause_weight=weight) for weight in _CLAUSE_WEIGHTS]
    best = int(np.argmax([np.mean([one.recall(fit) for one in served]) for fit in tried]))
    return replace(
        tried[best],
        usefulness_coef=_fit_usefulness(tried[best], judged),
        needed_coef=_fit_needed(judged),
    )


def _score_episodes(
    matcher: ToolMatcher, encoder: Encoder, held_out: Sequence[Episode]
) -> list[_ScoredEpisode]:
    toolboxes: dict[int, Toolbox] = {}
    scored = []
    for number, group in enumerate(group_by_toolset(held_out)):
        for one in group.episodes:
            if id(one.tools) not in toolboxes:
                toolboxes[id(one.tools)] = build_toolbox(one.tools, encoder, matcher)
            scores = score_query(one.query, toolboxes[id(one.tools)], encoder, matcher, Feedback())
            useful = np.array([tool.name in one.useful for tool in one.tools])
            scored.append(_ScoredEpisode(scores, useful, number))
    return scored


def _fit_usefulness(matcher: ToolMatcher, scored: Sequence[_ScoredEpisode]) -> Float32Array:
    """Learn how probable it is that a tool is of use, from its score and its lead."""
    rows, labels = [], []
    for one in scored:
        scores = matcher.combine_clauses(one.scores.whole_query, one.scores.clauses)
        order = np.argsort(-scores, kind="stable")
        shown = np.concatenate(
            [np.flatnonzero(one.useful), order[~one.useful[order]][:_N_HARD_NEGATIVES]]
        )
        rows.append(np.stack([scores, margins(scores)], axis=1)[shown])
        labels.append(one.useful[shown])
    return _fit_logistic(np.concatenate(rows), np.concatenate(labels))


def _fit_needed(scored: Sequence[_ScoredEpisode]) -> Float32Array:
    """Learn how probable it is that any tool is needed.

    Only where some queries need one and others do not, among the same kind of tools: elsewhere what
    sets the two apart would be the tools. If that is nowhere so, one is always needed.
    """
    kinds = {
        group: {bool(o.useful.any()) for o in scored if o.group == group}
        for group in {one.group for one in scored}
    }
    telling = [one for one in scored if len(kinds[one.group]) == 2]
    if not telling:
        return np.array([60.0, *np.zeros(N_NEEDED_FEATURES)], np.float32)
    rows = np.stack([one.scores.needed_features for one in telling])
    return _fit_logistic(rows, np.array([one.useful.any() for one in telling]))


def _fit_logistic(rows: Float32Array, labels: NDArray[np.bool_]) -> Float32Array:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0, max_iter=1_000).fit(rows, labels)
    return np.array([model.intercept_[0], *model.coef_[0]], np.float32)
