"""What a cascade learns from labelled answers."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Router
from tryage.errors import InputError
from tryage.policies import AnswerEvidence, Cascade, LabelledAnswer, LogProbability
from tryage.scoring.qtable import QTable
from tryage.testing import FixedPerception

LOSSES = {"small": 0.4, "large": 0.2}


@pytest.fixture
def router():
    experts = [Expert(name, input_price=1, output_price=1) for name in LOSSES]
    return Router(FixedPerception(LOSSES), experts)


@pytest.fixture
def cascade():
    return Cascade(["small", "large"], verify=LogProbability())


def make_answers(n=200, step="small", seed=0):
    """Return answers of which three fifths are right, with log probabilities that tell them."""
    rng = np.random.default_rng(seed)
    right = np.arange(n) % 5 < 3
    values = np.where(right, -0.5, -1.5) + 0.4 * rng.normal(size=n)
    return [
        LabelledAnswer(
            step, f"prompt {i}", AnswerEvidence(log_probabilities=(float(value),)), float(not flag)
        )
        for i, (value, flag) in enumerate(zip(values, right, strict=True))
    ]


def test_evidence_counts_as_much_as_it_told(router, cascade) -> None:
    likelihoods = cascade.calibrate(router, make_answers()).likelihoods
    assert likelihoods["small"].auc > 0.9
    assert likelihoods["small"].posterior(0.6, -0.2) > 0.9
    assert likelihoods["small"].posterior(0.6, -2.0) < 0.3
    assert likelihoods["large"] == likelihoods["small"]  # it has no answers of its own


def test_a_step_with_enough_answers_has_its_own_likelihood(router, cascade) -> None:
    rows = make_answers() + make_answers(step="large", seed=1)
    likelihoods = cascade.calibrate(router, rows).likelihoods
    assert likelihoods["large"] != likelihoods["small"]


def test_a_calibrated_cascade_can_be_a_policy(router, cascade) -> None:
    with pytest.raises(InputError):
        router.with_policy(cascade)
    assert router.with_policy(cascade.calibrate(router, make_answers())).route("a prompt")


def test_a_table_tells_how_strongly_experts_are_right_together(router, cascade) -> None:
    rng = np.random.default_rng(0)
    small = rng.random(400) < 0.4
    together = np.where(small, rng.random(400) < 0.5, False)
    prompts = [f"prompt {i}" for i in range(400)]
    losses = np.stack([small, together], axis=1).astype(float)
    table = QTable(prompts, list(LOSSES), losses)
    apart = QTable(prompts, list(LOSSES), np.stack([small, rng.random(400) < 0.2], axis=1) * 1.0)
    ratio = [
        cascade.calibrate(router, make_answers(), one).odds_ratios[0, 1] for one in (table, apart)
    ]
    assert ratio[0] > 10
    assert ratio[1] == pytest.approx(1.0, abs=0.5)


def test_answers_of_another_step_are_refused(router, cascade) -> None:
    with pytest.raises(InputError, match="expected one of small, large"):
        cascade.calibrate(router, make_answers(step="medium"))


def test_too_few_answers_are_refused(router, cascade) -> None:
    with pytest.raises(InputError, match="at least 20"):
        cascade.calibrate(router, make_answers(10))
    with pytest.raises(InputError, match="at least 20"):
        cascade.calibrate(router, [])
