"""The cheapest rule that keeps a guarantee: rules from safe to cheap, tested on measured answers.

A rule takes a cheaper expert than the reference if its predicted loss is at most a tolerance above
the reference's; of several, the one with the lowest loss plus cost. With a tolerance of -1 the
reference answers everything. The rules are tested from the first one on until one fails, and of
those before it the cheapest is taken: fixed-sequence testing needs no correction for many tests
(Angelopoulos, Bates, Candes, Jordan and Lei, 2021, "Learn then test").
"""

from __future__ import annotations

import math
import secrets
import time as clock
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import GuaranteeError
from tryage.policies.betting import growth, p_values

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray

TOLERANCES = np.linspace(-1.0, 1.0, 401)
"""Those that are tested, in loss, from safe to cheap. They depend on no data."""

REFERENCE_COST = 0.5
"""The loss that the reference's cost of a request counts for, where experts are compared."""

_TESTED_AT_ONCE = 50  # rules; most are never reached


@dataclass(frozen=True, slots=True)
class GuaranteeCalibration:
    """Which rule the measured answers of `n_prompts` prompts allow.

    Attributes:
        tolerance: A cheaper expert is taken if its predicted loss is at most so much above that of
            the reference.
        n_prompts: How many prompts were measured.
        share: The share of them that another expert than the reference answers.
        saving: The share of the reference's expected cost that this saves.
        relative_score: The mean score of the answers, as a share of the reference's: an estimate.
        reference: The name of the reference.
        at_least: The share of its mean score that is proven.
        confidence: The probability of that.
        metric: What a score is: "score" or "agreement".
        experts: The names of the experts that the rule may take.
        id: What stands for it in the log, random.
        time: When it was made, in seconds since 1970 (UTC).
    """

    tolerance: float
    n_prompts: int
    share: float
    saving: float
    relative_score: float
    reference: str = ""
    at_least: float = 0.95
    confidence: float = 0.95
    metric: str = "score"
    experts: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    time: float = field(default_factory=clock.time)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values, from which `GuaranteeCalibration(**values)` makes it again."""
        return asdict(self) | {"experts": list(self.experts)}

    def __post_init__(self) -> None:
        """Take the names from a list, too."""
        object.__setattr__(self, "experts", tuple(self.experts))


def choose_within(
    losses: FloatArray,
    costs: FloatArray,
    allowed: BoolArray,
    reference: int,
    tolerance: float,
) -> IndexArray:
    """Return the expert that the rule of a tolerance takes, `(batch,)`.

    All tables are `(batch, n_experts)`: predicted losses, USD without NaN, and which experts may be
    taken. The reference, a position, may always be taken.
    """
    gaps, totals = _compare(losses, costs, allowed, reference)
    totals = np.where(gaps <= tolerance, totals, np.inf)
    is_lowest = totals == totals.min(axis=1, keepdims=True)
    return np.asarray(np.where(is_lowest, gaps, np.inf).argmin(axis=1))


def choose_along(
    losses: FloatArray,
    costs: FloatArray,
    allowed: BoolArray,
    reference: int,
    tolerances: Float64Array = TOLERANCES,
) -> IndexArray:
    """Return what `choose_within` does for ascending tolerances, `(batch, n_tolerances)`."""
    gaps, totals = _compare(losses, costs, allowed, reference)
    order = np.argsort(gaps, axis=1, kind="stable")  # the reference first
    ordered_gaps = np.take_along_axis(gaps, order, axis=1)
    lowest = np.minimum.accumulate(np.take_along_axis(totals, order, axis=1), axis=1)
    is_lower = np.ones(lowest.shape, np.bool_)
    is_lower[:, 1:] = lowest[:, 1:] < lowest[:, :-1]
    last = np.maximum.accumulate(np.where(is_lower, np.arange(lowest.shape[1]), 0), axis=1)
    best = np.take_along_axis(order, last, axis=1)
    within = [np.searchsorted(row, tolerances, side="right") - 1 for row in ordered_gaps]
    return np.asarray(np.take_along_axis(best, np.array(within), axis=1))


def _compare(
    losses: FloatArray, costs: FloatArray, allowed: BoolArray, reference: int
) -> tuple[Float64Array, Float64Array]:
    """Return predicted losses above the reference's, and what experts are compared by.

    The first is inf for experts that are not cheaper, and -inf for the reference itself.
    """
    dollars = np.asarray(costs, np.float64)
    own = dollars[:, [reference]]
    gaps = losses.astype(np.float64) - losses[:, [reference]]
    totals = gaps + REFERENCE_COST * dollars / np.where(own > 0, own, 1.0)
    gaps = np.where(allowed & (dollars < own) & ~np.isnan(gaps), gaps, np.inf)
    gaps[:, reference] = -np.inf
    return np.asarray(gaps), np.asarray(totals)


def calibrate_tolerance(  # noqa: PLR0913 - what is predicted, what was measured, and the guarantee
    losses: FloatArray,
    costs: FloatArray,
    allowed: BoolArray,
    scores: FloatArray,
    reference: int,
    *,
    at_least: float = 0.95,
    confidence: float = 0.95,
) -> GuaranteeCalibration:
    """Return the cheapest rule whose mean score is certain to be that share of the reference's.

    With a probability of at most `1 - confidence`, over samples of prompts, the rule is one whose
    true mean score is below `at_least` times that of the reference.

    Args:
        losses: Predicted, `(n_prompts, n_experts)`.
        costs: Expected USD, none of them NaN.
        allowed: Which experts may be taken.
        reference: The position of the reference.
        scores: The measured scores from 0 to 1, `(n_prompts, n_experts)`, NaN where unmeasured,
            which counts as 0; those of the reference are all known.
        at_least: The share.
        confidence: The probability.

    Raises:
        GuaranteeError: no rule but the reference alone is certain; it says how many prompts may be
            needed.
    """
    shuffled = np.random.default_rng(0).permutation(len(scores))  # tables are often sorted
    choices = choose_along(losses, costs, allowed, reference)[shuffled]
    measured = np.nan_to_num(np.asarray(scores, np.float64)[shuffled])
    expected = np.asarray(costs, np.float64)[shuffled]
    achieved = np.take_along_axis(measured, choices, axis=1)
    spent = np.take_along_axis(expected, choices, axis=1).mean(axis=0)
    differences = achieved - at_least * measured[:, [reference]]
    rule = select_rule(differences, spent, at_least, 1 - confidence)
    if rule is None or (choices[:, rule] == reference).all():
        raise _refusal(differences, choices != reference, at_least, confidence)
    return GuaranteeCalibration(
        tolerance=float(TOLERANCES[rule]),
        n_prompts=len(scores),
        share=float((choices[:, rule] != reference).mean()),
        saving=float(1 - spent[rule] / expected[:, reference].mean()),
        relative_score=float(achieved[:, rule].mean() / measured[:, reference].mean()),
        at_least=at_least,
        confidence=confidence,
    )


def select_rule(
    differences: Float64Array, spent: Float64Array, at_least: float, alpha: float
) -> int | None:
    """Return the cheapest of the rules before the first one that fails, None if the first does.

    Args:
        differences: `(n_prompts, n_rules)`, the scores less `at_least` times those of the
            reference, with prompts in a random order.
        spent: The expected USD of each rule, `(n_rules,)`.
        at_least: The share of the reference's mean score that is guaranteed.
        alpha: The level of the tests.
    """
    n_certain = _count_certain(differences, at_least, alpha)
    return int(spent[:n_certain].argmin()) if n_certain else None


def _count_certain(differences: Float64Array, at_least: float, alpha: float) -> int:
    """Return how many rules pass before the first one that fails."""
    for start in range(0, differences.shape[1], _TESTED_AT_ONCE):
        columns = differences[:, start : start + _TESTED_AT_ONCE]
        failed = np.flatnonzero(p_values(columns, -at_least, alpha) > alpha)
        if failed.size:
            return start + int(failed[0])
    return int(differences.shape[1])


def _refusal(
    differences: Float64Array, is_other: BoolArray, at_least: float, confidence: float
) -> GuaranteeError:
    """Return the error that says how many prompts the first rule that saves anything needs."""
    n = len(differences)
    said = (
        f"{n} prompts do not show that cheaper experts are {at_least:.0%} as good as the reference "
        f"with a confidence of {confidence:.0%}."
    )
    saving = np.flatnonzero(is_other.any(axis=0))
    if not saving.size:
        return GuaranteeError(f"{said} No cheaper expert is predicted for any of them.")
    growths = [growth(differences[:, j], -at_least) for j in range(int(saving[0]) + 1)]
    if min(growths) <= 0:
        return GuaranteeError(
            f"{said} The first of their answers are not as good already: ask for less, such as "
            f"at_least={at_least * 0.95:.2f}, or train the router on more answers."
        )
    needed = math.ceil(-math.log(1 - confidence) / min(growths))
    needed = max(needed, n + 1)
    return GuaranteeError(f"{said} About {needed:,} such prompts may.", n_needed=needed)
