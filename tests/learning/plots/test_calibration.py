"""Calibration against cases worked by hand, and coverage of intervals that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert, Library, QTable, Router
from tryage.core.perception import Perception, Prediction
from tryage.core.uncertainty import LEVELS, UncertaintyCalibration
from tryage.errors import InputError, QTableError
from tryage.learning.charts.chart import Points
from tryage.learning.plots.calibration import calibration_plot


def test_the_means_of_bins_and_models_are_those_worked_by_hand(router, table):
    """Predicted .1 .1 / .1 .1 / .9 .3 / .9 .3, measured 0 0 / 0 0 / 1 0 / 1 1."""
    found = calibration_plot(router, table, n_bins=4)
    bins = [(one.n, one.predicted, one.measured) for one in found.total.bins]
    assert bins == [
        (4, pytest.approx(0.1), 0.0),
        (2, pytest.approx(0.3), 0.5),
        (2, pytest.approx(0.9), 1.0),
    ]
    assert found.total.error == pytest.approx((4 * 0.1 + 2 * 0.2 + 2 * 0.1) / 8)
    models = {one.name: one.total for one in found.models}
    assert (models["small"].predicted, models["small"].measured) == (pytest.approx(0.5), 0.5)
    assert (models["large"].predicted, models["large"].measured) == (pytest.approx(0.2), 0.25)
    assert all(one.low <= one.measured <= one.high for one in found.total.bins)
    assert found.title() == "Predicted losses are 0.125 off on average"


def test_without_measured_intervals_there_is_no_panel_of_them(router, table):
    chart = calibration_plot(router, table).chart()
    assert [panel.title for panel in chart.panels] == ["All models", "Each model"]
    assert "measured no intervals" in chart.description


class NormalPerception(Perception):
    """Predicts .5 with intervals of a normal distribution around it."""

    experts = ("a", "b")

    def predict(self, prompts):
        quantiles = np.array([normal_quantile(0.5 + level / 2) for level in LEVELS])
        ends = np.array([0.0, 1.0])
        uncertainty = UncertaintyCalibration(
            1.0, 0.0, np.zeros(1), ends, np.array([0.1, 0.1]), quantiles, quantiles, 0.1, 1.0, 0.0,
            (0.0, 1.0),
        )  # fmt: skip
        losses = np.full((len(prompts), 2), 0.5, np.float32)
        return Prediction(losses, np.zeros_like(losses), uncertainty=uncertainty)


def normal_quantile(p):
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)


def test_intervals_hold_what_their_level_says_if_losses_are_as_predicted():
    """Losses of N(.5, .1): of each interval as many are inside as its level, by construction."""
    n = 2_000
    losses = 0.5 + 0.1 * np.random.default_rng(0).normal(size=(n, 2))
    table = QTable(tuple(map(str, range(n))), ("a", "b"), losses.clip(0, 1).astype(np.float32))
    router = Router(NormalPerception(), Library([Expert("a"), Expert("b")]))
    found = calibration_plot(router, table)
    for one in found.total.coverage:
        assert one.low - 0.005 < one.level < one.high + 0.005
    assert found.chart().panels[2].title == "Intervals of single answers"
    assert found.total.covered(0.9).share == pytest.approx(0.9, abs=0.02)
    assert "the 90% intervals hold" in found.title()
    assert len(found.total.bins) == 1  # equal predictions are in one bin


def test_each_model_has_a_panel_of_its_own_if_that_is_asked(router, table):
    chart = calibration_plot(router, table).models_chart()
    assert [panel.title for panel in chart.panels] == ["small", "large"]
    assert chart.title == "Predictions are off most for large: by 0.050"


def test_models_farthest_from_the_diagonal_are_named_first(router, table):
    (points,) = (
        mark
        for mark in calibration_plot(router, table).chart().panels[1].marks
        if isinstance(mark, Points)
    )
    assert points.labels[0] == "large"


def test_only_known_experts_and_measured_prompts_count(router, table):
    losses = table.losses.copy()
    losses[0] = np.nan
    more = QTable(table.prompts, (*table.experts, "new"), np.column_stack([losses, [0, 0, 0, 0]]))
    found = calibration_plot(router, more)
    assert found.n_prompts == 3
    assert {one.name for one in found.models} == {"small", "large"}


def test_losses_beyond_one_have_intervals_too(router, table):
    found = calibration_plot(router, replace(table, losses=3 * table.losses))
    assert found.total.total.measured == pytest.approx(9 / 8)
    assert found.total.total.low < 9 / 8 < found.total.total.high


def test_what_cannot_be_compared_is_refused(router, table):
    with pytest.raises(InputError, match="none of the experts of the table"):
        calibration_plot(router, replace(table, experts=("a", "b")))
    with pytest.raises(QTableError, match="no measured loss"):
        calibration_plot(router, replace(table, losses=np.full(table.shape, np.nan)))
    with pytest.raises(InputError, match="n_bins"):
        calibration_plot(router, table, n_bins=0)
