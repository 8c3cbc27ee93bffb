"""Learns a fit of queries and tools from episodes: contrast first, then what its scores mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.extras import require
from tryage.perception.checkpoint import fingerprint
from tryage.perception.descent import Descent, Schedule
from tryage.tools.episodes import Episode, groups, kept_apart
from tryage.tools.fit import EVIDENCE, Fit, marks
from tryage.tools.meaning import learn_meaning
from tryage.tools.ranker import ToolRanker
from tryage.tools.words import WIDTH, WordIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.perception.descent import Rows
    from tryage.perception.encoder import Encoder
    from tryage.tools.episodes import Group
    from tryage.tools.fit import Floats

_LEAST = 50
_START = {"details": 0.3, "sharpness": 20.0, "share": 4.0, "told": 1.0, "named": 1.0}
_STEP = 10.0  # numbers learn this much faster than the maps
_OUTSIDE = -2.0  # another episode's tools teach too, but less: one of them might have served


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

    def words(self, rows: Rows, columns: Rows) -> Floats:
        """Say what words tell of these episodes and tools, `(n_rows, n_columns, WIDTH)`."""
        whole = np.zeros((len(rows), len(self.titles), WIDTH), np.float32)
        for place, row in zip(whole, rows, strict=True):
            tools, told = self._words[row]
            place[tools] = told
        return whole[:, columns]

    def compared(self, rows: Rows, most: int, rng: np.random.Generator) -> Rows:
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

    def batches(self, rng: np.random.Generator) -> list[Rows]:
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

    def loss(self, model: _Model, rows: Rows, rng: np.random.Generator) -> torch.Tensor:
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


def _goal(part: _Part, rows: Rows, columns: Rows) -> tuple[Floats, Floats]:
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


def _told(words: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Keep of `(n_tools, WIDTH)` the tools that words tell of: mostly few, read in every epoch."""
    tools = np.flatnonzero(words.any(axis=1))
    return tools, words[tools]


def _array(parameter: torch.Tensor) -> Floats:
    return np.array(parameter.detach().numpy(), np.float32)
