"""Router without an eligible expert or a prediction: the default is used, or an error is raised."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.errors import InputError, NoExpertError, PerceptionError
from tryage.router import Router
from tryage.testing import FailingPerception, FixedPerception, demo_library, demo_perception


def demo(**options):
    return Router(demo_perception(), demo_library(), **options)


def test_an_exempt_default_answers_without_an_eligible_expert_and_the_decision_has_the_reason():
    router = demo(default="demo/tiny-1b", default_exempt=True)
    decision = router.route("x", Preferences(max_parameters=1e6))
    assert decision.default_used
    assert decision.expert.name == "tiny-1b"
    assert "does not meet the requirements: parameters 1B is not <= 1M" in decision.default_reason
    assert len(decision.rejected) == 5
    assert len(decision.ranking) == 0
    assert decision.margin is decision.chosen is None


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "No default is declared"),
        ({"default": "tiny-1b"}, "The default tiny-1b does not meet .* default_exempt=True"),
        ({"default": "tiny-1b", "default_exempt": True, "strict": True}, "Strict mode forbids"),
    ],
)
def test_without_an_eligible_expert_and_an_exempt_default_it_raises(options, advice):
    with pytest.raises(NoExpertError, match=advice) as caught:
        demo(**options).route("x", Preferences(max_parameters=1e6))
    assert "parameters <= 1M: 0 of 5 experts meet it; the nearest is tiny-1b" in str(caught.value)


def test_a_default_that_meets_the_requirements_answers_when_the_perception_fails():
    perception = FailingPerception(["small", "large"], RuntimeError("cuda"))
    library = Library([Expert("small", parameters=1e9), Expert("large", parameters=7e10)])
    limit = Preferences(max_parameters=1e10)
    decision = Router(perception, library, default="small").route("x", limit)
    assert (decision.expert.name, decision.default_used) == ("small", True)
    with pytest.raises(PerceptionError, match="default large does not meet") as caught:
        Router(perception, library, default="large").route("x", limit)
    assert str(caught.value.__cause__) == "cuda"
    exempt = Router(perception, library, default="large", default_exempt=True)
    assert exempt.route("x", limit).expert.name == "large"


def test_the_bundled_router_never_breaks_a_limit_and_names_the_nearest_miss():
    router = Router.from_pretrained()
    assert router.default is None
    with pytest.raises(
        NoExpertError, match=r"cost <= \$0.000001: 0 of .* the nearest is [\w./@-]+ with"
    ):
        router.route("hi", Preferences(max_cost=1e-6))
    with pytest.raises(NoExpertError, match="license in gpl: 0 of "):
        router.route("hi", Preferences(licenses=["gpl"]))


def test_subsets_and_onboarded_routers_keep_whether_the_default_is_exempt():
    router = demo(default="tiny-1b", default_exempt=True).subset(["tiny-1b", "frontier"])
    assert (router.default, router.default_exempt) == ("tiny-1b", True)
    assert router.route("x", Preferences(max_parameters=1)).expert.name == "tiny-1b"


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
