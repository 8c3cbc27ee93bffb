"""The comparison of presets: only measured experts are chosen, and unknown costs are a mean."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.scoring.qtable import QTable

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

NAN = np.nan


@pytest.fixture
def presets(monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import presets

    yield presets
    sys.modules.pop("presets")


@pytest.fixture
def table():
    return QTable(
        ["a", "b", "c"],
        ["dear", "cheap"],
        np.float32([[0, 1], [0, 0], [NAN, 1]]),
        costs=np.float32([[0.04, 0.001], [NAN, 0.001], [NAN, 0.001]]),
    )


def predict(losses):
    losses = np.float32(losses)
    costs = np.tile(np.float32([0.04, 0.001]), (len(losses), 1))
    return Prediction(losses, np.zeros_like(losses), costs=costs)


def test_only_experts_that_were_measured_on_a_prompt_are_chosen(presets, table):
    prediction = predict([[0.1, 0.9], [0.1, 0.12], [0.1, 0.9]])
    best = presets.choose(table, prediction, Preferences.preset("best"))
    assert best.tolist() == [0, 0, 1]
    balanced = presets.choose(table, prediction, Preferences.preset("balanced"))
    assert balanced.tolist() == [0, 1, 1]


def test_an_outcome_is_the_score_in_points_and_the_mean_cost(presets, table):
    found = presets.outcome(table, np.array([0, 0, 1]), np.array([True, True, False]))
    assert found.score == 100
    assert found.cost == pytest.approx(0.04)  # that of the second prompt is the mean of the first


def test_the_halves_share_no_prompt_and_leave_out_those_without_a_choice(presets, table):
    first, second = presets.halves(table)
    assert not (first & second).any()
    assert (first | second).tolist() == [True, True, False]
