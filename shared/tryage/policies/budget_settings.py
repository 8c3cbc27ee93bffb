"""Checks of a budget's settings: one limit with its period, names, and what ends a purse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.validation import check_number
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.policies.periods import PeriodName


def check_limit(
    per_request: float | None, limits: Mapping[PeriodName, float | None]
) -> tuple[float, PeriodName | None]:
    """Return the limit in USD and its period, None for an average.

    Raises:
        InputError: there is no limit, or more than one, or it is out of range.
    """
    given: dict[PeriodName | None, float] = {p: usd for p, usd in limits.items() if usd is not None}
    if per_request is not None:
        given[None] = per_request
    if len(given) != 1:
        raise InputError(
            f"A Budget has one limit, got {len(given)}; write Budget(usd_per_month=500), or one of "
            "usd_per_request, usd_per_day and usd_per_week. For two limits write "
            "Budget(usd_per_day=30) | Budget(usd_per_month=500)."
        )
    ((period, limit),) = given.items()
    return check_number(f"usd_per_{period or 'request'}", limit), period


def check_names(**names: object) -> None:
    """Raise unless all are non-empty texts or None.

    Raises:
        InputError: another value.
    """
    for name, value in names.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise InputError(f"{name} is {value!r:.80}; expected a text or None.")


def check_hard(period: PeriodName | None, fallback: str | None, *, hard: bool) -> None:
    """Raise where a hard limit has no purse, or a fallback no hard limit.

    Raises:
        InputError: it says which.
    """
    if hard and period is None:
        raise InputError(
            "An average cannot be hard: a request may cost more if others cost less. Write "
            "Budget(usd_per_day=..., hard=True)."
        )
    if fallback is not None and not hard:
        raise InputError(
            f"fallback is {fallback!r:.80}, which answers where a hard purse is spent: write "
            "hard=True, or leave it out. Without both the cheapest expert answers then."
        )
