"""Which prompts a cascade asks in steps, and which answers it keeps."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.policy import Policy, PolicyChoice
from tryage.core.simulated_answer import SimulatedAnswer
from tryage.errors import InputError
from tryage.policies import (
    Agreement,
    AnswerEvidence,
    AnswerTest,
    Cascade,
    Ensemble,
    FormatCheck,
    Judge,
    Likelihood,
    LogProbability,
)
from tryage.scoring.scorers import ScoreResult
from tryage.testing import FixedPerception

LOSSES = {"small": 0.3, "other": 0.35, "large": 0.1}
PASSES = AnswerTest(lambda answer: answer.text == "right")
CALIBRATED = Likelihood((-1.0,), right=(0.1, 0.9), wrong=(0.8, 0.2))


def make_router(policy, losses=LOSSES, preferences="best", **settings) -> Router:
    """Return a router whose requests cost a few tenths of a cent with large, and little else."""
    prices = {"small": 0.1, "other": 0.1, "large": 40.0}
    experts = [
        Expert(name, input_price=prices[name], output_price=prices[name], output_tokens=1000)
        for name in losses
    ]
    return Router(
        FixedPerception(losses), experts, preferences=preferences, policy=policy, **settings
    )


def make_cascade(verify=PASSES, **settings) -> Cascade:
    return Cascade(["small", "large"], verify=verify, **{"answer_value": 0.5, **settings})


def test_the_cheap_expert_is_asked_first_and_the_decision_says_why() -> None:
    decision = make_router(make_cascade()).route("a prompt")
    assert decision.expert.name == "small"
    assert [step.expert for step in decision.calls.steps] == ["small", "large"]
    (change,) = decision.changes
    assert (change.policy, change.before, change.after) == ("Cascade", "large", "small")
    assert "small is right with 70%" in change.reason
    assert "a prompt" not in change.reason


def test_a_right_answer_is_kept_and_a_wrong_one_is_not() -> None:
    first, last = make_router(make_cascade()).route("a prompt").calls.steps
    assert first.verify(AnswerEvidence(text="right")).is_kept
    verdict = first.verify(AnswerEvidence(text="wrong"))
    assert not verdict.is_kept
    assert "asked on below" in verdict.reason
    assert last.verify is None


def test_hopeless_prompts_go_to_the_dear_expert_at_once() -> None:
    decision = make_router(make_cascade(), {**LOSSES, "small": 0.99}).route("a prompt")
    assert decision.expert.name == "large"
    assert decision.calls is None
    assert decision.changes == ()


def test_easy_prompts_are_not_checked() -> None:
    judge = Judge(lambda *_: 1.0, cost=0.01)
    easy = {"small": 0.02, "large": 0.01}
    decision = make_router(make_cascade(judge), easy, Preferences(answer_value=0.5)).route("a")
    assert decision.expert.name == "small"
    assert decision.calls is None


def test_where_dollars_count_little_the_best_expert_answers_at_once() -> None:
    losses = {"small": 0.3, "large": 0.02}
    values = (0.5, 1e6)
    routers = [make_router(make_cascade(answer_value=value), losses) for value in values]
    assert [one.route("a prompt").expert.name for one in routers] == ["small", "large"]


def test_the_answer_value_of_the_preferences_counts_where_the_cascade_has_none() -> None:
    cascade = make_cascade(answer_value=None)
    preferences = [Preferences(answer_value=value) for value in (0.5, 1e6)]
    losses = {"small": 0.3, "large": 0.02}
    routers = [make_router(cascade, losses, preferences=one) for one in preferences]
    assert [one.route("a prompt").expert.name for one in routers] == ["small", "large"]


def test_requirements_hold_for_every_step() -> None:
    router = make_router(make_cascade(), preferences=Preferences(only=["large"]))
    assert router.route("a prompt").expert.name == "large"
    router = make_router(make_cascade(), preferences=Preferences(only=["small"]))
    assert router.route("a prompt").calls is None


def test_no_evidence_leaves_the_prediction() -> None:
    cascade = make_cascade(LogProbability(), likelihoods=CALIBRATED)
    (step, _) = make_router(cascade).route("a prompt").calls.steps
    assert step.needs_log_probabilities
    verdict = step.verify(AnswerEvidence(text="right"))
    assert verdict.reason.startswith("no evidence, right with 70%")
    assert verdict.is_kept == (step.verify.prior >= step.verify.threshold)


def test_a_stream_goes_on_from_where_the_answer_is_sure() -> None:
    cascade = make_cascade(LogProbability(tokens=2), likelihoods=CALIBRATED)
    (step, _) = make_router(cascade).route("a prompt").calls.steps
    assert not step.is_certain(AnswerEvidence(log_probabilities=(-0.1,)))
    assert step.is_certain(AnswerEvidence(log_probabilities=(-0.1, -0.2)))
    assert not step.is_certain(AnswerEvidence(log_probabilities=(-5.0, -5.0)))


def test_a_judge_is_billed_in_the_verdict() -> None:
    judge = Judge(lambda *_: ScoreResult(1.0, cost=0.002), cost=0.0001)
    cascade = make_cascade(judge, answer_value=0.3)
    (step, _) = make_router(cascade).route("a prompt").calls.steps
    assert step.verify(AnswerEvidence(text="right")).cost == 0.002


def test_steps_that_gain_too_little_are_not_asked() -> None:
    assert make_router(make_cascade(min_gain=0.5)).route("a prompt").calls is None


def test_samples_that_cost_more_than_they_save_are_not_asked() -> None:
    plans = [
        make_router(make_cascade(Agreement(samples), answer_value=0.2)).route("a prompt").calls
        for samples in (2, 500)
    ]
    assert plans[0] is not None
    assert plans[1] is None


def test_a_dear_judge_is_not_asked() -> None:
    judge = Judge(lambda *_: 1.0, cost=1.0)
    assert make_router(make_cascade(judge)).route("a prompt").calls is None


def test_agreement_asks_the_same_expert_again() -> None:
    decision = make_router(make_cascade(Agreement(samples=3), answer_value=0.2)).route("a prompt")
    assert decision.calls.steps[0].samples == ("small", "small")


def test_an_ensemble_asks_its_experts_together() -> None:
    cascade = Cascade([Ensemble(["small", "other"]), "large"], verify=PASSES, answer_value=0.3)
    first, last = make_router(cascade).route("a prompt").calls.steps
    assert (first.expert, first.samples, last.expert) == ("small", ("other",), "large")
    other = AnswerEvidence(text="The answer is 7.")
    assert first.verify(AnswerEvidence(text="7", samples=(other,))).is_kept
    assert not first.verify(AnswerEvidence(text="8", samples=(other,))).is_kept


def test_an_ensemble_with_an_expert_that_may_not_answer_is_left_out() -> None:
    cascade = Cascade([Ensemble(["small", "other"]), "large"], verify=PASSES, answer_value=0.3)
    router = make_router(cascade, preferences=Preferences(only=["small", "large"]))
    assert router.route("a prompt").calls is None


class Choose(Policy):
    """Chooses one expert for every prompt, as a budget does that has little left."""

    def __init__(self, expert: str) -> None:
        self.expert = expert

    def choose(self, batch) -> PolicyChoice:
        at = np.full(len(batch.choice), batch.library.index(self.expert))
        return PolicyChoice(at, ["it is what the budget allows"] * len(at))


def test_what_an_earlier_policy_saves_is_not_spent() -> None:
    chained = {
        name: make_router(Choose(name) | make_cascade()).route("a prompt")
        for name in ("small", "large")
    }
    assert chained["small"].calls is None
    assert chained["small"].expert.name == "small"
    assert [one.expert for one in chained["large"].calls.steps] == ["small", "large"]


def test_a_tolerance_is_no_budget() -> None:
    losses, preferences = {"small": 0.3, "large": 0.29}, Preferences(tolerance=0.02)
    (first, last) = make_router(make_cascade(), losses, preferences).route("a").calls.steps
    assert (first.expert, last.expert) == ("small", "large")


def test_a_batch_is_decided_as_its_prompts_one_by_one() -> None:
    router = make_router(make_cascade())
    decisions = router.route_batch(["a", "b", "c"])
    assert {one.expert.name for one in decisions} == {"small"}
    assert [one.calls.steps[0].verify.threshold for one in decisions] == pytest.approx(
        [router.route(text).calls.steps[0].verify.threshold for text in "abc"]
    )


def test_a_simulation_bills_every_step() -> None:
    policy = make_router(make_cascade())
    decision = policy.route("a prompt")
    answers = {
        "small": SimulatedAnswer("small", 1.0, 0.001, 1.0, 0.0, ("small",)),
        "large": SimulatedAnswer("large", 0.0, 0.04, 2.0, None, ("large",)),
    }
    served = make_cascade().serve(decision, "small", answers.__getitem__)
    assert (served.loss, served.outcome, served.called) == (0.0, "escalated", ("small", "large"))
    assert served.cost == pytest.approx(0.041)
    answers["small"] = SimulatedAnswer("small", 0.0, 0.001, 1.0, 1.0, ("small",))
    served = make_cascade().serve(decision, "small", answers.__getitem__)
    assert (served.outcome, served.cost) == (None, 0.001)
    assert make_cascade().serve(decision, "large", answers.__getitem__).called == ("large",)


def test_a_simulation_bills_samples_of_answers_that_are_not_kept() -> None:
    cascade = make_cascade(Agreement(samples=3), answer_value=0.2)
    decision = make_router(cascade).route("a prompt")
    answers = {
        "small": SimulatedAnswer("small", 1.0, 0.001, 1.0, 0.0, ("small",)),
        "large": SimulatedAnswer("large", 0.0, 0.04, 2.0, None, ("large",)),
    }
    served = cascade.serve(decision, "small", answers.__getitem__)
    assert served.called == ("small", "small", "small", "large")
    assert served.cost == pytest.approx(0.043)


def test_a_part_of_a_router_goes_on_with_the_steps_it_has() -> None:
    cascade = Cascade(["small", "other", "large"], verify=PASSES, answer_value=0.5)
    part = make_router(cascade).subset(["small", "large"])
    assert [one.expert for one in part.route("a prompt").calls.steps] == ["small", "large"]
    assert make_router(cascade).subset(["small"]).route("a prompt").calls is None


def test_a_copy_decides_the_same() -> None:
    cascade = make_cascade(FormatCheck("json"), answer_value=0.2)
    reasons = [
        make_router(one).route("a prompt").changes[0].reason
        for one in (cascade, copy.deepcopy(cascade))
    ]
    assert reasons[0] == reasons[1]
    assert repr(cascade) == "Cascade(small -> large, verify=FormatCheck)"


def test_evidence_that_nobody_has_calibrated_is_refused() -> None:
    with pytest.raises(InputError, match="calibrate"):
        make_router(make_cascade(LogProbability()))


def test_an_unknown_expert_is_refused() -> None:
    with pytest.raises(InputError, match="smal"):
        make_router(Cascade(["smal", "large"], verify=PASSES))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cascade(["small"], verify=PASSES),
        lambda: Cascade("small", verify=PASSES),
        lambda: Cascade(["small", "small"], verify=PASSES),
        lambda: Cascade(["small", None], verify=PASSES),
        lambda: Cascade(["small", "large"], verify=lambda _: True),
        lambda: make_cascade(answer_value=0),
        lambda: make_cascade(odds_ratios=-1),
        lambda: make_cascade(odds_ratios=np.ones((3, 3))),
        lambda: make_cascade(likelihoods={"medium": CALIBRATED}),
        lambda: make_cascade(likelihoods={"small": 0.8}),
        lambda: make_cascade(likelihoods="high"),
        lambda: make_cascade(odds_ratios="high"),
        lambda: make_cascade(max_calls=1),
        lambda: make_cascade(min_gain=-0.1),
        lambda: Cascade(None, verify=PASSES),
        lambda: Ensemble(["small"]),
        lambda: Ensemble(["small", "small"]),
    ],
)
def test_wrong_arguments_are_refused(make) -> None:
    with pytest.raises(InputError):
        make()
