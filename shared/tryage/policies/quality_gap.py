"""QualityGap: the cheapest expert whose answer is expected to be almost as good as the best one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT, first_by_keys
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.validation import check_number, check_strings, did_you_mean, preview
from tryage.errors import InputError
from tryage.policies.batch_reader import BatchReader
from tryage.policies.inputs import check_router, check_table, expected_names

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

GAPS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
"""The quality gaps of a curve."""


class QualityGap(Policy):
    """Chooses the cheapest expert whose quality gap to the best one is small, as Hybrid LLM does.

    The quality gap of an expert is `H(x) = q(expert) - q(best)` for a prompt x, with q = 1 - loss
    (Ding et al. 2024, "Hybrid LLM: Cost-Efficient and Quality-Aware Query Routing"). An expert is
    good enough if `H(x) >= -gap` with the given `probability`. The three routers of the paper are
    settings of these two numbers: r_det and r_prob ask for the probability that `H(x) >= 0`, from
    one answer of each model or from several, and are `gap=0`; r_trans asks for that of
    `H(x) >= -t`, because few small models are as good as a large one, and is `gap=t`. What the
    paper's threshold is, is `probability`; it and `gap` can be changed with every call. Here the
    quality is that of the mean answer, so with `probability=0.5` the predicted losses decide, and a
    higher one asks for more of experts that little is known about.

    Costs are the expected USD of the request; an unknown price counts as a dear one. Of the
    preferences, only the requirements and a tolerance count.

    Args:
        gap: By how much worse than the best an answer may be, in [0, 1]; .02 is two points. Where
            the preferences in force, such as those of a call, have a `tolerance` and no
            `answer_value`, the tolerance stands in its place, and in that of all `gaps`; the preset
            "best" is a tolerance of 0.
        gaps: Other gaps for some experts, by the name, or by a tuple of the names of a tier.
        large: The expert, or the tier, that the others are compared with, as in the paper; the best
            of all if None. It is always good enough, and so is who is predicted to be better.
        probability: How sure it must be that the gap is not larger, in (0, 1).

    Raises:
        InputError: a value out of range, or an expert with two gaps.
    """

    stage = PolicyStage.CHOICE

    def __init__(
        self,
        gap: float = 0.02,
        *,
        gaps: Mapping[str | tuple[str, ...], float] | None = None,
        large: str | Sequence[str] | None = None,
        probability: float = 0.5,
    ) -> None:
        self.gap = check_number("gap", gap, 0.0, 1.0)
        self.gaps = _check_gaps({} if gaps is None else gaps)
        large_names = [large] if isinstance(large, str) else large
        self.large = () if large_names is None else check_strings("large", large_names)
        if large_names is not None and not self.large:
            raise InputError("large has no name; expected some, or None for the best of all.")
        self.probability = check_number("probability", probability, 1e-6, 1 - 1e-6)
        self._is_checked = False  # whether a router has all names

    @classmethod
    def calibrate(
        cls,
        router: Router,
        table: QTable,
        max_drop: float = 0.01,
        *,
        large: str | Sequence[str] | None = None,
        probability: float = 0.5,
    ) -> QualityGap:
        """Return the policy with the largest gap of a curve up to which quality drops little.

        The drop is the mean over measured answers, which is no guarantee for others; see
        `tryage.policies.Guarantee`. Arguments are those of the class and of `curve`.

        Raises:
            InputError: not even a gap of 0 has so small a drop, or as in `curve`.
        """
        limit = check_number("max_drop", max_drop, 0.0, 1.0)
        points = cls(large=large, probability=probability).curve(router, table)
        small = [one.gap for one in takewhile(lambda one: one.drop <= limit, points)]
        if not small:
            raise InputError(
                f"A gap of 0 drops the quality by {points[0].drop:.4f} on {points[0].n_prompts} "
                f"prompts; expected at most max_drop={limit:g}. Allow more, or train the router on "
                "prompts like these."
            )
        return cls(small[-1], large=large, probability=probability)

    def bind(self, library: Library, traffic: Any) -> QualityGap:  # noqa: ANN401, ARG002 - as in the base class
        """Return the policy, which has no state.

        A router refuses experts that it does not have, in `gaps` or in the large tier; its subsets
        need one of the large tier.

        Raises:
            InputError: the library lacks an expert.
        """
        missing = [name for name in self.large if name not in library]
        if missing and (not self._is_checked or len(missing) == len(self.large)):
            raise InputError(
                f"large has {', '.join(missing)}, which the router does not know."
                f"{expected_names(missing, library)}"
            )
        unknown = [name for name in self.gaps if name not in library]
        if unknown and not self._is_checked:
            raise InputError(
                f"gaps has {preview(unknown[0])}, and the router has no such expert."
                f"{did_you_mean(unknown[0], library.names)}"
            )
        bound = copy.copy(self)
        bound._is_checked = True  # noqa: SLF001 - of its own class
        return bound

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose the cheapest expert that is good enough."""
        experts, n_enough, best = self._choose(batch, self._gaps(batch))
        names = batch.library.names
        reasons = [
            f"the cheapest of {n} that are within their quality gap to {names[j]}"
            if NO_EXPERT not in (expert, chosen) and expert != chosen
            else None
            for expert, chosen, n, j in zip(experts, batch.choice, n_enough, best, strict=True)
        ]
        return PolicyChoice(np.where(experts == NO_EXPERT, batch.choice, experts), reasons)

    def _gaps(self, batch: PolicyBatch) -> Float64Array:
        """Return the gap of each expert, `(n_experts,)`."""
        library, preferences = batch.library, batch.requests[0].preferences
        # With an answer_value, such as in the presets, it is a tolerance in the total.
        if preferences.tolerance is not None and preferences.answer_value is None:
            return np.full(len(library), preferences.tolerance)
        gaps = np.full(len(library), self.gap)
        for name, gap in self.gaps.items():
            if name in library:
                gaps[library.index(name)] = gap
        return gaps

    def _choose(
        self, batch: PolicyBatch, gaps: Float64Array
    ) -> tuple[IndexArray, IndexArray, IndexArray]:
        """Return the experts chosen, how many are good enough, and the reference, `(batch,)`."""
        is_large = np.ones(len(batch.library), np.bool_)
        if self.large:
            is_large[:] = False
            is_large[[batch.library.index(one) for one in self.large if one in batch.library]] = (
                True
            )
        best = reference_experts(batch.losses, batch.eligible, is_large)
        enough = within_gap(batch.losses, batch.std, best, gaps, self.probability) & batch.eligible
        experts = first_by_keys(enough, [batch.counted_costs, batch.losses])
        return experts, enough.sum(axis=1), best

    def curve(
        self, router: Router, table: QTable, gaps: Sequence[float] = GAPS
    ) -> list[QualityGapPoint]:
        """Return what each gap saves and costs in quality on the prompts of a table.

        The router chooses among the experts that the table has, and the gap of all of them is that
        of the point. Prompts count on which the reference and every chosen expert are measured, all
        points on the same ones.

        Raises:
            InputError: no prompt counts, the table has no expert of the router or of the large
                tier, or a gap is out of range.
        """
        values = _check_points(gaps)
        library = check_router(router).library
        known = [name for name in check_table(table).experts if name in library]
        if not known:
            raise InputError(
                f"The router knows none of the table's experts, {', '.join(table.experts[:10])}; "
                "expected the names of its own."
            )
        measured_router, reader = router.with_policy(None).subset(known), BatchReader()
        self.bind(library, None).bind(measured_router.library, None)
        measured_router.with_policy(reader).decide_batch(table.prompts)
        parts = [self._measured_choices(batch, table, values) for batch in reader.batches]
        losses, costs, is_small = np.concatenate(parts, axis=2)  # (1 + n_gaps, n_prompts) each
        is_known = ~np.isnan(losses).any(axis=0)
        n_prompts = int(is_known.sum())
        if not n_prompts:
            raise InputError(
                f"None of the {len(table.prompts)} prompts has measured losses of all the experts "
                "that are chosen on it; measure more of the router's experts."
            )
        losses, costs, shares = (one[:, is_known].mean(axis=1) for one in (losses, costs, is_small))
        return [
            QualityGapPoint(
                gap=gap,
                n_prompts=n_prompts,
                cost_advantage=float(shares[i]),
                cost=float(costs[i]),
                saving=None if not costs[0] > 0 else float(1 - costs[i] / costs[0]),
                score=float(1 - losses[i]),
                drop=float(losses[i] - losses[0]),
            )
            for i, gap in enumerate(values, start=1)
        ]

    def _measured_choices(
        self, batch: PolicyBatch, table: QTable, gaps: Sequence[float]
    ) -> Float64Array:
        """Return measured losses, USD, and who is not the reference, `(3, 1 + n_gaps, batch)`.

        The first row is the reference.
        """
        measured = table.losses_for([one.text for one in batch.requests], batch.library)
        found = [self._choose(batch, np.full(len(batch.library), gap)) for gap in gaps]
        best, rows = found[0][2], np.arange(len(batch.requests))
        choices = [best, *(experts for experts, _, _ in found)]
        return np.array(
            [
                [np.where(one == NO_EXPERT, np.nan, measured[rows, one]) for one in choices],
                [batch.counted_costs[rows, one] for one in choices],
                [one != best for one in choices],
            ],
            np.float64,
        )

    def __repr__(self) -> str:
        """Show the gap and the probability."""
        return f"QualityGap({self.gap:g}, probability={self.probability:g})"


