"""Learns a fit of queries and tools from episodes: contrast first, then what its scores mean."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require
from tryage.errors import InputError
from tryage.learning.checkpoint import fingerprint
from tryage.learning.training.optimizer import Descent, Schedule
from tryage.tools.bm25 import WIDTH, WordIndex
from tryage.tools.matching import (
    EVIDENCE,
    Feedback,
    Fit,
    Sight,
    Toolbox,
    leads,
    marks,
    read_tools,
    see,
)
from tryage.tools.ranker import ToolRanker

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, Int64Array
    from tryage.perception.encoder import Encoder
    from tryage.tools.tool import Tool

_LEAST = 50

_START = {"details": 0.3, "sharpness": 20.0, "share": 4.0, "told": 1.0, "named": 1.0}

_STEP = 10.0  # numbers learn this much faster than the maps

_OUTSIDE = -2.0  # another episode's tools teach too, but less: one of them might have served

_SALT = b"kept apart"  # whoever splits queries by the same hash shall not take all that judge

_MANY = 32  # episodes with the same tools are learned among themselves

_CLAUSES = (0.0, 0.25, 0.5, 1.0, 1.5)

_CHOSEN = 5  # recall among so many is what a clause's weight is chosen by

_MOST = 4_000  # episodes that judge; more would not change what is learned from them

_LOSERS = 20  # tools of no use that an episode shows, the nearest ones


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to learn.

    `stay` pulls the maps to the identity, which knows every tool a little; `negatives` bounds the
    tools that one step compares; `kept_apart` is one in how many queries only judges. `trust` is
    how far the maps go from the plain encoder, 0, to what was learned, 1 (Wortsman et al., 2022):
    all the way is best for the tools of training, half of it for tools that it has not seen.
    `handicap` is taken off the scores of the former, so that the latter compete with them fairly.
    Neither takes part in the descent: one that is kept serves whatever they are.
    """

    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=7, learning_rate=2e-3, batch=128, dropout=0.1)
    )
    stay: float = 3e-3
    negatives: int = 256
    kept_apart: int = 5
    trust: float = 1.0
    handicap: float = 1.4  # chosen by leaving out tools once more, inside a fold's training part


