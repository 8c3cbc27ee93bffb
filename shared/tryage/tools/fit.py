"""How well a query fits each tool: two learned maps of one encoder, and the words they share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.tools.tool import Tool

Floats = NDArray[np.float32]
Marks = NDArray[np.uint64]

EVIDENCE = 4


@dataclass(frozen=True, slots=True)
class Fit:
    """What was learned of queries and tools.

    `query_map` and `tool_map` `(dim, dim)` bring embeddings into one space; `details` is the share
    of the arguments in a tool's vector. A score is `sharpness` x cosine + `words` `(3,)` x what the
    words say, of the whole query and, times `clauses`, of the clause that fits best.

    `useful` `(3,)` and `needed` `(EVIDENCE + 1,)` are logistic regressions, the intercept first:
    that a tool is of use, from its score and its lead over the best other; and that any is needed.

    The maps favour the tools that they were trained on, `seen` `(n_seen,)`, over those that came
    later: `handicap` is taken off a seen tool's score (calibrated stacking, Chao et al., 2016).
    """

    query_map: Floats
    tool_map: Floats
    details: float
    sharpness: float
    words: Floats
    clauses: float
    useful: Floats
    needed: Floats
    seen: Marks = field(default_factory=lambda: marks(()))
    handicap: float = 0.0

    def queries(self, embeddings: Floats) -> Floats:
        """Place queries, unit rows `(batch, dim)`."""
        return unit(np.asarray(embeddings @ self.query_map))

    def tools(self, titles: Floats, details: Floats) -> Floats:
        """Place tools by the embeddings of their titles and of all, unit rows `(n_tools, dim)`."""
        return unit(((1 - self.details) * titles + self.details * details) @ self.tool_map)

    def scores(self, cosines: Floats, words: Floats) -> Floats:
        """Bring cosines `(..., n_tools)` and words `(..., n_tools, 3)` together."""
        return np.asarray(self.sharpness * cosines + words @ self.words, np.float32)

    def handicaps(self, tools: Iterable[Tool]) -> Floats:
        """Return what is taken off the score of each tool, `(n_tools,)`."""
        return np.asarray(np.isin(marks(tools), self.seen) * self.handicap, np.float32)

    def joined(self, whole: Floats, parts: Floats) -> Floats:
        """Add the best clause `(n_clauses, n_tools)` to the whole query's scores `(n_tools,)`."""
        if not len(parts):
            return whole
        return np.asarray(whole + self.clauses * np.maximum.reduce(parts), np.float32)

    def eased(self, share: float) -> Fit:
        """Return it with maps that go only a share of the way from leaving everything in place.

        What they learned of known tools they trade for tools that nobody has seen: WiSE-FT
        (Wortsman et al., 2022).
        """
        one = np.eye(len(self.query_map), dtype=np.float32)
        query_map, tool_map = (
            np.asarray((1 - share) * one + share * trained, np.float32)
            for trained in (self.query_map, self.tool_map)
        )
        return replace(self, query_map=query_map, tool_map=tool_map)

    def usefulness(self, scores: Floats) -> Floats:
        """Say how probable it is that each tool is of use, `(n_tools,)`."""
        intercept, score, lead = self.useful
        return sigmoid(intercept + score * scores + lead * leads(scores))

    def need(self, evidence: Floats) -> float:
        """Say how probable it is that any tool is needed, from `evidence` `(EVIDENCE,)`."""
        return float(sigmoid(self.needed[0] + self.needed[1:] @ evidence))


def marks(tools: Iterable[Tool]) -> Marks:
    """Return by what tools are known again, `(n_tools,)`."""
    return np.array([tool.mark for tool in tools], np.uint64)


def leads(scores: Floats) -> Floats:
    """Say how far each score is above the best of the others, `(n_tools,)`; alone it is 0."""
    if scores.size < 2:
        return np.zeros_like(scores)
    best = scores.argmax()
    ahead: Floats = scores - scores[best]
    ahead[best] = -np.inf
    ahead[best] = -np.maximum.reduce(ahead)
    return ahead


def evidence(cosines: Floats, words: Floats, scores: Floats) -> Floats:
    """Describe the tool that fits best, `(EVIDENCE,)`.

    How many tools there are is not looked at: that tells of the agent, not of the query.
    """
    best = int(scores.argmax())
    return np.array([cosines[best], *words[best]], np.float32)


def unit(rows: Floats) -> Floats:
    """Scale rows to length 1; a row of zeros stays one."""
    lengths = np.sqrt(np.add.reduce(rows * rows, 1, keepdims=True))
    return np.asarray(rows / np.maximum(lengths, 1e-9), np.float32)


def sigmoid(x: Floats) -> Floats:
    """Squeeze into (0, 1)."""
    return np.asarray(1 / (1 + np.exp(-np.maximum(x, -60))), np.float32)  # no overflow below
