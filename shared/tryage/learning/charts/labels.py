"""Where labels of points stand, so that no two overlap and none hides a mark; in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import Float64Array

Box: TypeAlias = "tuple[float, float, float, float]"
"""Left, bottom, right and top."""

# Steps of a label from its point, in units of the text's height, the best first. The sign of the
# first number says on which side of the point the label is.
_STEPS = (
    *((0.7, 0.0), (-0.7, 0.0), (0.5, 0.9), (-0.5, 0.9), (0.5, -0.9), (-0.5, -0.9)),
    *((0.5, 1.7), (-0.5, 1.7), (0.5, -1.7), (-0.5, -1.7), (1.6, 0.6), (-1.6, 0.6)),
)

_GAP = 2.0  # pixels between two labels

_ON_LINE = 3.0  # pixels


@dataclass(frozen=True, slots=True)
class Label:
    """A text of `width` and `height` that belongs to the point at `x` and `y`."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """A label with the middle of its left end, `dx` and `dy` away from its point."""

    label: Label
    dx: float
    dy: float


def place_labels(
    labels: Sequence[Label],
    area: Box,
    obstacles: Iterable[Box] = (),
    lines: Iterable[Float64Array] = (),
) -> list[PlacedLabel]:
    """Return the labels that find a free place inside `area`, the first ones first.

    Args:
        labels: What is to be placed, the most important first.
        area: Where labels may stand.
        obstacles: Boxes of markers, legends and other texts.
        lines: Points `(n, 2)` of lines that no label may hide.
    """
    occupied = np.array(list(obstacles), np.float64).reshape(-1, 4)
    segments = _segments(lines)
    placed = []
    for label in labels:
        for step in _STEPS:
            dx = step[0] * label.height - (label.width if step[0] < 0 else 0.0)
            dy = step[1] * label.height
            box = _box(label, dx, dy)
            if (
                _is_inside(box, area)
                and _is_free(box, occupied, segments)
                and not _is_parted(label, box, segments)
            ):
                placed.append(PlacedLabel(label, dx, dy))
                occupied = np.vstack([occupied, box])
                break
    return placed


def _box(label: Label, dx: float, dy: float) -> Box:
    left, bottom = label.x + dx, label.y + dy - label.height / 2
    return left, bottom, left + label.width, bottom + label.height


def _is_inside(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _is_free(box: Box, occupied: Float64Array, segments: Float64Array) -> bool:
    left, bottom, right, top = box[0] - _GAP, box[1] - _GAP, box[2] + _GAP, box[3] + _GAP
    overlaps = (
        (occupied[:, 0] < right)
        & (occupied[:, 2] > left)
        & (occupied[:, 1] < top)
        & (occupied[:, 3] > bottom)
    )
    return not overlaps.any() and not _crosses((left, bottom, right, top), segments)


def _is_parted(label: Label, box: Box, segments: Float64Array) -> bool:
    """Return whether a line runs between a label and its point, unless the point is on the line."""
    if not len(segments):
        return False
    point = np.array([label.x, label.y])
    end = np.array([np.clip(label.x, box[0], box[2]), np.clip(label.y, box[1], box[3])])
    first = _side(segments, point)
    is_crossed = (first * _side(segments, end) < 0) & (
        _side_of(point, end, segments[:, :2]) * _side_of(point, end, segments[:, 2:]) <= 0
    )
    return bool((is_crossed & (np.abs(first) > _ON_LINE)).any())


def _side(segments: Float64Array, point: Float64Array) -> Float64Array:
    """Return how far a point lies from each segment's line, with a sign for its side."""
    step = segments[:, 2:] - segments[:, :2]
    length = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)
    away = point - segments[:, :2]
    return np.asarray((step[:, 0] * away[:, 1] - step[:, 1] * away[:, 0]) / length)


def _side_of(start: Float64Array, end: Float64Array, points: Float64Array) -> Float64Array:
    step, away = end - start, points - start
    return np.asarray(step[0] * away[:, 1] - step[1] * away[:, 0])


def _segments(lines: Iterable[Float64Array]) -> Float64Array:
    """Return the segments of lines, `(n, 4)`: both ends."""
    parts = [np.hstack([line[:-1], line[1:]]) for line in lines if len(line) > 1]
    return np.concatenate(parts) if parts else np.empty((0, 4))


def _crosses(box: Box, segments: Float64Array) -> bool:
    """Return whether a segment meets a box (Liang and Barsky, 1984)."""
    if not len(segments):
        return False
    start, step = segments[:, :2], segments[:, 2:] - segments[:, :2]
    low, high = np.array(box[:2]), np.array(box[2:])
    with np.errstate(divide="ignore", invalid="ignore"):
        first, last = (low - start) / step, (high - start) / step
    is_flat = step == 0
    is_within = (start >= low) & (start <= high)
    enter = np.where(is_flat, np.where(is_within, -np.inf, np.inf), np.fmin(first, last))
    leave = np.where(is_flat, np.where(is_within, np.inf, -np.inf), np.fmax(first, last))
    return bool((np.maximum(enter.max(axis=1), 0.0) <= np.minimum(leave.min(axis=1), 1.0)).any())
