"""The limits of an assignment: how they are read, and what is said where they cannot be met."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import check_integer, check_number, preview
from tryage.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.core.library import Library
    from tryage.policies.assignment_tables import PredictedTables

_SHOWN_EXPERTS = 5


@dataclass(frozen=True, slots=True, eq=False)
class AssignmentLimits:
    """USD for all prompts, prompts per expert `(n_experts,)`, and the mean predicted quality."""

    budget: float | None
    capacity: Float64Array
    min_quality: float | None


def read_limits(
    library: Library,
    budget: float | None = None,
    capacity: object = None,
    min_quality: float | None = None,
) -> AssignmentLimits:
    """Return checked limits; `capacity` is a mapping of names to numbers of prompts.

    Raises:
        InputError: a value of the wrong type or out of range.
        LibraryError: a capacity of an unknown expert.
    """
    if capacity is not None and not isinstance(capacity, Mapping):
        raise InputError(
            f"capacity is {preview(capacity)}; expected a dict of names and numbers of prompts, "
            'such as {"gpt-5.6": 1000}.'
        )
    places = np.full(len(library), np.inf)
    for name, count in (capacity or {}).items():
        i = library.index(name)
        places[i] = min(places[i], check_integer(f"capacity[{name!r}]", count))
    return AssignmentLimits(
        None if budget is None else check_number("budget", budget),
        places,
        None if min_quality is None else check_number("min_quality", min_quality, -math.inf, 1.0),
    )


def check_prices(tables: PredictedTables) -> None:
    """Raise unless some price is known.

    Raises:
        InputError: none is.
    """
    if not tables.has_costs:
        raise InputError(
            "A budget, min_quality and a front need prices, and no expert has a known one: give "
            "the experts an input_price and an output_price."
        )


def allowed_pairs(tables: PredictedTables, limits: AssignmentLimits) -> BoolArray:
    """Return which experts each prompt may get, `(n_prompts, n_experts)`.

    Raises:
        InfeasibleError: a prompt has none, or there are fewer places than prompts.
    """
    allowed = tables.allowed & (limits.capacity > 0)
    is_possible = allowed.any(axis=1)
    if not is_possible.all():
        row = int(is_possible.argmin())
        names = [tables.names[i] for i in np.flatnonzero(tables.allowed[row])[:_SHOWN_EXPERTS]]
        raise InfeasibleError(
            f"Prompt {row} may only go to {', '.join(names)}, whose capacity is 0: raise it, or "
            "loosen the requirements."
        )
    places = float(limits.capacity[allowed.any(axis=0)].sum())
    if places < len(allowed):
        raise InfeasibleError(
            f"The capacities of all experts that may be chosen add up to {places:,.0f} for "
            f"{len(allowed):,} prompts: raise them by {len(allowed) - places:,.0f}."
        )
    return allowed


def capacity_error() -> InfeasibleError:
    """Return the error that there are enough places, but not for the experts that are allowed."""
    return InfeasibleError(
        "The capacities have enough places for all prompts together, but too many prompts may only "
        "go to a few experts: raise the capacities of these, or loosen the requirements."
    )


def budget_error(limits: AssignmentLimits, least: float) -> InfeasibleError:
    """Return the error that says how much the prompts cost at least, in USD."""
    return InfeasibleError(
        f"The budget is {limits.budget:g} USD, and the least that these prompts cost is "
        f"{_round_up(least):g} USD: raise the budget to that, or allow cheaper experts.",
        least_budget=least,
    )


def quality_error(limits: AssignmentLimits, best: float) -> InfeasibleError:
    """Return the error that says which mean quality is predicted at best."""
    within = "" if limits.budget is None else f" within {limits.budget:g} USD"
    other = "raise the budget" if within else "allow other experts"
    return InfeasibleError(
        f"min_quality is {limits.min_quality:g}, and the best mean quality that is predicted"
        f"{within} is {-_round_up(-best):g}: lower min_quality to that, or {other}.",
        best_quality=best,
    )


def _round_up(value: float) -> float:
    """Return a number with six digits that is not lower."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 5)
    return math.ceil(value / unit * (1 - math.copysign(1e-12, value))) * unit
