"""The periods of a budget: days, weeks and months in a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, TypeAlias
from zoneinfo import ZoneInfo

from tryage.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

PeriodName: TypeAlias = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Period:
    """One period, from `start` until before `end`, in seconds since 1970 (UTC).

    The `end` is None where the period does not end.
    """

    start: float
    end: float | None

    def elapsed(self, time: float) -> float:
        """Return the share of the period that is over, from 0 to 1; 0 if it does not end."""
        if self.end is None:
            return 0.0
        return min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)


ENDLESS = Period(0.0, None)


def period_at(name: PeriodName, time: float, zone: tzinfo) -> Period:
    """Return the day, week (from Monday) or month in which a time lies."""
    local = datetime.fromtimestamp(time, zone)
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if name == "day":
        after = first + timedelta(days=1)
    elif name == "week":
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return Period(first.timestamp(), after.timestamp())


def parse_zone(name: str) -> tzinfo:
    """Return the time zone of a name such as "Europe/Berlin".

    Raises:
        InputError: there is no such zone.
    """
    if name == "UTC":  # it needs no database
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, TypeError, AttributeError, LookupError) as error:
        raise InputError(
            f"timezone is {name!r:.80}; expected a name of the IANA database, such as "
            '"Europe/Berlin" or "UTC". Where the system has no database, pip install tzdata.'
        ) from error
