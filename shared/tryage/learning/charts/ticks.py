"""How the numbers of an axis are written: plain numbers, shares, dollars and times."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.learning.charts.chart import Axis

_MAX_TIME_TICKS = 5

# Seconds between two ticks.
_TIME_STEPS = (
    *(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0),
    *(3_600.0, 7_200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0),
)

_SHORT_PERIOD, _LONG_PERIOD = 600.0, 2 * 86_400.0  # seconds; below the one seconds, above it dates


def format_number(value: float, unit: str = "number") -> str:
    """Return a number with its unit, without an exponent."""
    if unit == "percent":
        return f"{100 * value:.3g}%"
    if unit == "dollars":
        return f"-{format_dollars(-value)}" if value < 0 else format_dollars(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def format_dollars(usd: float) -> str:
    """Return an amount of money to three digits: $1,234, $0.5, $0.00012."""
    if usd >= 100:
        return f"${usd:,.0f}"
    rounded = float(f"{usd:.3g}")
    return f"${np.format_float_positional(rounded, trim='-')}"


def time_pattern(start: float, end: float) -> str:
    """Return the pattern for times of a period, in the words of `strftime`."""
    if end - start <= _SHORT_PERIOD:
        return "%H:%M:%S"
    return "%H:%M" if end - start <= _LONG_PERIOD else "%d %b"


def format_time(seconds: float, pattern: str) -> str:
    """Return a time (UTC) in a pattern of `strftime`."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(pattern)


def axis_ticks(
    axis: Axis, limits: tuple[float, float]
) -> tuple[tuple[float, ...], tuple[str, ...]] | None:
    """Return positions and texts of an axis; None where the drawing library finds better ones."""
    if axis.ticks is not None:
        return tuple(x for x, _ in axis.ticks), tuple(text for _, text in axis.ticks)
    if axis.unit == "time":
        positions = _time_ticks(*limits)
        pattern = time_pattern(*limits)
        return tuple(positions), tuple(format_time(one, pattern) for one in positions)
    if axis.is_log:
        positions = _log_ticks(*limits)
        return tuple(positions), tuple(format_number(one, axis.unit) for one in positions)
    return None


def _time_ticks(low: float, high: float) -> list[float]:
    """Return at most five round times (UTC), with the same distance."""
    fitting = (one for one in _TIME_STEPS if (high - low) / one <= _MAX_TIME_TICKS)
    step = next(fitting, float(np.ceil((high - low) / _MAX_TIME_TICKS / 86_400)) * 86_400)
    found = np.arange(np.ceil(low / step), np.ceil(high / step)) * step
    return [float(one) for one in found] or [low]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 of each decade, or of many decades the powers of ten alone."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    factors = (1.0, 2.0, 5.0) if last - first <= 3 else (1.0,)
    found = [float(f"{factor}e{power}") for power in range(first, last + 1) for factor in factors]
    inside = [one for one in found if low <= one <= high]
    return (
        inside if len(inside) > 1 else [float(f"{one:.2g}") for one in np.geomspace(low, high, 4)]
    )
