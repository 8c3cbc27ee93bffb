"""Which experts are eligible, best first, and which are rejected: sequences computed when read."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from tryage.core.cache import cached_property, deferred, get_or_compute_bounded
from tryage.core.costs import expected_costs
from tryage.core.objective import ANSWER_VALUE, MAX_EXACT_EXPERTS
from tryage.core.request_batch import ALL
from tryage.core.validation import did_you_mean
from tryage.errors import LibraryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray
    from tryage.core.costs import PromptCosts
    from tryage.core.library import Library
    from tryage.core.objective import RoutingLoss
    from tryage.core.perception import Prediction
    from tryage.core.preferences import Preferences, Requirement
    from tryage.core.request_batch import ExpertIndex, RequestBatch
    from tryage.core.uncertainty import UncertaintyCalibration

_LOGGER = logging.getLogger(__name__)

NO_PREDICTION = "no usable prediction"
TOLERANCE = "tolerance"  # the name of its term

_PREFETCH = 16  # experts sorted at least, when more than the best one is read
_FEW = 32  # experts
_MAX_ANNOUNCED = 8  # names of one requirement that are compared with those of the library


# Eligible experts ------------------------------------------------------------------------------


def check_eligibility(
    library: Library, preferences: Preferences, prediction: Prediction, request: RequestBatch
) -> Eligibility:
    """Check the requirements of prompts that share their preferences, and their predictions.

    The token counts of `request` may be zeros if no requirement reads the cost.
    """
    usable: BoolArray = np.isfinite(prediction.losses)
    if not preferences.requirements:
        return Eligibility(library, ((None, usable),), usable)
    cost = expected_costs(library, request, prediction) if preferences.needs_cost else None
    eligible = usable.copy()
    masks: list[tuple[Requirement | None, BoolArray]] = [(None, usable)]
    for requirement in preferences.requirements:
        mask = _requirement_mask(requirement, library, cost)
        masks.append((requirement, mask))
        eligible &= mask
    return Eligibility(library, tuple(masks), eligible, cost)


def _requirement_mask(
    requirement: Requirement, library: Library, cost: Float64Array | None
) -> BoolArray:
    """Return which experts meet a requirement; only one on the cost depends on the prompt."""
    if requirement.field == "cost":
        return requirement.satisfied(library, cost)

    def read() -> BoolArray:
        if requirement.field == "name" and requirement.op == "not in":
            _announce_unknown_bans(library, requirement.words)
        return requirement.satisfied(library)

    return get_or_compute_bounded(library, requirement, read)


def _announce_unknown_bans(library: Library, words: Sequence[str]) -> None:
    """Log the banned names that no expert has: whoever misspells one believes it is banned."""
    for word in words[:_MAX_ANNOUNCED]:
        if word not in library:
            _warn_once(
                f"No expert is called {word!r:.80}, so the ban of it changes nothing."
                f"{did_you_mean(word, library.names)}"
            )


@lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    """Log a message once, though many libraries may be asked the same."""
    _LOGGER.warning("%s", message)


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Which experts meet the requirements and have a prediction, `eligible` `(batch, n_experts)`.

    `filter_masks` has one mask per requirement, and one (None) for usable predictions, of that
    shape or `(n_experts,)`. `cost`, in USD, is `(batch, n_experts)`, None if no requirement reads
    it.
    """

    library: Library
    filter_masks: tuple[tuple[Requirement | None, BoolArray], ...]
    eligible: BoolArray
    cost: Float64Array | None = None

    @property
    def has_choice(self) -> BoolArray:
        """Whether any expert is eligible for each prompt, `(batch,)`."""
        return np.asarray(self.eligible.any(axis=1))

    def is_predicted(self, i: int) -> bool:
        """Return whether any expert has a usable prediction for prompt `i`."""
        _, usable = self.filter_masks[0]
        return bool(usable[i].any())

    def rejections(self, i: int) -> Rejections:
        """Return the rejected experts for prompt `i`, with their reasons."""
        cost = None if self.cost is None else self.cost[i]
        checks = [
            RequirementCheck(requirement, mask if mask.ndim == 1 else mask[i], cost)
            for requirement, mask in self.filter_masks
        ]
        return Rejections(self.library, checks)


