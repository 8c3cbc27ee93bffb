"""Labels overlap nothing, and stand where the first free place is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tryage.learning.charts.labels import Label, place_labels

AREA = (0.0, 0.0, 400.0, 200.0)


def box(placed):
    left, middle = placed.label.x + placed.dx, placed.label.y + placed.dy
    half = placed.label.height / 2
    return left, middle - half, left + placed.label.width, middle + half


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_a_label_stands_to_the_right_of_its_point():
    (placed,) = place_labels([Label("a", 100, 100, 40, 10)], AREA)
    assert (placed.dx, placed.dy) == (7.0, 0.0)


def test_at_the_right_edge_it_stands_to_the_left():
    (placed,) = place_labels([Label("a", 390, 100, 40, 10)], AREA)
    assert (placed.dx, placed.dy) == (-47.0, 0.0)


def test_it_avoids_markers_and_lines():
    marker = (105.0, 95.0, 150.0, 105.0)
    (placed,) = place_labels([Label("a", 100, 100, 40, 10)], AREA, [marker])
    assert not overlap(box(placed), marker)
    line = np.array([[120.0, 0.0], [120.0, 200.0]])
    (placed,) = place_labels([Label("a", 100, 100, 40, 10)], AREA, lines=[line])
    assert box(placed)[2] < 120


def test_no_line_runs_between_a_label_and_its_point():
    """Above the line is more room, but a label there would seem to name another point."""
    line = np.array([[0.0, 112.0], [400.0, 112.0]])
    blocked = [(100.0, 80.0, 200.0, 106.0), (0.0, 80.0, 99.0, 106.0)]
    assert place_labels([Label("a", 100, 107, 40, 10)], AREA, blocked, [line]) == []


@pytest.mark.parametrize("n", [1, 8, 35, 300])
def test_no_two_of_many_labels_overlap(n):
    rng = np.random.default_rng(n)
    points = rng.uniform((0, 0), (400, 200), (n, 2)).tolist()
    placed = place_labels([Label(str(i), *at, 60, 12) for i, at in enumerate(points)], AREA)
    assert 0 < len(placed) <= n
    assert not any(overlap(box(a), box(b)) for a, b in itertools.combinations(placed, 2))
    assert all(box(p)[0] >= 0 and box(p)[2] <= 400 for p in placed)


def test_a_label_without_a_free_place_is_left_out_and_the_first_ones_come_first():
    area = (0.0, 0.0, 60.0, 10.0)
    labels = [Label("first", 5, 5, 40, 8), Label("second", 6, 5, 40, 8)]
    assert [one.label.text for one in place_labels(labels, area)] == ["first"]
