"""Untypical prompts: the default answers them, with a reason, where the router is told to."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Preferences, Router
from tryage.core.perception import Prediction
from tryage.errors import InputError, NoExpertError, PersistenceError
from tryage.testing import FixedPerception

NORMAL, STRANGE = "normal", "strange"


@pytest.fixture
def perception(calibration):
    """A perception of two experts to which one prompt is strange."""

    class CalibratedPerception(FixedPerception):
        def predict(self, prompts):
            found = super().predict(prompts)
            typicality = np.array([0.003 if text == STRANGE else 0.6 for text in prompts])
            return Prediction(
                found.losses, found.std, typicality=typicality, uncertainty=calibration()
            )

    return CalibratedPerception({"a": 0.1, "b": 0.2}, std=0.05)


def test_a_decision_has_the_typicality_of_its_prompt(perception):
    normal, strange = Router(perception).route_batch([NORMAL, STRANGE])
    assert (normal.typicality, strange.typicality) == (0.6, 0.003)
    assert strange.to_dict()["typicality"] == 0.003
    assert (strange.expert.name, strange.default_used) == ("a", False)


def test_other_preferences_of_some_prompts_do_not_mix_the_typicality(perception):
    found = Router(perception).route_batch([STRANGE, NORMAL], [None, "best"])
    assert [one.typicality for one in found] == [0.003, 0.6]


def test_a_perception_without_a_calibration_has_no_typicality_and_no_interval():
    decision = Router(FixedPerception({"a": 0.1, "b": 0.2})).route("x")
    assert decision.typicality is decision.interval() is decision.to_dict()["interval"] is None


def test_below_the_minimum_the_default_answers_and_says_why(perception):
    router = Router(perception, default="b", min_typicality=0.01)
    normal, strange = router.route_batch([NORMAL, STRANGE])
    assert (normal.expert.name, normal.default_used) == ("a", False)
    assert (strange.expert.name, strange.default_used) == ("b", True)
    assert strange.typicality == 0.003
    assert strange.interval() is None
    assert strange.default_reason == (
        "The prompt is unlike the training prompts (p = 0.003), and the minimum is 0.01."
    )


def test_where_the_requirements_leave_one_expert_it_answers_untypical_prompts_too(perception):
    router = Router(perception, default="b", min_typicality=0.01)
    decision = router.route(STRANGE, Preferences(only=["a"]))
    assert (decision.expert.name, decision.default_used) == ("a", False)


def test_where_the_typicality_is_unknown_the_default_answers_and_says_why():
    router = Router(FixedPerception({"a": 0.1, "b": 0.2}), default="b", min_typicality=0.01)
    decision = router.route(NORMAL)
    assert (decision.expert.name, decision.default_used) == ("b", True)
    assert decision.default_reason.startswith("The perception measures no typicality")


def test_the_explanation_of_an_untypical_prompt_says_it_once(perception):
    text = Router(perception, default="b", min_typicality=0.01).route(STRANGE).explain()
    assert text.count("unlike the training prompts") == 1


def test_a_perception_that_fails_is_the_reason_whatever_the_minimum(perception):
    def fail(_):
        raise RuntimeError("no memory")

    perception.predict = fail
    decision = Router(perception, default="b", min_typicality=0.01).route(NORMAL)
    assert decision.default_reason == "The perception failed: no memory"


def test_in_strict_mode_an_untypical_prompt_is_an_error(perception):
    router = Router(perception, default="b", min_typicality=0.01, strict=True)
    assert router.route(NORMAL).expert.name == "a"
    with pytest.raises(NoExpertError, match="unlike the training prompts"):
        router.route(STRANGE)


def test_a_minimum_needs_a_default_and_is_a_probability(perception):
    with pytest.raises(InputError, match="without a default"):
        Router(perception, min_typicality=0.01)
    for value in (1.5, -0.1, "low", float("nan"), True):
        with pytest.raises(InputError, match="min_typicality"):
            Router(perception, default="a", min_typicality=value)


def test_a_subset_without_the_default_has_no_minimum(perception):
    router = Router(perception, default="b", min_typicality=0.01)
    assert router.subset(["b"]).min_typicality == 0.01
    assert router.subset(["a"]).min_typicality is None


def test_the_minimum_is_saved_and_can_be_given_when_loading(trained_router, tmp_path):
    trained_router.save_pretrained(tmp_path / "none")
    assert Router.from_pretrained(tmp_path / "none").min_typicality is None
    strict = Router.from_pretrained(tmp_path / "none", min_typicality=0.02)
    strict.save_pretrained(tmp_path / "some")
    assert Router.from_pretrained(tmp_path / "some").min_typicality == 0.02


def test_a_damaged_minimum_is_a_damaged_router(trained_router, tmp_path):
    trained_router.save_pretrained(tmp_path)
    path = tmp_path / "router.json"
    path.write_text(path.read_text().replace('"min_typicality": null', '"min_typicality": 7'))
    with pytest.raises(PersistenceError, match="damaged"):
        Router.from_pretrained(tmp_path)