# The ranking -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RankedExpert:
    """One eligible expert: `total` = `predicted_loss` + the sum of `terms`.

    `predicted_loss` is the mean loss that is expected of many prompts like this one: for losses in
    [0, 1], the probability of a failure. `std` is the standard deviation of that mean, None if
    unknown: what the perception does not know. The chance of a single answer is not in it; it is in
    `interval`. `terms[name]` is `lambda_j C_j`, and of `answer_value`, `latency_value` and
    `tolerance` what they add; `unknown` names the terms with an unknown value, which counts as a
    bad one. `cost` is the expected USD of the request, None if unknown.
    """

    name: str
    predicted_loss: float
    std: float | None
    terms: Mapping[str, float]
    total: float
    unknown: tuple[str, ...]
    cost: float | None = None
    # An UncertaintyCalibration, None if none was measured; pydantic cannot read its type.
    uncertainty: Any = field(default=None, repr=False, compare=False)

    def interval(self, level: float = 0.9, prompts: int = 1) -> tuple[float, float] | None:
        """Return in which interval the mean measured loss of `prompts` like this one lies.

        With one prompt it is the loss of the answer. `level` is the probability of the interval,
        from .01 to .99. None if the perception has measured no intervals.

        Raises:
            InputError: a level out of range, or no prompt.
        """
        if self.uncertainty is None or self.std is None:
            return None
        found: tuple[float, float] = self.uncertainty.interval(
            self.predicted_loss, self.std, level, prompts
        )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {
            "name": self.name,
            "predicted_loss": self.predicted_loss,
            "std": self.std,
            "terms": dict(self.terms),
            "total": self.total,
            "unknown": list(self.unknown),
            "cost": self.cost,
        }


