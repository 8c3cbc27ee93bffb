"""Hull, AIQ (RouterBench, arXiv 2403.12031), parity and intervals against cases worked by hand."""

import numpy as np
import pytest

from tryage.simulation.metrics import (
    aiq,
    bootstrap,
    cost_at_score,
    interval,
    score_at_cost,
    upper_hull,
)


def test_the_hull_drops_points_that_a_mixture_of_others_beats():
    x, y = upper_hull(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 0.3, 0.8, 0.7]))
    assert x.tolist() == [1.0, 3.0]
    assert y.tolist() == [0.2, 0.8]


def test_of_two_points_at_the_same_cost_the_hull_keeps_the_better():
    x, y = upper_hull(np.array([1.0, 1.0, 2.0]), np.array([0.1, 0.4, 0.5]))
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [0.4, 0.5])


def test_aiq_of_a_known_front():
    # From (0, .4) straight to (1, .8), then flat to 2: mean height (.6 + .8) / 2.
    front = np.array([0.0, 1.0]), np.array([0.4, 0.8])
    assert aiq(*front, low=0.0, high=2.0) == pytest.approx(0.7)
    assert aiq(*front, low=0.0, high=1.0) == pytest.approx(0.6)
    assert aiq(*front, low=0.5, high=1.0) == pytest.approx(0.7)


def test_aiq_of_one_point_is_its_score():
    assert aiq(np.array([1.0]), np.array([0.5]), low=0.0, high=3.0) == pytest.approx(0.5)


def test_a_score_between_two_settings_costs_a_mixture_of_them():
    # The hull from (1, .4) to (3, .8): .5 is reached at a quarter of the way.
    front = np.array([1.0, 3.0]), np.array([0.4, 0.8])
    assert cost_at_score(*front, 0.5) == pytest.approx(1.5)
    assert cost_at_score(*front, 0.3) == 1.0
    assert cost_at_score(*front, 0.81) is None


def test_a_cost_between_two_settings_scores_a_mixture_of_them():
    front = np.array([1.0, 3.0]), np.array([0.4, 0.8])
    assert score_at_cost(*front, 1.5) == pytest.approx(0.5)
    assert score_at_cost(*front, 9.0) == pytest.approx(0.8)
    assert score_at_cost(*front, 0.9) is None


def test_the_interval_of_a_paired_difference_is_narrower_than_that_of_each_side():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=500)
    values = np.column_stack([hard + 0.1, hard])
    draws = bootstrap(values, np.arange(500), draws=300)
    gap = interval(0.1, draws[:, 0] - draws[:, 1])
    alone = interval(values[:, 0].mean(), draws[:, 0])
    assert gap.low == pytest.approx(0.1)
    assert gap.high == pytest.approx(0.1)
    assert alone.high - alone.low == pytest.approx(4 * hard.std() / np.sqrt(500), rel=0.15)


def test_twins_are_drawn_together():
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    together = bootstrap(values, np.array([0, 0, 1, 1]), draws=500)
    assert set(np.unique(together)) == {0.0, 0.5, 1.0}


def test_many_samples_at_once_are_those_that_are_drawn_one_by_one():
    """More groups than are drawn at once, so that several parts follow each other."""
    values = np.random.default_rng(1).random((30_000, 2))
    rng = np.random.default_rng(5)
    expected = [values[rng.integers(0, 30_000, 30_000)].mean(axis=0) for _ in range(7)]
    found = bootstrap(values, np.arange(30_000), draws=7, seed=5)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
