"""Router without an eligible expert or a prediction: the default is used, or an error is raised."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.errors import InputError, NoExpertError, PerceptionError
from tryage.router import Router
from tryage.testing import FailingPerception, FixedPerception, demo_library, demo_perception


def demo(**options):
    return Router(demo_perception(), demo_library(), **options)


def test_without_an_eligible_expert_the_default_is_used_and_the_decision_has_the_reason():
    decision = demo(default="demo/tiny-1b").route("x", Preferences(max_parameters=1e6))
    assert decision.default_used
    assert decision.expert.name == "tiny-1b"
    assert "does not meet the requirements: parameters 1B is not <= 1M" in decision.default_reason
    assert len(decision.rejected) == 5
    assert len(decision.ranking) == 0
    assert decision.margin is decision.chosen is None


@pytest.mark.parametrize("options", [{}, {"default": "tiny-1b", "strict": True}])
def test_without_an_eligible_expert_and_a_usable_default_it_raises(options):
    with pytest.raises(NoExpertError, match="parameters 7B is not <= 1M"):
        demo(**options).route("x", Preferences(max_parameters=1e6))


def test_an_expert_without_a_usable_prediction_is_rejected():
    for bad in (np.nan, np.inf, -np.inf):
        decision = Router(FixedPerception({"a": bad, "b": 0.9})).route("x")
        assert decision.expert.name == "b"
        assert decision.rejected[0].reasons == ("no usable prediction",)


def test_without_a_usable_prediction_the_default_is_used_or_it_raises():
    perception = FixedPerception({"a": np.nan, "b": np.nan})
    decision = Router(perception, default="b").route("x")
    assert (decision.expert.name, decision.default_used) == ("b", True)
    assert "no usable prediction" in decision.default_reason
    with pytest.raises(PerceptionError, match="no usable prediction"):
        Router(perception).route("x")
    with pytest.raises(PerceptionError, match="Strict mode forbids"):
        Router(perception, default="b", strict=True).route("x")


@pytest.mark.parametrize("error", [None, RuntimeError("cuda"), ZeroDivisionError(), MemoryError()])
def test_when_the_perception_fails_the_default_is_used_or_it_raises(error):
    perception = FailingPerception(["a", "b"], error)
    decisions = Router(perception, default="b").route_batch(["x", "y"])
    assert [d.expert.name for d in decisions] == ["b", "b"]
    assert all("The perception failed: " in d.default_reason for d in decisions)
    for options in ({}, {"default": "b", "strict": True}):
        with pytest.raises(PerceptionError, match="The perception failed") as caught:
            Router(perception, **options).route("x")
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize("error", [TypeError("bug"), KeyError("bug"), InputError("bug")])
def test_a_programming_error_is_not_hidden_by_the_default(error):
    with pytest.raises(type(error), match="bug"):
        Router(FailingPerception(["a"], error), default="a").route("x")


def test_a_prediction_of_the_wrong_shape_is_a_failed_perception():
    class Wrong(FixedPerception):
        def predict(self, prompts):
            return Prediction(np.zeros((len(prompts), 7)), np.zeros((len(prompts), 7)))

    with pytest.raises(PerceptionError, match=r"\(1, 7\).*expected \(batch, experts\) = \(1, 2\)"):
        Router(Wrong({"a": 0.1, "b": 0.2})).route("x")
    assert Router(Wrong({"a": 0.1, "b": 0.2}), default="a").route("x").default_used
