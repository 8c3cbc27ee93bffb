"""What a chart shows, apart from how it is drawn: panels with two axes each, and marks on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tryage.learning.charts.style import REFERENCE_STYLE, Style

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array

Numbers: TypeAlias = Sequence[float]

Unit: TypeAlias = Literal["number", "percent", "dollars", "time"]

Side: TypeAlias = Literal["right", "below", "inside", "none"]

_MARGIN = 0.06  # of the width of an axis, beyond the outermost mark

_LABEL_MARGIN = 0.12  # where points have names, which stand beside them


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says.

    `unit` is how its numbers are written; times are in seconds since 1970 (UTC). `ticks` are
    positions with texts, instead of numbers; an empty tuple means none at all.
    """

    label: str = ""
    unit: Unit = "number"
    is_log: bool = False
    is_reversed: bool = False
    limits: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line through `x` and `y`, and a band from `low` to `high` where these are given."""

    name: str
    x: Numbers
    y: Numbers
    style: Style
    low: Numbers | None = None
    high: Numbers | None = None
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class Points:
    """Points, with intervals on either axis where bounds are given.

    `names` are shown when one points at a point. `labels` stand beside the points, those that come
    first before others; an empty one is not drawn, nor is one that finds no free place.
    """

    name: str
    x: Numbers
    y: Numbers
    style: Style
    x_low: Numbers | None = None
    x_high: Numbers | None = None
    low: Numbers | None = None
    high: Numbers | None = None
    names: Sequence[str] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars around `x`, from `base` to `base + y`; `is_horizontal` exchanges the axes.

    `width` is of all bars, in units of the axis.
    """

    name: str
    x: Numbers
    y: Numbers
    style: Style
    base: Numbers | None = None
    width: float = 0.9
    is_horizontal: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A straight reference line: at `value` of an axis, or the diagonal of equal values."""

    name: str
    direction: Literal["vertical", "horizontal", "diagonal"]
    value: float = 0.0
    style: Style = REFERENCE_STYLE


Mark: TypeAlias = "Line | Points | Bars | Rule"


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes with its marks; those that come later lie above."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture: what it found, in `title`, on what, in `note`, and the same for a screen reader.

    `size` is in inches, `weights` are the relative widths of the columns, and `description` says
    in words what is to be seen.
    """

    title: str
    panels: tuple[Panel, ...]
    description: str
    note: str = ""
    size: tuple[float, float] = (8.6, 5.2)
    columns: int = 1
    weights: tuple[float, ...] = ()
    legend: Side = "right"

    @property
    def rows(self) -> int:
        """The number of rows of panels."""
        return -(-len(self.panels) // self.columns)


def panel_limits(panel: Panel) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the range of both axes: as given, else so that each mark has a margin."""
    has_labels = any(isinstance(one, Points) and any(one.labels) for one in panel.marks)
    return _limits(panel, 0, has_labels=has_labels), _limits(panel, 1, has_labels=has_labels)


def _limits(panel: Panel, which: int, *, has_labels: bool) -> tuple[float, float]:
    axis = (panel.x, panel.y)[which]
    if axis.limits is not None:
        return axis.limits
    values = _finite([one[which] for one in map(_extent, panel.marks)])
    values = values[values > 0] if axis.is_log else values
    if not values.size:
        return (1.0, 10.0) if axis.is_log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    margin = _LABEL_MARGIN if has_labels and which == 0 else _MARGIN
    if axis.is_log:
        width = max(np.log10(high / low), 0.3)
        return low / 10 ** (margin * width), high * 10 ** (margin * width)
    width = high - low or abs(high) or 1.0
    return low - margin * width * _moves(axis, low), high + margin * width


def _moves(axis: Axis, low: float) -> bool:
    """Return whether there is a margin below: amounts of money begin at 0."""
    return not (axis.unit == "dollars" and low == 0)


def _extent(mark: Mark) -> tuple[list[Numbers], list[Numbers]]:
    """Return all positions of a mark on both axes."""
    if isinstance(mark, Rule):
        return [], []
    if isinstance(mark, Line):
        return [mark.x], [one for one in (mark.y, mark.low, mark.high) if one is not None]
    if isinstance(mark, Points):
        x = [one for one in (mark.x, mark.x_low, mark.x_high) if one is not None]
        return x, [one for one in (mark.y, mark.low, mark.high) if one is not None]
    middle, half = np.asarray(mark.x, np.float64), mark.width / 2
    base = np.zeros(len(middle)) if mark.base is None else np.asarray(mark.base, np.float64)
    along = [(middle - half).tolist(), (middle + half).tolist()]
    across = [base.tolist(), (base + np.asarray(mark.y, np.float64)).tolist()]
    return (across, along) if mark.is_horizontal else (along, across)


def _finite(parts: Sequence[Sequence[Numbers]]) -> Float64Array:
    flat = [np.asarray(one, np.float64) for part in parts for one in part]
    values = np.concatenate(flat) if flat else np.empty(0)
    return np.asarray(values[np.isfinite(values)])
