"""Forecasts are means per category, shrunk to the expert's mean where prompts are few."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.qtable import QTable
from tryage.learning.training.estimators import fit_forecasts

ONE_HOT = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])


def table(**measures):
    return QTable(tuple("pqrs"), ("a", "b"), np.zeros((4, 2)), **measures)


def test_a_forecast_averages_the_prompts_of_a_category_and_five_times_the_mean():
    costs = np.array([[1.0, np.nan], [3.0, np.nan], [8.0, np.nan], [np.nan, np.nan]])
    forecasts = fit_forecasts(table(costs=costs), ONE_HOT)
    mean = (1 + 3 + 8) / 3
    assert set(forecasts) == {"costs"}
    assert forecasts["costs"][:, 0] == pytest.approx(
        [(1 + 3 + 5 * mean) / 7, (8 + 5 * mean) / 6], rel=1e-6
    )


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
