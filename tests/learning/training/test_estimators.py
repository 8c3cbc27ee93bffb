"""Forecasts are means per category, shrunk to what the category and the expert lead to expect."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training.estimators import fit_forecasts
from tryage.scoring.qtable import QTable

ONE_HOT = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])


def table(**measures):
    return QTable(tuple("pqrs"), ("a", "b"), np.zeros((4, 2)), **measures)


def test_a_forecast_lies_between_the_mean_of_its_few_prompts_and_the_one_of_all():
    costs = np.array([[1.0, np.nan], [3.0, np.nan], [8.0, np.nan], [np.nan, np.nan]])
    forecasts = fit_forecasts(table(costs=costs), ONE_HOT)
    short, long = forecasts["costs"][:, 0]
    assert set(forecasts) == {"costs"}
    assert 2.0 < short < 4.0 < long < 8.0


def test_an_expert_that_was_measured_on_long_tasks_alone_is_not_expected_to_write_long_answers():
    one_hot = np.repeat(np.eye(2, dtype=np.float32), 200, axis=0)
    tokens = np.full((400, 2), np.nan)
    tokens[:200, 0], tokens[200:, 0] = 10.0, 1000.0  # the short task, the long task
    tokens[200:, 1] = 500.0  # half as long as the other expert, on the long task alone
    measured = QTable(
        [f"{i}" for i in range(400)], ("a", "b"), np.zeros((400, 2)), output_tokens=tokens
    )
    forecast = fit_forecasts(measured, one_hot)["output_tokens"]
    assert forecast[1] == pytest.approx([1000, 500], rel=0.1)
    assert forecast[0, 1] < 40  # not the 500 of its own mean


def test_an_expert_without_a_measurement_is_unknown_and_not_free():
    costs = np.array([[1.0, np.nan]] * 4)
    assert np.isnan(fit_forecasts(table(costs=costs), ONE_HOT)["costs"][:, 1]).all()


def test_a_table_that_measured_nothing_forecasts_nothing():
    unknown = np.full((4, 2), np.nan)
    assert fit_forecasts(table(), ONE_HOT) == {}
    assert fit_forecasts(table(costs=unknown), ONE_HOT) == {}


def test_only_what_a_prediction_reads_is_forecast():
    measured = np.ones((4, 2))
    forecasts = fit_forecasts(
        table(latencies=measured, output_tokens=measured, costs=measured), ONE_HOT
    )
    assert set(forecasts) == {"output_tokens", "costs"}