def fit_ranker(
    episodes: Sequence[Episode],
    encoder: Encoder,
    *,
    recipe: Recipe | None = None,
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
        require(package, extra)
    recipe = recipe or Recipe()
    apart = [one for one in episodes if kept_apart(one, recipe.kept_apart)]
    taught = [one for one in episodes if one.useful and not kept_apart(one, recipe.kept_apart)]
    if len(taught) < _LEAST:
        raise InputError(
            f"{len(taught)} episodes with a useful tool are left to learn from; training needs at "
            f"least {_LEAST}, and some hundreds to be better than the bundled ranker."
        )
    descent = asdict(replace(recipe, trust=1.0, handicap=0.0))
    key = fingerprint(*((e.query, tuple(sorted(e.useful))) for e in taught), descent)
    path = None if checkpoint is None else Path(checkpoint) / f"tools-{key}.safetensors"
    model = _Model(encoder.dim)
    parts = [_Part(group, encoder) for group in groups(taught)]
    run = Descent(model.parameters, recipe.schedule, path=path, progress=progress)
    lessons = _Lessons(parts, recipe)
    run.run(lambda rows, rng: lessons.loss(model, rows, rng), lessons.batches)
    seen = np.unique(marks(tool for part in parts for tool in part.tools))
    fit = replace(model.fit().eased(recipe.trust), seen=seen, handicap=recipe.handicap)
    return ToolRanker(encoder, learn_meaning(fit, encoder, apart))


class _Part:
    """A group as numbers: embeddings of its queries and tools, its words, and who is useful."""

    def __init__(self, group: Group, encoder: Encoder) -> None:
        self.episodes, self.tools = group.episodes, group.tools
        self.queries = encoder.encode([one.query for one in group.episodes])
        self.titles = encoder.encode([tool.title for tool in group.tools])
        self.whole = encoder.encode([f"{tool.title} {tool.details}" for tool in group.tools])
        index = WordIndex(group.tools)
        self._words = [_told(index(one.query)) for one in group.episodes]
        places = {tool: i for i, tool in enumerate(group.tools)}
        lists = {id(one.tools): one.tools for one in group.episodes}
        own = {key: np.array([places[tool] for tool in tools]) for key, tools in lists.items()}
        self.own = [own[id(one.tools)] for one in group.episodes]
        self.useful = [
            np.array([places[tool] for tool in one.tools if tool.name in one.useful])
            for one in group.episodes
        ]

    def words(self, rows: Int64Array, columns: Int64Array) -> Float32Array:
        """Say what words tell of these episodes and tools, `(n_rows, n_columns, WIDTH)`."""
        whole = np.zeros((len(rows), len(self.titles), WIDTH), np.float32)
        for place, row in zip(whole, rows, strict=True):
            tools, told = self._words[row]
            place[tools] = told
        return whole[:, columns]

    def compared(self, rows: Int64Array, most: int, rng: np.random.Generator) -> Int64Array:
        """Choose the tools of one step: the useful ones, and others that the episodes have."""
        useful = np.unique(np.concatenate([self.useful[row] for row in rows]))
        others = np.setdiff1d(np.concatenate([self.own[row] for row in rows]), useful)
        drawn = rng.permutation(others)[: max(most - len(useful), 0)]
        return np.sort(np.concatenate([useful, drawn]))


class _Lessons:
    """Steps over parts of very different sizes: a part counts by the root of its size."""

    def __init__(self, parts: Sequence[_Part], recipe: Recipe) -> None:
        self.parts, self.recipe = parts, recipe
        self.starts = np.cumsum([0, *(len(part.episodes) for part in parts)])

    def batches(self, rng: np.random.Generator) -> list[Int64Array]:
        """Draw an epoch: as many batches as all episodes fill."""
        sizes = np.diff(self.starts)
        share = np.sqrt(sizes) / np.sqrt(sizes).sum()
        size = self.recipe.schedule.batch
        count = max(1, round(float(sizes.sum()) / size))
        drawn = rng.choice(len(sizes), count, p=share)
        return [
            self.starts[part] + rng.permutation(sizes[part])[:size].astype(np.int64)
            for part in drawn.tolist()
        ]

    def loss(self, model: _Model, rows: Int64Array, rng: np.random.Generator) -> torch.Tensor:
        """Compare each query's useful tools with the others, and stay near the identity."""
        import torch

        number = int(np.searchsorted(self.starts, rows[0], side="right")) - 1
        part, local = self.parts[number], rows - self.starts[number]
        columns = part.compared(local, self.recipe.negatives, rng)
        scores = model.scores(
            torch.from_numpy(part.queries[local]),
            (torch.from_numpy(part.titles[columns]), torch.from_numpy(part.whole[columns])),
            torch.from_numpy(part.words(local, columns)),
            self.recipe.schedule.dropout,
        )
        goal, outside = _goal(part, local, columns)
        chances = (scores + torch.from_numpy(outside)).log_softmax(1)
        contrast = -(torch.from_numpy(goal) * chances).sum(1).mean()
        return contrast + self.recipe.stay * model.distance()


def _goal(part: _Part, rows: Int64Array, columns: Int64Array) -> tuple[Float32Array, Float32Array]:
    """Return who is useful, rows that sum to one, and what outsiders are charged."""
    goal = np.zeros((len(rows), len(columns)), np.float32)
    outside = np.full_like(goal, _OUTSIDE)
    for i, row in enumerate(rows):
        goal[i, np.searchsorted(columns, part.useful[row])] = 1 / len(part.useful[row])
        outside[i, np.isin(columns, part.own[row])] = 0
    return goal, outside


class _Model:
    """The parameters of a fit, while they learn."""

    def __init__(self, dim: int) -> None:
        import torch

        one = torch.eye(dim)
        start = torch.tensor(list(_START.values()))
        start[1] = start[1].log()
        self._one, self._start = one, start
        self.parameters = {
            "query_map": torch.nn.Parameter(one.clone()),
            "tool_map": torch.nn.Parameter(one.clone()),
            "numbers": torch.nn.Parameter(torch.zeros(len(start))),
        }

    def scores(
        self,
        queries: torch.Tensor,
        texts: tuple[torch.Tensor, torch.Tensor],
        words: torch.Tensor,
        dropout: float,
    ) -> torch.Tensor:
        """Score every query with every tool, as `Fit.scores` does."""
        import torch
        from torch.nn.functional import dropout as hidden
        from torch.nn.functional import normalize

        details, sharpness, *weights = self.numbers()
        tools = (1 - details) * texts[0] + details * texts[1]
        placed = normalize(hidden(queries, dropout) @ self.parameters["query_map"], eps=1e-6)
        kept = normalize(hidden(tools, dropout) @ self.parameters["tool_map"], eps=1e-6)
        scores: torch.Tensor = sharpness.exp() * placed @ kept.T + words @ torch.stack(weights)
        return scores

    def numbers(self) -> torch.Tensor:
        """Return `_START` as it is now, the sharpness as a logarithm."""
        return self._start + _STEP * self.parameters["numbers"]

    def distance(self) -> torch.Tensor:
        """Squared distance of the maps from the identity."""
        maps = (self.parameters["query_map"], self.parameters["tool_map"])
        return (maps[0] - self._one).pow(2).sum() + (maps[1] - self._one).pow(2).sum()

    def fit(self) -> Fit:
        """Return what was learned; what scores mean is not known yet."""
        details, sharpness, *words = self.numbers().tolist()
        return Fit(
            query_map=_array(self.parameters["query_map"]),
            tool_map=_array(self.parameters["tool_map"]),
            details=float(np.clip(details, 0, 1)),
            sharpness=float(np.exp(sharpness)),
            words=np.array(words[:WIDTH], np.float32),
            clauses=0.0,
            useful=np.array([0, 1, 0], np.float32),
            needed=np.zeros(EVIDENCE + 1, np.float32),
        )


def _told(words: Float32Array) -> tuple[NDArray[np.intp], Float32Array]:
    """Keep of `(n_tools, WIDTH)` the tools that words tell of: mostly few, read in every epoch."""
    tools = np.flatnonzero(words.any(axis=1))
    return tools, words[tools]


def _array(parameter: torch.Tensor) -> Float32Array:
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
class Group:
    """Episodes learned together, and every tool that one of them has."""

    episodes: tuple[Episode, ...]
    tools: tuple[Tool, ...]


def groups(episodes: Sequence[Episode]) -> tuple[Group, ...]:
    """Group episodes that have the same list of tools; those whose lists are rare, together."""
    same: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        same[id(episode.tools)].append(episode)
    rest = [one for many in same.values() if len(many) < _MANY for one in many]
    parts = [many for many in same.values() if len(many) >= _MANY] + ([rest] if rest else [])
    return tuple(Group(tuple(part), _tools_of(part)) for part in parts)


def _tools_of(episodes: Sequence[Episode]) -> tuple[Tool, ...]:
    lists = {id(one.tools): one.tools for one in episodes}
    return tuple(dict.fromkeys(tool for tools in lists.values() for tool in tools))


def kept_apart(episode: Episode, one_in: int) -> bool:
    """Tell, by the text of its query, whether an episode is kept from training."""
    digest = blake2b(episode.query.encode("utf-8", "replace"), digest_size=4, salt=_SALT).digest()
    return int.from_bytes(digest, "big") % one_in == 0


@dataclass(frozen=True, slots=True)
class _Judged:
    """An episode as the maps see it, and which of its tools are useful `(n_tools,)`."""

    sight: Sight
    useful: NDArray[np.bool_]
    group: int

    def recall(self, fit: Fit) -> float:
        best = np.argsort(-fit.joined(self.sight.whole, self.sight.parts), kind="stable")[:_CHOSEN]
        return float(self.useful[best].sum() / self.useful.sum())


def learn_meaning(fit: Fit, encoder: Encoder, apart: Sequence[Episode]) -> Fit:
    """Learn from episodes that the maps were not trained on; without any, nothing is changed."""
    drawn = np.random.default_rng(0).permutation(len(apart))[:_MOST]
    judged = _judge(fit, encoder, [apart[i] for i in sorted(drawn.tolist())])
    served = [one for one in judged if one.useful.any()]
    if not served:
        return fit
    tried = [replace(fit, clauses=weight) for weight in _CLAUSES]
    best = int(np.argmax([np.mean([one.recall(fit) for one in served]) for fit in tried]))
    return replace(tried[best], useful=_useful(tried[best], judged), needed=_needed(judged))


def _judge(fit: Fit, encoder: Encoder, apart: Sequence[Episode]) -> list[_Judged]:
    boxes: dict[int, Toolbox] = {}
    judged = []
    for number, group in enumerate(groups(apart)):
        for one in group.episodes:
            if id(one.tools) not in boxes:
                boxes[id(one.tools)] = read_tools(one.tools, encoder, fit)
            sight = see(one.query, boxes[id(one.tools)], encoder, fit, Feedback())
            useful = np.array([tool.name in one.useful for tool in one.tools])
            judged.append(_Judged(sight, useful, number))
    return judged


def _useful(fit: Fit, judged: Sequence[_Judged]) -> Float32Array:
    """Learn how probable it is that a tool is of use, from its score and its lead."""
    rows, labels = [], []
    for one in judged:
        scores = fit.joined(one.sight.whole, one.sight.parts)
        order = np.argsort(-scores, kind="stable")
        shown = np.concatenate([np.flatnonzero(one.useful), order[~one.useful[order]][:_LOSERS]])
        rows.append(np.stack([scores, leads(scores)], axis=1)[shown])
        labels.append(one.useful[shown])
    return _logistic(np.concatenate(rows), np.concatenate(labels))


def _needed(judged: Sequence[_Judged]) -> Float32Array:
    """Learn how probable it is that any tool is needed.

    Only where some queries need one and others do not, among the same kind of tools: elsewhere what
    sets the two apart would be the tools. If that is nowhere so, one is always needed.
    """
    kinds = {
        group: {bool(o.useful.any()) for o in judged if o.group == group}
        for group in {one.group for one in judged}
    }
    telling = [one for one in judged if len(kinds[one.group]) == 2]
    if not telling:
        return np.array([60.0, *np.zeros(EVIDENCE)], np.float32)
    rows = np.stack([one.sight.evidence for one in telling])
    return _logistic(rows, np.array([one.useful.any() for one in telling]))


def _logistic(rows: Float32Array, labels: NDArray[np.bool_]) -> Float32Array:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0, max_iter=1_000).fit(rows, labels)
    return np.array([model.intercept_[0], *model.coef_[0]], np.float32)
