"""The picture of a trade-off as numbers: where points, steps and ticks stand in a small drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.core.explanation import format_dollars

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage_playground.trade_off import TradeOff

WIDTH, HEIGHT = 360.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 14.0, 14.0, 38.0
_FREE_COST = 1e-6  # USD: where a free model stands on the logarithmic scale

_LETTER, _LINE = 5.6, 11.0  # width and height of a small label

_MAX_LABELS = 8


@dataclass(frozen=True, slots=True)
class Dot:
    """One model: its place, and whether it is on the front or chosen by a side ("A", "B")."""

    name: str
    x: float
    y: float
    is_on_front: bool
    chosen_by: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A name beside its dot; `anchor` is SVG's text-anchor."""

    text: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis."""

    text: str
    place: float


@dataclass(frozen=True, slots=True)
class Picture:
    """Score over cost: all that a template draws."""

    dots: tuple[Dot, ...]
    labels: tuple[Label, ...]
    front: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def draw(found: TradeOff, winners: Sequence[tuple[str, str]]) -> Picture | None:
    """Return the picture of a trade-off, None without any price.

    `winners` are the sides and the models that they choose, such as ("A", "gpt-5.4").
    """
    if not found.points:
        return None
    costs = [max(one.cost or 0.0, _FREE_COST) for one in found.points]
    qualities = [1.0 - one.predicted_loss for one in found.points]
    x_axis = _Axis.of([math.log10(cost) for cost in costs], _LEFT, WIDTH - _RIGHT)
    y_axis = _Axis.of(qualities, HEIGHT - _BOTTOM, _TOP)
    on_front = [step.name for step in found.steps]
    dots = [
        Dot(
            one.name,
            x_axis.place(math.log10(cost)),
            y_axis.place(quality),
            one.name in on_front,
            tuple(side for side, name in winners if name == one.name),
            f"{one.name}: quality {quality:.1%}, {format_dollars(one.cost or 0.0)}",
        )
        for one, cost, quality in zip(found.points, costs, qualities, strict=True)
    ]
    by_name = {dot.name: dot for dot in dots}
    corners = [by_name[name] for name in on_front]
    return Picture(
        # Those that matter are drawn last, over the others.
        tuple(sorted(dots, key=lambda dot: (len(dot.chosen_by), dot.is_on_front))),
        place_labels(dots),
        " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in corners),
        tuple(Tick(format_dollars(10.0**power), x_axis.place(power)) for power in _powers(x_axis)),
        tuple(_percent_ticks(y_axis)),
    )


def _percent_ticks(axis: _Axis) -> Iterable[Tick]:
    """Yield the round values in percent, with as many digits as tell them apart."""
    values = _round_values(axis)
    digits = next(
        n for n in range(4) if n == 3 or len({f"{v:.{n}%}" for v in values}) == len(values)
    )
    for value in values:
        yield Tick(f"{value:.{digits}%}", axis.place(value))


@dataclass(frozen=True, slots=True)
class _Axis:
    """A linear scale from values to places."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(cls, values: Iterable[float], start: float, end: float) -> _Axis:
        values = list(values)
        low, high = min(values), max(values)
        room = 0.08 * (high - low) or 0.05
        return cls(low - room, high + room, start, end)

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _powers(axis: _Axis) -> list[float]:
    """Return the powers of ten for ticks: whole ones, or one and three of each if they are few."""
    whole = [float(power) for power in range(math.ceil(axis.low), math.floor(axis.high) + 1)]
    if len(whole) >= 2:
        return whole[:: max(1, math.ceil(len(whole) / 4))]
    halves = [power + math.log10(3) for power in range(math.floor(axis.low), math.ceil(axis.high))]
    return sorted(whole + [power for power in halves if axis.low <= power <= axis.high])


def _round_values(axis: _Axis) -> list[float]:
    """Return three to six round values."""
    span = axis.high - axis.low
    step = next(
        one for one in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if span / one <= 6
    )
    first = math.ceil(axis.low / step)
    return [i * step for i in range(first, math.floor(axis.high / step) + 1)]


def place_labels(dots: Sequence[Dot]) -> tuple[Label, ...]:
    """Return names beside the winners and the front, those left out that would overlap."""
    wanted = sorted(
        (dot for dot in dots if dot.chosen_by or dot.is_on_front),
        key=lambda dot: (-len(dot.chosen_by), dot.x),
    )
    boxes = [(dot.x - 5, dot.y - 5, dot.x + 5, dot.y + 5) for dot in wanted]
    labels: list[Label] = []
    for dot in wanted:
        if len(labels) == _MAX_LABELS:
            break
        found = next((one for one in _places(dot) if _is_free(_box(one), boxes)), None)
        if found is not None:
            labels.append(found)
            boxes.append(_box(found))
    return tuple(labels)


def _places(dot: Dot) -> Iterable[Label]:
    """Yield places around a dot and its rings, the best first."""
    away = 8.0 + 3.0 * len(dot.chosen_by)
    yield Label(dot.name, dot.x + away, dot.y + 4, "start")
    yield Label(dot.name, dot.x - away, dot.y + 4, "end")
    for offset in (-4 - away, 9 + away, -15 - away, 20 + away):
        yield Label(dot.name, dot.x, dot.y + offset, "middle")
        yield Label(dot.name, dot.x + 4, dot.y + offset, "start")
        yield Label(dot.name, dot.x - 4, dot.y + offset, "end")


def _box(label: Label) -> tuple[float, float, float, float]:
    width = _LETTER * len(label.text)
    shift = {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return label.x - shift, label.y - _LINE + 2, label.x - shift + width, label.y + 2


def _is_free(box: tuple[float, float, float, float], boxes: Iterable[tuple[float, ...]]) -> bool:
    left, top, right, bottom = box
    if left < _LEFT or right > WIDTH - 2 or top < 2 or bottom > HEIGHT - _BOTTOM:
        return False
    return all(right < b[0] or left > b[2] or bottom < b[1] or top > b[3] for b in boxes)
