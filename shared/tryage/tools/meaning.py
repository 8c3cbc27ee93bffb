"""What a ranker's scores mean: how much a clause counts, who is of use, whether any tool is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.tools.episodes import groups
from tryage.tools.feedback import Feedback
from tryage.tools.fit import EVIDENCE, Fit, Floats, leads
from tryage.tools.sight import Sight, see
from tryage.tools.toolbox import Toolbox, read_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.tools.episodes import Episode

_CLAUSES = (0.0, 0.25, 0.5, 1.0, 1.5)
_CHOSEN = 5  # recall among so many is what a clause's weight is chosen by
_MOST = 4_000  # episodes that judge; more would not change what is learned from them
_LOSERS = 20  # tools of no use that an episode shows, the nearest ones


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


def _useful(fit: Fit, judged: Sequence[_Judged]) -> Floats:
    """Learn how probable it is that a tool is of use, from its score and its lead."""
    rows, labels = [], []
    for one in judged:
        scores = fit.joined(one.sight.whole, one.sight.parts)
        order = np.argsort(-scores, kind="stable")
        shown = np.concatenate([np.flatnonzero(one.useful), order[~one.useful[order]][:_LOSERS]])
        rows.append(np.stack([scores, leads(scores)], axis=1)[shown])
        labels.append(one.useful[shown])
    return _logistic(np.concatenate(rows), np.concatenate(labels))


def _needed(judged: Sequence[_Judged]) -> Floats:
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


def _logistic(rows: Floats, labels: NDArray[np.bool_]) -> Floats:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0, max_iter=1_000).fit(rows, labels)
    return np.array([model.intercept_[0], *model.coef_[0]], np.float32)