@dataclass(frozen=True, slots=True)
class QualityGapPoint:
    """What a quality gap saves and costs, as the paper of Hybrid LLM reports it.

    `cost_advantage` is the share of prompts that do not go to the reference, `cost` the expected
    USD of a prompt, `saving` the share of the USD of the reference that is saved, None if those are
    zero. `score` is the mean of 1 - measured loss, and `drop` by how much it is below that of the
    reference alone; a negative one is a gain.
    """

    gap: float
    n_prompts: int
    cost_advantage: float
    cost: float
    saving: float | None
    score: float
    drop: float


def reference_experts(losses: FloatArray, eligible: BoolArray, is_large: BoolArray) -> IndexArray:
    """Return the best expert of the large tier, `(batch,)`, of all where none of it is eligible.

    `losses` and `eligible` are `(batch, n_experts)`, `is_large` is `(n_experts,)`. `NO_EXPERT`
    where no expert is eligible.
    """
    large = first_by_keys(eligible & is_large, [losses])
    return np.where(large == NO_EXPERT, first_by_keys(eligible, [losses]), large)


def within_gap(
    losses: FloatArray,
    std: FloatArray,
    best: IndexArray,
    gaps: Float64Array,
    probability: float,
) -> BoolArray:
    """Return which experts are good enough, `(batch, n_experts)`.

    The difference of two losses is Gaussian, with the `std` of both; where one is unknown the
    predicted losses decide. The reference `best` `(batch,)` is good enough, and so is an expert
    with a lower predicted loss.
    """
    rows = np.arange(len(best))[:, None]
    excess = losses.astype(np.float64) - losses[rows, best[:, None]]
    spread = np.nan_to_num(np.hypot(std, std[rows, best[:, None]]))
    upper = excess + NormalDist().inv_cdf(probability) * spread
    return np.asarray((upper <= gaps) | (excess <= 0))


def _check_points(gaps: object) -> list[float]:
    """Return the gaps of a curve, or raise `InputError`."""
    values = list(gaps) if isinstance(gaps, Iterable) and not isinstance(gaps, str) else []
    if not values:
        raise InputError(f"gaps is {preview(gaps)}; expected a list such as [0, 0.05].")
    return [check_number("gap", one, 0.0, 1.0) for one in values]


def _check_gaps(gaps: Mapping[str | tuple[str, ...], float]) -> dict[str, float]:
    """Return the gap of each name, or raise `InputError`."""
    if not isinstance(gaps, Mapping):
        raise InputError(
            f"gaps is {preview(gaps)}; expected gaps by names such as {{'small': 0.05}}."
        )
    checked: dict[str, float] = {}
    for names, gap in gaps.items():
        for name in check_strings("gaps", [names] if isinstance(names, str) else names):
            if name in checked:
                raise InputError(f"gaps has two gaps of {name}; expected one of each expert.")
            checked[name] = check_number(f"gap of {name}", gap, 0.0, 1.0)
    return checked
