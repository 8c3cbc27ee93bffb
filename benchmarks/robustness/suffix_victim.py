"""What an attacker of a router sees: who answers a text, and how far a target is from answering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.choice import choose_experts
from tryage.core.costs import counted_costs, typical_costs
from tryage.core.decision import score_batch
from tryage.core.request_batch import ALL, RequestBatch
from tryage.policies.erase_and_check import erased_copies, pick_vote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage import Router
    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.preferences import Preferences
    from tryage.policies import EraseAndCheck


@dataclass
class Victim:
    """A router with preferences, with or without a defence; an attacker knows all of it."""

    router: Router
    preferences: Preferences
    defence: EraseAndCheck | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The experts."""
        return self.router.library.names

    @property
    def prices(self) -> FloatArray:
        """The USD of a usual request on each expert, `(n_experts,)`."""
        return typical_costs(self.router.library)

    def choices(self, texts: Sequence[str]) -> IndexArray:
        """Return who answers each text, `(n,)`, by position."""
        return self._attempt(texts, 0)[0]

    def attempt(self, texts: Sequence[str], target: int) -> tuple[BoolArray, Float64Array]:
        """Return for each text whether the target answers, and how far it is from that, `(n,)`."""
        chosen, distances = self._attempt(texts, target)
        return chosen == target, distances

    def margins(self, totals: Float64Array, costs: Float64Array, target: int) -> Float64Array:
        """Return by how much the target's total is too high to be chosen, `(n,)`; below 0 it is.

        With a tolerance a dearer target has to be better by more than it, and a cheaper one may be
        worse by as much. `totals` and `costs` are `(n, n_experts)`.
        """
        others = np.delete(np.arange(totals.shape[1]), target)
        tolerance = self.preferences.tolerance or 0.0
        sign = np.where(costs[:, others] < costs[:, [target]], 1.0, -1.0)
        gaps = totals[:, [target]] - totals[:, others] + tolerance * sign
        return np.asarray(gaps.max(axis=1))

    def score(self, texts: Sequence[str]) -> tuple[Float64Array, IndexArray, Float64Array]:
        """Return totals `(n, n_experts)`, choices `(n,)` and USD `(n, n_experts)`, undefended."""
        router, preferences = self.router, self.preferences
        perception = router._aligned_perception  # noqa: SLF001 - many times as fast as decisions
        tokens = RequestBatch(perception.count_tokens(texts))
        batch = score_batch(
            router.library, preferences, router.constraints, perception.predict(texts), tokens
        )
        request = batch.request or tokens
        chosen = choose_experts(
            router.library, batch.routing_loss, batch.eligibility.eligible, request, batch.tolerance
        )
        usd = counted_costs(router.library, request, ALL, np.float64)
        return batch.routing_loss.total, chosen, usd

    def _attempt(self, texts: Sequence[str], target: int) -> tuple[IndexArray, Float64Array]:
        if self.defence is None:
            totals, chosen, costs = self.score(texts)
            return chosen, self.margins(totals, costs, target)
        readings = [
            [text, *erased_copies(text, self.defence.words, middle=self.defence.middle)]
            for text in texts
        ]
        totals, votes, costs = self.score([text for copies in readings for text in copies])
        ends = np.cumsum([len(copies) for copies in readings])
        margins = np.split(self.margins(totals, costs, target), ends[:-1])
        chosen = np.array([self._answer(part) for part in np.split(votes, ends[:-1])])
        distance = np.min if self._needs_one_vote(target) else _distance_by_all
        return chosen, np.array([distance(part) for part in margins])

    def _answer(self, votes: IndexArray) -> int:
        fallback = self.defence and self.defence.fallback
        position = None if fallback is None else self.router.library.index(fallback)
        different = np.unique(votes)
        return int(votes[0]) if len(different) == 1 else pick_vote(different, self.prices, position)

    def _needs_one_vote(self, target: int) -> bool:
        """Tell whether the target answers as soon as one reading leads to it: it is cheap."""
        has_fallback = self.defence is not None and self.defence.fallback is not None
        return not has_fallback and bool(self.prices[target] <= np.median(self.prices))


def _distance_by_all(margins: Float64Array) -> float:
    """Return a distance that falls with that of each reading, most with that of the farthest."""
    return float(margins.max() + margins.clip(0).mean())
