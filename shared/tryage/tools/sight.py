"""One query seen among the tools of a box: the whole of it, and clause by clause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.tools.clauses import clauses
from tryage.tools.fit import Fit, Floats, evidence

if TYPE_CHECKING:
    from tryage.perception.encoder import Encoder
    from tryage.tools.feedback import Feedback
    from tryage.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Sight:
    """Scores of the whole query `(n_tools,)` and of its clauses `(n_clauses, n_tools)`.

    `evidence` `(EVIDENCE,)` is what abstention goes by.
    """

    whole: Floats
    parts: Floats
    evidence: Floats


def see(query: str, box: Toolbox, encoder: Encoder, fit: Fit, feedback: Feedback) -> Sight:
    """Compare a query with every tool, in one encoder pass."""
    texts = [query, *clauses(query)]
    placed = fit.queries(encoder.encode(texts))
    vectors = feedback.applied(box.library, box.vectors)
    cosines = np.ascontiguousarray((vectors @ placed.T).T)  # half the time of placed @ vectors.T
    words = box.words.each(texts)
    scores = fit.scores(cosines, words)
    whole = scores[0] - box.handicaps
    return Sight(whole, scores[1:], evidence(cosines[0], words[0], whole))
