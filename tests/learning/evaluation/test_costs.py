"""Costs against cases worked by hand: weights, forecasts, parity."""

import numpy as np
import pytest

from tryage.errors import QTableError
from tryage.learning.evaluation.costs import (
    choose_weight,
    priced_experts,
    sweep_weight,
)
from tryage.scoring.qtable import QTable

NAN = float("nan")


def table():
    return QTable(
        ("p", "q"),
        ("dear", "cheap", "unpriced"),
        [[0.0, 0.5, 0.0], [0.0, 1.0, 0.0]],
        costs=[[1.0, 0.1, NAN], [1.0, 0.2, NAN]],
    )


def test_an_expert_without_a_known_cost_is_never_free():
    assert priced_experts(table()) == ("dear", "cheap")
    forecast = np.array([[1.0, 0.1, 0.0], [1.0, 0.2, 0.0]])
    _, costs = sweep_weight(table().losses, forecast, table(), 1.0, np.array([0.0, 1e3]))
    assert costs[:, 0].tolist() == [1.0, 1.0]


def test_a_higher_weight_moves_a_prompt_when_the_saving_exceeds_its_loss():
    priced = table().select(["dear", "cheap"])
    weights = np.array([0.0, 0.6, 2.0])
    scores, costs = sweep_weight(priced.losses, priced.costs, priced, 1.0, weights)
    # At .6 the cheap expert's loss of .5 is under .9 * .6 = .54, its loss of 1 is not under .48.
    assert scores.tolist() == [[1.0, 0.5, 0.5], [1.0, 1.0, 0.0]]
    np.testing.assert_allclose(costs.sum(axis=0), [2.0, 1.1, 0.3], rtol=1e-6)


def test_the_chosen_weight_is_the_cheapest_that_keeps_the_score():
    scores, costs = np.array([[0.9, 0.898, 0.5]]), np.array([[3.0, 2.0, 1.0]])
    assert choose_weight(scores, costs, 0.9, 0.005) == 1
    assert choose_weight(scores, costs, 0.9, 0.001) == 0
    assert choose_weight(scores, costs, 0.99, 0.005) == 0  # out of reach: the best score


def test_a_table_without_costs_has_no_priced_experts_and_no_sweep():
    bare = QTable(("p",), ("a",), [[0.0]])
    assert priced_experts(bare) == ()
    with pytest.raises(QTableError, match="no costs"):
        sweep_weight(bare.losses, bare.losses, bare, 1.0)
