"""LearnedPerception.beliefs: whatever reads them while other threads learn, reads one moment."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.perception import persistence
from tryage.perception.abilities import Abilities, SoftThreshold
from tryage.perception.persistence import load_perception, save_perception
from tryage.perception.unmeasured import Beliefs

PROMPTS = ["sum word1", "code word2", "poem word3"]


@pytest.fixture
def perception(learned):
    return learned.replace(soft_threshold=SoftThreshold(incumbent=0, margin=0.2))


@pytest.fixture
def others(perception):
    """Beliefs of which each part predicts something else."""
    observed = perception.observed_experts.with_ability("new", perception.abilities.ability(1))
    turned = perception.abilities.take([1, 2, 3, 4, 0])
    return Beliefs(turned, SoftThreshold(incumbent=3, margin=0.0), observed)


def replace_in_the_middle(monkeypatch, owner, name, perception, others):
    """Let another thread replace the beliefs after the first call of a function."""
    original, calls = getattr(owner, name), []

    def function(*arguments):
        result = original(*arguments)
        if not calls:
            perception.replace_beliefs(others)
        calls.append(name)
        return result

    monkeypatch.setattr(owner, name, function)
    return calls


def test_a_prediction_is_of_the_beliefs_of_one_moment(perception, others, monkeypatch):
    before = perception.predict(PROMPTS)
    calls = replace_in_the_middle(monkeypatch, Abilities, "linear_predictions", perception, others)
    found = perception.predict(PROMPTS)
    np.testing.assert_array_equal(found.losses, before.losses)
    np.testing.assert_array_equal(found.std, before.std)
    assert not np.allclose(perception.predict(PROMPTS).losses, before.losses)
    assert calls


def test_a_prediction_for_a_library_is_of_the_beliefs_of_one_moment(
    perception, others, monkeypatch
):
    library = Library([*perception.experts, Expert("new", parameters=1e9), "unknown"])
    of_library = perception.for_library(library)
    before = of_library.predict(PROMPTS)
    calls = replace_in_the_middle(monkeypatch, Abilities, "linear_predictions", perception, others)
    found = of_library.predict(PROMPTS)
    np.testing.assert_array_equal(found.losses, before.losses)
    np.testing.assert_array_equal(found.std, before.std)
    assert not np.allclose(of_library.predict(PROMPTS).losses, before.losses)
    assert calls


def test_a_saved_perception_is_of_the_beliefs_of_one_moment(
    perception, others, monkeypatch, tmp_path
):
    before = perception.predict(PROMPTS)
    replace_in_the_middle(monkeypatch, persistence, "serialize", perception, others)
    save_perception(perception, tmp_path)
    assert perception.beliefs is others
    found = load_perception(tmp_path).predict(PROMPTS)
    np.testing.assert_allclose(found.losses, before.losses, atol=1e-3)  # weights are rounded


def test_an_onboarded_expert_is_added_to_the_beliefs_of_one_moment(perception, others, monkeypatch):
    losses = {"sum word4": 0.1, "code word5": 0.9}
    before = perception.onboard(Expert("tested"), losses).predict(PROMPTS)
    original = type(perception).latent_positions

    def learn_meanwhile(self, prompts):
        perception.replace_beliefs(others)
        return original(self, prompts)

    monkeypatch.setattr(type(perception), "latent_positions", learn_meanwhile)
    found = perception.onboard(Expert("tested"), losses).predict(PROMPTS)
    np.testing.assert_array_equal(found.losses, before.losses)
