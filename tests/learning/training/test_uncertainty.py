"""What is fitted on unseen prompts: coverage, the scale of the std, odds, on simulated losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage import Router
from tryage.core.uncertainty import LEVELS
from tryage.errors import InputError, QTableError
from tryage.learning.training.uncertainty import (
    MAX_PROMPTS,
    calibrate_uncertainty,
    fit_uncertainty,
    sample_prompts,
)

N_GROUPS, N_EXPERTS = 100, 6


def simulate(seed, *, shared=0.05, binary=True, slope=1.0):
    """Return predicted and measured losses; all prompts of a category share an error."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"kind {i:03d}" for i in range(N_GROUPS)], 20)
    predicted = rng.uniform(0.2, 0.8, (N_GROUPS, N_EXPERTS)).repeat(20, axis=0)
    error = rng.normal(0, shared, (N_GROUPS, N_EXPERTS)).repeat(20, axis=0)
    logits = slope * np.log(predicted / (1 - predicted))
    mean = (1 / (1 + np.exp(-logits)) + error).clip(0, 1)
    noise = rng.random(mean.shape)
    losses = (noise < mean).astype(float) if binary else (mean + 0.2 * (noise - 0.5)).clip(0, 1)
    return predicted, losses, labels.tolist(), rng.uniform(0.3, 1.0, len(labels))


def fit(predicted, losses, labels, similarities, disagreement=0.05):
    constant = np.full_like(predicted, disagreement)
    return fit_uncertainty(
        predicted, np.zeros_like(predicted), constant, losses, labels, similarities, (0.0, 1.0)
    )


@pytest.mark.parametrize("binary", [True, False], ids=["passed or failed", "graded"])
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_intervals_of_new_answers_hold_their_level(binary, level):
    found = fit(*simulate(0, binary=binary, shared=0.02), disagreement=0.02)
    predicted, losses, _, similarities = simulate(1, binary=binary, shared=0.02)
    std = np.full_like(predicted, found.disagreement_scale * 0.02)
    std = found.widened(std, found.typicality(similarities))
    cells = zip(predicted.ravel(), std.ravel(), losses.ravel(), strict=True)
    bounds = ((found.interval(p, s, level), loss) for p, s, loss in cells)
    inside = [low <= loss <= high for (low, high), loss in bounds]
    assert np.mean(inside) == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("disagreement", [0.025, 0.05, 0.1])
def test_the_scale_turns_the_disagreement_into_the_std_of_the_mean(disagreement):
    found = fit(*simulate(0), disagreement)
    assert found.disagreement_scale * disagreement == pytest.approx(0.05, rel=0.15)


def test_the_std_of_a_mean_does_not_have_the_chance_of_an_outcome_and_the_knots_have_it():
    found = fit(*simulate(0, shared=0.0))
    assert found.disagreement_scale * 0.05 < 0.02
    np.testing.assert_allclose(found.outcome_std(0.5), 0.5, rtol=0.05)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_odds_recover_the_slope_of_the_simulation(slope):
    found = fit(*simulate(0, slope=slope, shared=0.0))
    assert found.odds_slope == pytest.approx(slope, rel=0.2)


def test_unseen_prompts_have_every_typicality_alike():
    found = fit(*simulate(0))
    typicality = found.typicality(simulate(1)[3])
    for share in (0.05, 0.5, 0.9):
        assert np.mean(typicality < share) == pytest.approx(share, abs=0.03)


def test_the_quantiles_are_conformal():
    """Of nine scores, the level .9 takes the ninth: ceil(10 x .9); of eight there is none above."""
    predicted = np.full((9, 1), 0.5)
    losses = 0.5 + np.arange(1, 10)[:, None] / 20
    found = fit(predicted, losses, ["a"] * 9, np.ones(9), disagreement=0.0)
    std = float(found.outcome_std(0.5))
    quantiles = dict(zip(LEVELS, found.answer_quantiles * std, strict=True))
    assert quantiles[0.9] == pytest.approx(0.45)
    assert quantiles[0.5] == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(10, 1), (10, 2), (30, 3)])
def test_few_prompts_with_gaps_give_finite_numbers(shape):
    rng = np.random.default_rng(0)
    losses = rng.integers(0, 2, shape).astype(float)
    losses[1:3, 1:] = np.nan
    predicted = rng.random(shape)
    found = fit(predicted, losses, ["a"] * len(losses), rng.random(len(losses)))
    low, high = found.interval(0.3, 0.1, 0.9)
    assert 0 <= low <= 0.3 <= high <= 1
    assert 0 < found.better_probability((0.1, 0.2), (0.1, 0.1), 0.1, has_terms=False) < 1


def test_experts_that_always_tie_keep_the_prior_odds():
    predicted, losses, labels, similarities = simulate(0)
    found = fit(predicted, np.zeros_like(losses), labels, similarities)
    assert (found.odds_slope, found.odds_intercept) == (1.0, 0.0)


def test_many_prompts_are_sampled_evenly():
    assert sample_prompts(7).tolist() == list(range(7))
    rows = sample_prompts(10 * MAX_PROMPTS)
    assert (len(rows), rows[0], rows[-1]) == (MAX_PROMPTS, 0, 10 * MAX_PROMPTS - 1)


def test_a_perception_can_be_calibrated_on_fresh_outcomes(learned, specialists):
    """All experts fail twice as often as while training: the fresh outcomes show it."""
    fresh = specialists(n=120, seed=5)
    worse = replace(fresh, losses=np.maximum(fresh.losses, fresh.losses[::-1]))
    again = calibrate_uncertainty(learned, worse)
    before, after = (one.predict(fresh.prompts) for one in (learned, again))
    np.testing.assert_array_equal(before.losses, after.losses)
    assert after.std.mean() > 2 * before.std.mean()
    assert learned.uncertainty is not again.uncertainty


def test_an_expert_that_the_fresh_outcomes_lack_is_refused(learned, specialists):
    fresh = specialists(n=40)
    with pytest.raises(QTableError):
        calibrate_uncertainty(learned, fresh.select(fresh.experts[:2]))


def test_a_table_of_prompts_that_one_expert_each_answered_leaves_the_scale_as_it_is():
    predicted, losses, labels, similarities = simulate(0)
    answered_by = np.arange(len(losses)) % N_EXPERTS
    losses[np.arange(N_EXPERTS) != answered_by[:, None]] = np.nan
    found = fit(predicted, losses, labels, similarities)
    assert found.disagreement_scale == 1.0
    low, high = found.interval(0.5, 0.05, 0.9, prompts=100)
    assert 0 < low < 0.5 < high < 1


def test_too_few_fresh_outcomes_are_refused(learned, specialists):
    fresh = specialists(n=40)
    measured = fresh.losses.copy()
    measured[9:] = np.nan
    for table in (fresh.take(np.arange(9)), replace(fresh, losses=measured)):
        with pytest.raises(QTableError, match="9 prompts have a loss"):
            calibrate_uncertainty(learned, table)


def test_a_whole_router_is_refused_with_what_to_give_instead(learned, specialists):
    with pytest.raises(InputError, match=r"such as router\.perception, got Router"):
        calibrate_uncertainty(Router(learned), specialists(n=40))
