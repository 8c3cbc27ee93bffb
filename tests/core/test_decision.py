"""Decision: the chosen expert, margin and confidence, JSON and pickle."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pickle

import numpy as np
import pytest

from tryage.core.decision import Decision, check_min_typicality
from tryage.core.expert import Expert
from tryage.core.preferences import Preferences
from tryage.core.ranking import RankedExpert
from tryage.errors import InputError
from tryage.router import Router
from tryage.testing import FixedPerception, demo_library, demo_perception


def ranking(*losses, std=0.1):
    return [RankedExpert(f"m{i}", x, std, {}, x, ()) for i, x in enumerate(losses)]


def route(weights=None, **requirements):
    router = Router(demo_perception(), demo_library(), default="tiny-1b", default_exempt=True)
    return router.route("hello", Preferences(weights, **requirements))


def test_a_decision_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        route().expert = Expert("other")


def test_margin_and_confidence_compare_the_two_best_experts():
    decision = Decision("p", Expert("m0"), ranking(0.1, 0.2, std=0.1))
    assert decision.margin == pytest.approx(0.1)
    gap_in_sigmas = 0.1 / math.hypot(0.1, 0.1)
    expected = 0.5 * (1 + math.erf(gap_in_sigmas / math.sqrt(2)))
    assert decision.confidence == pytest.approx(expected)
    assert Decision("p", Expert("m0"), ranking(0.1, 0.1, std=0.0)).confidence == 0.5
    assert Decision("p", Expert("m0"), ranking(0.1, 0.2, std=0.0)).confidence == 1.0


def test_without_a_second_expert_there_is_no_margin_and_without_a_std_no_confidence():
    alone = Decision("p", Expert("m0"), ranking(0.1))
    assert alone.margin is alone.confidence is None
    unsure = Decision("p", Expert("m0"), ranking(0.1, 0.2, std=None))
    assert unsure.margin == pytest.approx(0.1)
    assert unsure.confidence is None


@pytest.mark.parametrize(
    "decision",
    [
        route(),
        route({"size": 0.5, "cost": 0.3}, licenses=["mit", "apache-2.0"], max_cost=0.01),
        route(max_parameters=1),
        Decision("p", Expert("x")),
        Router(FixedPerception({"a": 0.1, "b": np.nan}, std=np.nan), strict=True).route("x"),
    ],
    ids=["plain", "rich", "default", "bare", "nan"],
)
def test_to_dict_is_json_without_nan(decision):
    data = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert data["expert"] == decision.expert.name
    assert len(data["ranking"]) == len(decision.ranking)
    assert len(data["rejected"]) == len(decision.rejected)
    assert data["default_used"] is decision.default_used
    assert decision.explain()


def test_to_dict_can_be_limited_to_the_top():
    data = route(min_downloads=1).to_dict(top=1)
    assert len(data["ranking"]) == len(data["rejected"]) == 1


def test_the_terms_in_the_dict_add_up_to_the_total():
    for ranked in route({"size": 0.5, "cost": 0.3}).to_dict()["ranking"]:
        parts = ranked["predicted_loss"] + sum(ranked["terms"].values())
        assert parts == pytest.approx(ranked["total"])


def test_a_decision_survives_pickling():
    decision = route({"size": 0.5}, max_parameters=1e10)
    again = pickle.loads(pickle.dumps(decision))  # noqa: S301 - our own bytes
    assert again.to_dict() == decision.to_dict()


def test_a_pickle_of_a_decision_holds_nothing_of_the_other_prompts_of_its_batch():
    router = Router(demo_perception(), demo_library())
    alone, one = router.route("a"), router.route_batch(["a"] * 50)[0]
    assert len(pickle.dumps(one)) < 1.1 * len(pickle.dumps(alone))


def test_the_confidence_of_a_calibrated_perception_is_that_of_its_odds(calibration):
    one = calibration(odds_slope=2.0, odds_intercept=0.3)
    ranked = [
        RankedExpert(f"m{i}", x, 0.1, {}, x, (), uncertainty=one) for i, x in enumerate((0.1, 0.2))
    ]
    found = Decision("p", Expert("m0"), ranked).confidence
    assert found == one.better_probability((0.1, 0.2), (0.1, 0.1), 0.1, has_terms=False)
    tolerant = Decision("p", Expert("m0"), ranked, preferences=Preferences(tolerance=0.05))
    expected = one.better_probability((0.1, 0.2), (0.1, 0.1), 0.1 + 0.05, has_terms=True)
    assert tolerant.confidence == pytest.approx(expected)


def test_a_calibrated_decision_has_intervals_and_survives_pickling(calibration):
    ranked = RankedExpert("m0", 0.3, 0.1, {}, 0.3, (), uncertainty=calibration())
    decision = Decision("p", Expert("m0"), [ranked], typicality=0.25)
    assert decision.interval(0.8, prompts=10) == calibration().interval(0.3, 0.1, 0.8, 10)
    assert decision.to_dict()["interval"] == calibration().interval(0.3, 0.1, 0.9, 100)
    again = pickle.loads(pickle.dumps(decision))  # noqa: S301 - our own bytes
    assert again.to_dict() == decision.to_dict()


def test_a_message_about_a_typicality_without_a_default_is_short_whatever_the_value():
    deep = functools.reduce(lambda inner, _: [inner], range(900), 0.5)
    with pytest.raises(InputError, match="without a default") as raised:
        check_min_typicality(deep, None)
    assert len(str(raised.value)) < 300
