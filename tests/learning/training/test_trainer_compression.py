"""Training on compressed losses separates good experts, however bad the bad ones are."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert
from tryage.learning.training.trainer import fit
from tryage.scoring.qtable import QTable

TOPICS = ("sum", "code", "poem", "law")


def make_table(n=240, seed=0):
    """Losses of four specialists that are hopeless elsewhere, and of one expert that never is."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(4, size=n)
    losses = np.full((n, 5), 2.2) + rng.normal(0, 0.02, (n, 5))
    losses[:, :4] += rng.lognormal(2, 1, (n, 4))
    losses[np.arange(n), topic] = 2.0 + rng.normal(0, 0.02, n)
    prompts = tuple(f"{TOPICS[t]} word{i % 40} word{i % 7} {i}" for i, t in enumerate(topic))
    return QTable(prompts, (*TOPICS, "allround"), losses)


@pytest.fixture(scope="module")
def perception(encoder):
    """Tests must not `observe` with it."""
    return fit(make_table(), encoder, progress=False)


def test_hopeless_experts_do_not_hide_the_differences_between_good_ones(perception):
    held = make_table(seed=1)
    chosen = perception.predict(held.prompts).losses.argmin(axis=1)
    assert (chosen == held.losses.argmin(axis=1)).mean() > 0.95
    assert perception.report["routed"] < 2.05 < perception.report["best_single"]


def test_predictions_are_in_the_unit_of_the_loss(perception):
    held = make_table(seed=1)
    losses = perception.predict(held.prompts).losses
    rows = np.arange(len(held))
    chosen = losses.argmin(axis=1)
    np.testing.assert_allclose(losses[rows, chosen], held.losses[rows, chosen], atol=0.3)
    assert 4 < np.median(losses[:, :4]) < 20  # outside their topic experts lose e**2 and more


def test_an_onboarded_expert_is_predicted_the_losses_of_its_aptitude_test(perception):
    asked = make_table(60, seed=2)
    losses = {prompt: 1.7 if "poem" in prompt else 30.0 for prompt in asked.prompts}
    larger = perception.onboard(Expert("bard"), losses)
    poem, law = larger.predict(["poem word3 word9", "law word3 word9"]).losses[:, -1]
    assert poem == pytest.approx(1.7, abs=0.3)
    assert law > 5


def test_feedback_is_compressed_as_training_was(encoder):
    perception = fit(make_table(), encoder, progress=False)
    before = perception.predict(["law word3 word9"]).losses
    for _ in range(30):
        perception.observe("law word3 word9", "law", 400.0)
    after = perception.predict(["law word3 word9"]).losses
    assert before.argmin() == TOPICS.index("law")
    assert after.argmin() == 4
    np.testing.assert_allclose(after[0, 4], before[0, 4], atol=0.05)
