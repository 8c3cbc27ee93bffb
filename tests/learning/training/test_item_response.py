"""The item-response model puts experts on one scale that were measured on different sets."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import QTable
from tryage.errors import QTableError
from tryage.learning.training.item_response import (
    expected_losses,
    fit_item_response,
    standardize_facts,
)


def simulate(ability, difficulty, seed=0):
    """Draw right and wrong answers of a one-parameter logistic model."""
    rates = 1 / (1 + np.exp(np.asarray(ability) - np.asarray(difficulty)[:, None]))
    drawn = np.random.default_rng(seed).random(rates.shape) < rates
    return drawn.astype(np.float32), rates


@pytest.fixture(scope="module")
def two_sets():
    """Return an easy and a hard set that share one expert of seven, their truth, and the sets."""
    ability = [0.0, 0.6, -0.6, 0.3, 1.0, 0.2, -0.4]
    rng = np.random.default_rng(1)
    difficulty = np.concatenate([rng.normal(-1.5, 1, 400), rng.normal(0.8, 1, 400)])
    losses, rates = simulate(ability, difficulty)
    sets = np.repeat([0, 1], 400)
    losses[:400, 4:], losses[400:, 1:4] = np.nan, np.nan
    return losses, rates, sets, np.array(ability)


def test_experts_of_two_sets_are_ordered_by_ability_though_their_mean_losses_are_not(two_sets):
    losses, _, sets, ability = two_sets
    fitted = fit_item_response(losses, sets, sets)
    means = np.nanmean(losses, axis=0)
    assert means[4] > means[2]  # the best expert lost more, on the hard set
    assert fitted.ability[4] > fitted.ability[2]
    assert np.corrcoef(fitted.ability, ability)[0, 1] > 0.85


def test_what_an_expert_would_have_lost_elsewhere_is_predicted(two_sets):
    losses, rates, sets, _ = two_sets
    expected = fit_item_response(losses, sets, sets).expected_losses()
    gaps = np.isnan(losses)
    error = (expected - rates)[gaps]
    assert abs(error.mean()) < 0.08
    assert np.corrcoef(expected[gaps], rates[gaps])[0, 1] > 0.75


def test_a_strong_expert_gains_more_where_a_prompt_is_harder(two_sets):
    losses, _, sets, _ = two_sets
    fitted = fit_item_response(losses, sets, sets)
    gain = fitted.expected_losses()[:, 2] - fitted.expected_losses()[:, 1]
    easy = fitted.difficulty < -2
    assert gain[easy].mean() < gain[~easy].mean()


def test_facts_tell_the_ability_of_an_expert_with_few_answers():
    rng = np.random.default_rng(2)
    years = np.linspace(0, 4, 30)
    losses, _ = simulate(years / 2 - 1, rng.normal(0, 1, 300), seed=2)
    losses[:, [0, -1]] = np.nan
    losses[0, [0, -1]] = 0.5  # says nothing
    rows = np.zeros(300, np.intp)
    with_facts = fit_item_response(losses, rows, rows, years[:, None]).ability
    without = fit_item_response(losses, rows, rows).ability
    assert with_facts[-1] - with_facts[0] > 1.0
    assert abs(without[-1] - without[0]) < 0.2


def test_an_unknown_fact_counts_as_the_mean_and_is_marked():
    columns = standardize_facts(np.array([[1.0], [3.0], [np.nan]]), 3)
    np.testing.assert_allclose(columns[:, 0], [-np.sqrt(1.5), np.sqrt(1.5), 0.0])
    np.testing.assert_allclose(columns[:, 1], [-np.sqrt(0.5), -np.sqrt(0.5), np.sqrt(2)])


def test_a_fact_that_is_the_same_for_all_is_left_out():
    assert standardize_facts(np.ones((4, 2)), 4).shape == (4, 0)
    assert standardize_facts(None, 4).shape == (4, 0)


def test_a_table_is_modelled_by_its_sources_and_categories(two_sets):
    losses, _, sets, _ = two_sets
    table = QTable(
        prompts=[f"prompt {i}" for i in range(len(losses))],
        experts=list("abcdefg"),
        losses=losses,
        sources=["easy" if s == 0 else "hard" for s in sets],
        categories=["task"] * len(losses),
    )
    expected = expected_losses(table)
    np.testing.assert_allclose(expected, fit_item_response(losses, sets, sets).expected_losses())
    assert np.isfinite(expected).all()


def test_losses_outside_zero_and_one_are_refused():
    table = QTable(prompts=["a", "b"], experts=["x"], losses=np.array([[0.5], [3.0]]))
    with pytest.raises(QTableError, match=r"0\.5 to 3"):
        expected_losses(table)