class RankingColumns(NamedTuple):
    """The scores of the best experts, in the order of a ranking.

    `totals` are without what a tolerance adds, and `cost_terms` what dollars add to them. `stds`
    and `costs`, in USD, are None where they are unknown.
    """

    names: tuple[str, ...]
    losses: tuple[float, ...]
    stds: tuple[float | None, ...]
    totals: tuple[float, ...]
    costs: tuple[float | None, ...]
    cost_terms: tuple[float, ...]


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Ranking(Sequence[RankedExpert]):
    """The eligible experts, best first; sorted only as far as it is read.

    Ties in the total go to the lower predicted loss, then to library order. All arrays are
    `(n_experts,)`, and `routing_loss` is that of a batch of one. `eligible` marks the experts that
    meet the requirements and have a prediction. With a `tolerance`, all experts with a total within
    it of the lowest count as equal to it, and the cheapest of them come first; it needs `costs`.
    `best` is the position of the first expert, if it is known already. `std` may be given as what
    computes it at the first read.
    """

    _std: deferred[FloatArray] = deferred()

    def __init__(  # noqa: PLR0913 - the parts of a ranking
        self,
        library: Library,
        losses: FloatArray,
        std: FloatArray | Callable[[], FloatArray],
        routing_loss: RoutingLoss,
        eligible: BoolArray,
        *,
        costs: PromptCosts | None = None,
        tolerance: float | None = None,
        best: int | None = None,
        uncertainty: UncertaintyCalibration | None = None,
    ) -> None:
        self._uncertainty = uncertainty
        self._library, self._losses, self._std = library, losses, std
        self._costs, self._tolerance = costs, None if costs is None else tolerance
        self._routing_loss, self._eligible = routing_loss, eligible
        self._size = int(np.count_nonzero(eligible))
        # The best experts, as many as were read.
        self._order: NDArray[np.intp] = np.array([] if best is None else [best], np.intp)
        self._entries: dict[int, RankedExpert] = {}  # by position in the library
        self.first_expert: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the std in place of the function that computes it."""
        return {**vars(self), "_std": self._std}

    def __len__(self) -> int:
        """Return the number of eligible experts."""
        return self._size

    @overload
    def __getitem__(self, rank: int) -> RankedExpert: ...
    @overload
    def __getitem__(self, rank: slice) -> tuple[RankedExpert, ...]: ...
    def __getitem__(self, rank: int | slice) -> RankedExpert | tuple[RankedExpert, ...]:
        """Return the expert at a rank, 0 is the best, or several experts."""
        ranks = range(self._size)[rank]
        if isinstance(ranks, int):
            return self._entry_at(int(self.top(ranks + 1)[ranks]))
        order = self.top(max(ranks, default=-1) + 1)
        return tuple(self._entry_at(int(order[j])) for j in ranks)

    def __iter__(self) -> Iterator[RankedExpert]:
        """Yield the experts, best first."""
        for rank in range(self._size):
            yield self._entry_at(int(self.top(rank + 1)[rank]))

    def __repr__(self) -> str:
        """Show the size and the best experts."""
        return f"Ranking({self._size} experts: {', '.join(r.name for r in self[:3])})"

    def entry(self, name: str) -> RankedExpert:
        """Return the scores of one expert, by name or alias.

        Raises:
            LibraryError: no such expert, or it was rejected.
        """
        found = self.find(name)
        if found is None:
            raise LibraryError(f"{name!r} was rejected and has no rank; see decision.rejected")
        return found

    def find(self, name: str) -> RankedExpert | None:
        """Return the scores of one expert, by name or alias, None if it was rejected.

        Raises:
            LibraryError: no such expert.
        """
        i = self._library.index(name)
        return self._entry_at(i) if self._eligible[i] else None

    def with_first(self, i: int) -> Ranking:
        """Return the ranking with the expert at position `i` first, and the others as before."""
        moved = copy.copy(self)
        moved.first_expert = i
        return moved

    def columns(self, k: int) -> RankingColumns:
        """Return the scores of the `k` best experts as columns, in less time than as objects."""
        order = self.top(k)
        costs = None if self._costs is None else self._costs.known(order).tolist()
        return RankingColumns(
            tuple([self._library.names[i] for i in order.tolist()]),
            tuple(self._losses[order].tolist()),
            tuple([_finite_or_none(std) for std in self._std[order].tolist()]),
            tuple(self._totals(order).tolist()),
            (None,) * len(order) if costs is None else tuple(map(_finite_or_none, costs)),
            self._cost_terms(order),
        )

    def _cost_terms(self, order: NDArray[np.intp]) -> tuple[float, ...]:
        """Return what dollars add to the totals of some experts, in loss."""
        terms = [self._evaluated_loss.terms.get(name) for name in (ANSWER_VALUE, "cost")]
        parts = [one.weight * np.atleast_2d(one.values(order))[0] for one in terms if one]
        return tuple(sum(parts).tolist()) if parts else (0.0,) * len(order)

    def top(self, k: int) -> NDArray[np.intp]:
        """Return the library positions of the `k` best experts, in order; fast for small `k`."""
        if self.first_expert is None:
            return self._top_by_total(k)
        order = self._top_by_total(k)
        return np.insert(order[order != self.first_expert], 0, self.first_expert)[:k]

    def _top_by_total(self, k: int) -> NDArray[np.intp]:
        order = self._order  # a local name, because another thread may assign a shorter one
        if order.size < min(k, self._size):
            # Double the prefetch each time, so that iterating over all ranks is O(n log n).
            prefetch = max(k, _PREFETCH, 2 * order.size) if k > 1 else k
            # Sorting few experts is faster than searching for the best of them.
            sort_all = self._size <= max(prefetch, MAX_EXACT_EXPERTS)
            order = self._order = self._sort_top(self._size if sort_all else prefetch)
        return order[:k]

    def _sort_top(self, k: int) -> NDArray[np.intp]:
        """Return the best experts, at least `k` of them if there are so many."""
        if self._size <= _FEW:
            return self._sort_few()
        if self._costs is None or self._tolerance is None:
            return self._sort_by_total(k)
        within = self._within_tolerance
        cheapest_first = within[np.argsort(self._costs.counted(within), kind="stable")]
        if k <= within.size:
            return cheapest_first
        return np.concatenate([cheapest_first, self._sort_by_total(k)[within.size :]])

    def _sort_few(self) -> NDArray[np.intp]:
        """Return all experts in order; for few, lists take less time than arrays."""
        experts = np.flatnonzero(self._eligible)
        losses, totals = self._losses[experts].tolist(), self._totals(experts).tolist()
        ranks = sorted(range(len(losses)), key=lambda j: (totals[j], losses[j]))
        if ranks and self._costs is not None and self._tolerance is not None:
            limit, costs = totals[ranks[0]] + self._tolerance, self._costs.counted(experts).tolist()
            n_within = sum(total <= limit for total in totals)
            ranks[:n_within] = sorted(ranks[:n_within], key=costs.__getitem__)
        order: NDArray[np.intp] = experts[ranks]
        return order

    def _totals(self, experts: ExpertIndex) -> NDArray[np.float64]:
        """Return the exact totals of some experts, `(k,)`; those of few are computed once."""
        if self._losses.size <= MAX_EXACT_EXPERTS:
            return self._all_totals[experts]
        totals: NDArray[np.float64] = self._routing_loss.totals(experts)[0]
        return totals

    @cached_property
    def _all_totals(self) -> NDArray[np.float64]:
        totals: NDArray[np.float64] = self._evaluated_loss.totals(ALL)[0]
        return totals

    @cached_property
    def _within_tolerance(self) -> NDArray[np.intp]:
        """The experts within the tolerance of the lowest total, in the order of their totals."""
        near = self._near_best
        within = near[self._totals(near) <= np.float64(self._limit)]
        ordered: NDArray[np.intp] = within[self._argsort_totals(within)]
        return ordered

    @cached_property
    def _limit(self) -> float:
        """The lowest total plus the tolerance; minus infinity without a tolerance."""
        if self._tolerance is None or not self._size:
            return -math.inf
        return float(self._totals(self._near_best).min()) + self._tolerance

    @cached_property
    def _near_best(self) -> NDArray[np.intp]:
        """The experts that may be within the tolerance of the lowest total, in library order."""
        approximate = self._evaluated_loss.approximate_total
        if approximate is None:
            return np.flatnonzero(self._eligible)
        return self._candidates_within_bound(1, approximate[0], self._tolerance or 0.0)

    def _sort_by_total(self, k: int) -> NDArray[np.intp]:
        if k == self._losses.size:
            return self._argsort_totals(ALL)
        approximate = self._evaluated_loss.approximate_total
        if k < self._size and approximate is not None:
            experts = self._candidates_within_bound(k, approximate[0])
        else:
            experts = np.flatnonzero(self._eligible)
        best: NDArray[np.intp] = experts[self._argsort_totals(experts)[:k]]
        return best

    @cached_property
    def _evaluated_loss(self) -> RoutingLoss:
        """The routing loss; for few experts with all values, which sorting reads several times."""
        is_small = self._losses.size <= MAX_EXACT_EXPERTS
        return self._routing_loss.evaluated() if is_small else self._routing_loss

    def _argsort_totals(self, experts: ExpertIndex) -> NDArray[np.intp]:
        losses = self._losses[experts]
        if not self._evaluated_loss.terms:
            return losses.argsort(kind="stable")
        return np.lexsort((losses, self._totals(experts)))  # stable: library order

    def _candidates_within_bound(
        self, k: int, approximate: FloatArray, tolerance: float = 0.0
    ) -> NDArray[np.intp]:
        """Return all experts that may be within a tolerance of the `k` best, in library order."""
        are_all_eligible = self._size == approximate.size
        if not are_all_eligible:
            # Infinity for the others, in a seventh of the time of np.where: its branches are
            # mispredicted for arbitrary masks.
            lowest = np.subtract(0.5, self._eligible, dtype=approximate.dtype)
            lowest *= np.inf
            approximate = np.maximum(approximate, lowest, out=lowest)
        kth = np.fmin.reduce(approximate) if k == 1 else np.partition(approximate, k - 1)[k - 1]
        limit = float(kth) + tolerance
        # No exact total within the tolerance of the k best is higher than this, with any rounding.
        bound = limit + 2 * self._evaluated_loss.rounding_bound(max(abs(limit), abs(float(kth))))
        is_near = approximate <= bound
        if not are_all_eligible:
            is_near &= self._eligible
        return np.flatnonzero(is_near)

    def _entry_at(self, i: int) -> RankedExpert:
        if i not in self._entries:
            self._entries[i] = self._build_entry(i)
        return self._entries[i]

    def _build_entry(self, i: int) -> RankedExpert:
        name, loss, std = self._library.names[i], float(self._losses[i]), float(self._std[i])
        terms, total, unknown = self._terms_of(i)
        usd = math.nan if self._costs is None else float(self._costs.known(slice(i, i + 1)).item())
        return RankedExpert(
            name=name,
            predicted_loss=loss,
            std=std if math.isfinite(std) else None,
            terms=terms,
            total=total,
            unknown=unknown,
            cost=usd if math.isfinite(usd) else None,
            uncertainty=self._uncertainty,
        )

    def _terms_of(self, i: int) -> tuple[dict[str, float], float, tuple[str, ...]]:
        """Return the terms of one expert, its total, and which terms are unknown."""
        one, routing_loss = slice(i, i + 1), self._evaluated_loss
        terms: dict[str, float] = {}
        unknown: tuple[str, ...] = ()
        total = float(self._losses[i])
        if routing_loss.terms:
            weighted, gaps = routing_loss.weighted_terms(one), routing_loss.unknown_masks(one)
            terms = {name: float(part.item()) for name, part in weighted.items()}
            total = float(routing_loss.totals(one).item())
            unknown = tuple(name for name, gap in gaps.items() if gap.item())
        if total < self._limit:
            terms[TOLERANCE], total = self._limit - total, self._limit
        return terms, total, unknown


# Rejected experts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RejectedExpert:
    """One rejected expert, with a sentence for each reason."""

    name: str
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {"name": self.name, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class RequirementCheck:
    """The outcome of one requirement, or (None) of the check for a usable prediction.

    `passed` is `(n_experts,)`; `cost` is the expected USD `(n_experts,)` if a requirement reads it.
    """

    requirement: Requirement | None
    passed: BoolArray
    cost: FloatArray | None = None

    @property
    def label(self) -> str:
        """A short name of the check: the field of the requirement."""
        return NO_PREDICTION if self.requirement is None else self.requirement.field

    def reason(self, library: Library, i: int) -> str:
        """Return why expert `i` does not pass."""
        if self.requirement is None:
            return NO_PREDICTION
        return self.requirement.reason(library, i, None if self.cost is None else self.cost[i])


class Rejections(Sequence[RejectedExpert]):
    """The rejected experts, in library order; the reasons are written when read."""

    def __init__(self, library: Library, checks: Sequence[RequirementCheck]) -> None:
        self._library, self.checks = library, tuple(checks)

    @cached_property
    def _rejected_rows(self) -> NDArray[np.intp]:
        """The library positions of the rejected experts."""
        passed = [check.passed for check in self.checks]
        return np.flatnonzero(~np.logical_and.reduce(passed)) if passed else np.empty(0, np.intp)

    def __len__(self) -> int:
        """Return the number of rejected experts."""
        return self._rejected_rows.size

    @overload
    def __getitem__(self, index: int) -> RejectedExpert: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RejectedExpert, ...]: ...
    def __getitem__(self, index: int | slice) -> RejectedExpert | tuple[RejectedExpert, ...]:
        """Return one rejected expert, or several."""
        if isinstance(index, slice):
            return tuple(self[j] for j in range(*index.indices(len(self))))
        i = int(self._rejected_rows[index])
        failed = (check for check in self.checks if not check.passed[i])
        return RejectedExpert(
            self._library.names[i], tuple(check.reason(self._library, i) for check in failed)
        )

    def __repr__(self) -> str:
        """Show the size and the first experts."""
        return f"Rejections({len(self)} experts: {', '.join(r.name for r in self[:3])})"

    def failed_requirements(self, i: int) -> tuple[str, ...]:
        """Return why the expert at library position `i` fails each requirement that it fails."""
        failed = (check for check in self.checks if check.requirement and not check.passed[i])
        return tuple(check.reason(self._library, i) for check in failed)

    def group_by_check(
        self, examples: int = 3
    ) -> list[tuple[str, int, tuple[tuple[str, str], ...]]]:
        """Return label, count and some (name, reason) of each check that rejects an expert."""
        groups = []
        for check in self.checks:
            failed = np.flatnonzero(~check.passed)
            shown = tuple(
                (self._library.names[i], check.reason(self._library, i))
                for i in failed[:examples].tolist()
            )
            if shown:
                groups.append((check.label, failed.size, shown))
        return groups
