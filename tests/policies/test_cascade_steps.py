"""The steps of a cascade, and how one answer is checked."""

from __future__ import annotations

import pytest

from tryage.policies.cascade_steps import CascadeStep, Ensemble, StepCheck
from tryage.policies.evidence import Agreement, AnswerEvidence, AnswerTest, LogProbability
from tryage.policies.likelihood import Likelihood

HALVES = Likelihood((0.5,), right=(0.2, 0.8), wrong=(0.6, 0.4))


def test_an_answer_is_kept_from_the_threshold_on() -> None:
    check = StepCheck(AnswerTest(lambda one: float(one.text)), HALVES, prior=0.5, threshold=2 / 3)
    kept, escalated = (check(AnswerEvidence(text=text)) for text in ("0.9", "0.1"))
    assert (kept.is_kept, escalated.is_kept) == (True, False)  # 2/3 and 1/4 by Bayes' rule
    assert escalated.reason == "right with 25%, asked on below 67%"
    assert kept.cost == 0.0


def test_without_evidence_the_prior_decides() -> None:
    checks = [StepCheck(LogProbability(), HALVES, prior, 0.6) for prior in (0.5, 0.7)]
    assert [one(AnswerEvidence(text="a")).is_kept for one in checks] == [False, True]


def test_a_step_without_a_threshold_is_not_checked() -> None:
    step = CascadeStep.make("small", Agreement(3))
    assert step.call({"small": HALVES}, 0.5, float("nan")).samples == ()
    assert step.call({"small": HALVES}, 0.5, 0.7).samples == ("small", "small")


def test_an_ensemble_is_a_step_with_a_verifier_of_its_own() -> None:
    step = CascadeStep.make(Ensemble(["a", "b", "c"]), LogProbability())
    assert (step.name, step.experts, step.n_resampled) == ("a + b + c", ("a", "b", "c"), 0)
    call = step.call({"a + b + c": HALVES}, 0.5, 0.7)
    assert (call.expert, call.samples, call.needs_log_probabilities) == ("a", ("b", "c"), False)
    samples = (AnswerEvidence(text="4"), AnswerEvidence(text="5"))
    reading = step.verifier.read(AnswerEvidence(text="4.", samples=samples))
    assert reading.value == pytest.approx(0.5)
