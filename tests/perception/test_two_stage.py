"""A router asks the second stage where the two best experts are close, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import SecondStage
from tryage.core.preferences import Preferences
from tryage.errors import InputError, PerceptionError
from tryage.perception.wrappers import DeduplicatedPerception
from tryage.router import Router
from tryage.testing import FailingPerception, FixedPerception, LearningPerception

CLOSE, FAR = "close", "far"
FIRST = {CLOSE: {"small": 0.30, "large": 0.32}, FAR: {"small": 0.10, "large": 0.90}}
SECOND = {CLOSE: {"small": 0.50, "large": 0.20}, FAR: {"small": 0.90, "large": 0.10}}


def stage(perception=None, thresholds=(0.05, 0.0), **options):
    """A second stage that is asked below .05 if a prompt costs at most .001."""
    perception = perception or FixedPerception({"small": 0.9, "large": 0.1}, SECOND)
    return SecondStage(perception, 0.1, (0.001, 1.0), thresholds, **options)


@pytest.fixture
def perception():
    first = FixedPerception({"small": 0.5, "large": 0.5}, FIRST)
    first.second_stage = stage()
    return first


def chosen(router, *prompts, preferences=None):
    return [decision.expert.name for decision in router.route_batch(prompts, preferences)]


def test_only_the_close_prompts_of_a_batch_are_asked_in_one_call(perception):
    assert chosen(Router(perception), FAR, CLOSE, FAR, CLOSE) == ["small", "large"] * 2
    assert perception.second_stage.perception.calls == [(CLOSE, CLOSE)]


def test_it_is_counted_how_many_prompts_were_asked(perception):
    router = Router(perception)
    chosen(router, FAR, CLOSE, FAR)
    router.route(CLOSE)
    assert (perception.second_stage.n_prompts, perception.second_stage.n_asked) == (4, 2)


def test_the_decision_shows_the_losses_of_the_second_stage(perception):
    decision = Router(perception).route(CLOSE)
    assert decision.chosen.predicted_loss == pytest.approx(0.2)
    assert decision.ranking[1].predicted_loss == pytest.approx(0.5)


def test_closeness_is_that_of_totals_not_of_losses(perception):
    """The large expert is predicted far worse; a price on the small one makes up for nearly all."""
    library = Library([Expert("small", parameters=1e9), Expert("large", parameters=2e9)])

    def fewness(_library, _request):
        return np.array([0.79, 0.0])

    router = Router(perception, library, constraints={"fewness": fewness})
    assert chosen(router, FAR, preferences=Preferences({"fewness": 1.0})) == ["large"]
    assert perception.second_stage.n_asked == 1


def test_an_expert_that_is_not_eligible_is_not_the_second_best(perception):
    assert chosen(Router(perception), CLOSE, preferences=Preferences(only=["small"])) == ["small"]
    assert perception.second_stage.n_asked == 0


def test_waiting_that_costs_more_than_it_saves_is_left_out(perception):
    """A tenth of a second at a dollar a second costs .1 of a right answer."""
    router = Router(perception)
    assert chosen(router, CLOSE, preferences=Preferences(answer_value=1.0)) == ["large"]
    dear = Preferences(answer_value=1.0, latency_value=1.0)
    assert chosen(router, CLOSE, preferences=dear) == ["small"]


def test_a_price_without_a_threshold_is_too_high():
    second = stage(loss_per_second=100.0)
    assert second.threshold(Preferences()) == 0


def test_the_threshold_is_that_of_the_next_higher_price():
    assert stage(loss_per_second=0.01).threshold(Preferences()) == 0.05
    assert stage(loss_per_second=0.011).threshold(Preferences()) == 0


def test_a_second_stage_that_fails_leaves_the_decision_to_the_first(perception, caplog):
    perception.second_stage = stage(FailingPerception(("small", "large")))
    assert chosen(Router(perception), CLOSE) == ["small"]
    assert "failed with PerceptionError; the first decides. Number of prompts: 1" in caplog.text


def test_the_warning_about_a_second_stage_has_no_word_of_a_prompt(perception, caplog):
    error = RuntimeError("cannot read: my name is Quendolin")
    perception.second_stage = stage(FailingPerception(("small", "large"), error))
    chosen(Router(perception), CLOSE)
    assert "RuntimeError" in caplog.text
    assert "Quendolin" not in caplog.text


def test_feedback_teaches_both_stages():
    first = LearningPerception({"small": 0.3, "large": 0.32})
    first.second_stage = stage(LearningPerception({"small": 0.1, "large": 0.2}))
    router = Router(first)
    router.observe(router.route("x"), 1.0)
    assert first.predict(["x"]).losses[0, 0] == pytest.approx(0.65)
    assert first.second_stage.perception.predict(["x"]).losses[0, 0] == pytest.approx(0.55)


def test_the_copy_of_an_expert_is_not_the_second_best(perception):
    """The same model at two providers is never close to itself."""
    shared = DeduplicatedPerception(perception, Library(["small", "large"]), {"copy": "small"})
    assert chosen(Router(shared), FAR) == ["small"]
    assert perception.second_stage.n_asked == 0
    assert chosen(Router(shared), CLOSE) == ["large"]
    assert perception.second_stage.n_asked == 1  # one count for all wrappers


@pytest.mark.parametrize(
    ("prices", "thresholds"),
    [((0.1,), ()), ((0.2, 0.1), (1, 1)), ((0.1,), (-1,)), ((float("nan"),), (1,))],
)
def test_impossible_numbers_are_refused(prices, thresholds):
    with pytest.raises(InputError, match="expected increasing prices"):
        SecondStage(FailingPerception(("a",), PerceptionError()), 0.1, prices, thresholds)


def test_a_subset_of_a_router_asks_it_too(perception):
    assert chosen(Router(perception).subset(["large", "small"]), CLOSE, FAR) == ["large", "small"]
