"""What was learned of tools since training: queries that they were, or were not, of use for.

Rocchio's relevance feedback (1971): a tool's vector moves to the mean of the queries it served, and
a little away from those where it was chosen in vain. What its description says counts as so many
queries, so a new tool starts from its words and an old one goes where its users are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tryage.tools.fit import Floats, unit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tryage.experts import Library

DESCRIPTION = 20.0  # queries that a description counts as
IN_VAIN = 0.25  # what a query counts for which the tool was of no use


@dataclass(frozen=True, slots=True)
class Feedback:
    """Per tool, by name, the weighted sum `(dim,)` of its queries; never changed in place."""

    sums: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the tools of which something was learned."""
        return len(self.sums)

    def told(
        self, query: Floats, useful: Collection[str], useless: Collection[str] = ()
    ) -> Feedback:
        """Take in one query, a unit vector `(dim,)`, and the tools that were of use or were not."""
        sums = dict(self.sums)
        for names, weight in ((useful, 1.0), (useless, -IN_VAIN)):
            for name in names:
                sums[name] = np.asarray(sums.get(name, 0.0) + weight * query, np.float32)
        return Feedback(sums)

    def applied(self, library: Library, vectors: Floats) -> Floats:
        """Move the vectors `(n_tools, dim)` of the tools of which something was learned."""
        names = [name for name in self.sums if name in library]
        if not names:
            return vectors
        rows = [library.index(name) for name in names]
        moved: Floats = vectors.copy()
        moved[rows] = unit(DESCRIPTION * vectors[rows] + np.stack([self.sums[n] for n in names]))
        return moved
