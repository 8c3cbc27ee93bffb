"""How far feedback of each kind is believed."""

from __future__ import annotations

import pytest

from tryage.traffic.feedback_model import FeedbackModel
from tryage.traffic.records import Feedback


def feedback(score, kind):
    return Feedback("f", "d", 0.0, score, kind)


@pytest.mark.parametrize(("kind", "wrong"), [("test", 0.0), ("judge", 0.15), ("retry", 0.3)])
def test_the_factor_is_what_makes_up_for_wrong_signals(kind, wrong):
    assert FeedbackModel().noise_factor(kind) == pytest.approx(1 / (1 - 2 * wrong) ** 2, rel=0.05)


def test_an_unknown_kind_counts_as_a_thumb():
    model = FeedbackModel()
    assert model.noise_factor("applause") == model.noise_factor("thumb")


def test_a_two_sided_signal_reports_one_minus_its_score():
    assert FeedbackModel().measured_loss(feedback(0.25, "judge"), 0.5) == 0.75


def test_a_one_sided_signal_reports_what_bayes_makes_of_it():
    """Of bad answers (.2) three times as many are retried: .6 / (.6 + .8)."""
    loss = FeedbackModel().measured_loss(feedback(0.0, "retry"), 0.2)
    assert loss == pytest.approx(0.6 / 1.4)


def test_factors_can_be_changed():
    assert FeedbackModel(noise_factors={"thumb": 9.0}).noise_factor("thumb") == 9.0
