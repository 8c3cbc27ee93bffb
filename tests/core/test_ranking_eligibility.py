"""Eligibility: an expert may be chosen if it has a prediction and meets every requirement."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.constraints import RequestBatch
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.core.ranking import check_eligibility

LIBRARY = Library(
    [
        Expert("small", parameters=1e9, input_price=1.0, output_price=0.0),
        Expert("large", parameters=7e10, input_price=10.0, output_price=0.0),
        Expert("unknown"),
    ]
)


def check(preferences, losses, tokens=(0.0, 0.0)):
    table = np.array(losses, dtype=np.float32)
    prediction = Prediction(table, np.zeros_like(table))
    return check_eligibility(LIBRARY, preferences, prediction, RequestBatch(np.array(tokens)))


def test_without_requirements_every_expert_with_a_prediction_is_eligible():
    found = check(Preferences(), [[0.1, np.nan, 0.2], [np.nan] * 3])
    assert found.eligible.tolist() == [[True, False, True], [False] * 3]
    assert found.has_choice.tolist() == [True, False]
    assert [found.is_predicted(i) for i in range(2)] == [True, False]
    assert found.cost is None


def test_a_requirement_on_the_cost_is_checked_for_each_prompt():
    found = check(Preferences(max_cost=0.005), [[0.1, 0.1, 0.1]] * 2, tokens=(100.0, 1000.0))
    assert found.eligible.tolist() == [[True, True, False], [True, False, False]]
    assert found.cost[1, 1] == pytest.approx(0.01)
    assert found.rejections(1)[0].reasons == ("cost $0.01 is not <= $0.005",)


def test_requirements_and_predictions_must_both_be_met():
    found = check(Preferences(max_parameters=1e10), [[np.nan, 0.1, 0.1]])
    assert not found.has_choice.any()
    assert found.is_predicted(0)
    assert [one.name for one in found.rejections(0)] == ["small", "large", "unknown"]


def test_a_banned_name_that_no_expert_has_is_announced_once_with_similar_ones(caplog):
    for _ in range(2):
        found = check(Preferences(ban=["smal", "LARGE"]), [[0.1, 0.1, 0.1]])
        assert found.eligible.tolist() == [[True, False, True]]
    check(Preferences(ban=["smal", "unknown"]), [[0.1, 0.1, 0.1]])
    (record,) = caplog.records
    assert record.getMessage() == (
        "No expert is called 'smal', so the ban of it changes nothing. Did you mean small?"
    )
