"""Squeezed losses tell good experts apart, however bad the bad ones are, and come back whole."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert
from tryage.learning.qtable import QTable
from tryage.learning.training.calibration import fit_log_gap_link, prompt_contender_weights
from tryage.learning.training.factor_model import (
    CONTENDER_BANDWIDTH,
    REGRET_SHARE,
    compress_losses,
    typical_loss_std,
)
from tryage.learning.training.trainer import fit
from tryage.perception.abilities import LogGapLink

LINK = LogGapLink(
    0.5, knots_x=np.array([0.0, 0.5, 1.0, 2.0]), knots_y=np.array([0.1, 1.0, 3.0, 20.0])
)
BEST = np.array([[1.0]])
TOPICS = ("sum", "code", "poem", "law")


def of_the_trade(n=240, seed=0):
    """Losses of four specialists that are hopeless elsewhere, and of one expert that never is."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(4, size=n)
    losses = np.full((n, 5), 2.2) + rng.normal(0, 0.02, (n, 5))
    losses[:, :4] += rng.lognormal(2, 1, (n, 4))
    losses[np.arange(n), topic] = 2.0 + rng.normal(0, 0.02, n)
    prompts = tuple(f"{TOPICS[t]} word{i % 40} word{i % 7} {i}" for i, t in enumerate(topic))
    return QTable(prompts, (*TOPICS, "allround"), losses)


def test_by_hand_a_gap_of_e_minus_one_scales_becomes_one_scale():
    losses = BEST + 0.5 * np.array([[0.0, np.e - 1, np.e**2 - 1]])
    np.testing.assert_allclose(LINK.training_targets(losses, BEST), [[1.0, 1.5, 2.0]])


def test_by_hand_a_predicted_gap_means_what_the_line_through_the_knots_says():
    y = BEST + np.array([[0.0, 0.25, 1.5]])
    np.testing.assert_allclose(LINK.losses(y, BEST), [[1.1, 1.55, 12.5]])


def test_squeezed_losses_keep_their_order():
    losses = np.array([[0.2, 1.0, 1.001, 1.4, 3.0, 21.0]])
    assert (np.diff(LINK.training_targets(losses, BEST)) > 0).all()


def test_what_is_better_than_the_best_is_so_by_its_gap():
    y = np.array([[0.2, -3.0]])
    np.testing.assert_allclose(LINK.losses(y, BEST), y + 0.1)
    np.testing.assert_array_equal(LINK.training_targets(y, BEST), y)


def test_predictions_mean_what_was_measured_on_the_whole():
    rng = np.random.default_rng(0)
    y = rng.normal(2, 0.2, (300, 4))
    losses = y.min(axis=1, keepdims=True) + rng.exponential(5, y.shape)
    link = fit_log_gap_link(0.5, y, losses)
    best = y.min(axis=1, keepdims=True)
    assert link.losses(y, best).mean() == pytest.approx(losses.mean(), rel=1e-3)
    rows = np.arange(len(y))  # and of those that would be chosen
    chosen = y.argmin(axis=1)
    told = link.losses(y, best)[rows, chosen].mean()
    assert told == pytest.approx(losses[rows, chosen].mean(), rel=0.1)


def test_no_two_predictions_become_one():
    y = np.random.default_rng(0).normal(2, 0.2, (60, 4))
    link = fit_log_gap_link(0.5, y, np.ones_like(y))  # of which every prediction is wrong
    ordered = np.sort(np.append(y, [[0.0, 2.0, 5.0, 9.0]], axis=0), axis=1)
    assert (np.diff(link.losses(ordered, ordered[:, :1])) > 0).all()


def test_a_standard_deviation_passes_by_the_slope():
    link = LogGapLink(0.5, np.array([0.0, 0.1, 0.7, 2.0]), np.array([0.0, 0.3, 2.1, 6.0]))
    y = BEST + np.array([[0.0, 0.05, 0.4, 1.9]])
    np.testing.assert_allclose(link.std(y, np.full_like(y, 0.1), BEST), np.full_like(y, 0.3))


def test_losses_that_do_not_rise_with_the_gap_are_no_surer_for_it():
    flat = LogGapLink(0.5, np.array([0.0, 1.0, 2.0]), np.array([3.0, 3.0, 3.0]))
    assert flat.std(np.array([[1.5]]), np.array([[0.2]]), BEST) == pytest.approx(0.2)


def test_in_place_is_what_it_is_apart():
    y = np.linspace(0, 3, 50, dtype=np.float32)[None]
    losses, std = y.copy(), np.full_like(y, 0.1)
    LINK.apply_inplace(losses, std, BEST.astype(np.float32))
    np.testing.assert_allclose(losses, LINK.losses(y, BEST), rtol=1e-5)
    np.testing.assert_allclose(std, LINK.std(y, np.full_like(y, 0.1), BEST), rtol=1e-5)


@pytest.mark.parametrize("losses", [[[0.0, 1.0], [1.0, 0.0]], [[0.3, np.nan], [0.2, 0.9]]])
def test_scores_are_left_alone(losses):
    assert compress_losses(np.array(losses)) is None


def test_the_scale_is_a_share_of_what_the_best_single_expert_loses_to_hindsight():
    losses = np.array([[1.0, 1.5, 9.0], [1.0, 1.1, 3.0], [2.0, 1.4, 5.0], [2.0, 1.0, 5.0]])
    assert compress_losses(losses)[0] == pytest.approx(REGRET_SHARE * (0.5 + 0.1) / 4)


def test_an_expert_that_is_always_best_leaves_a_scale_to_squeeze_by():
    scale, learned = compress_losses(np.array([[1.0, 2.0], [1.5, 4.0], [1.2, 9.0]]))
    assert scale > 0
    assert np.isfinite(learned).all()


def test_where_the_best_was_not_measured_its_loss_is_filled_in():
    losses = np.add.outer(np.arange(20.0), np.append(0.0, np.arange(10.0, 40.0)))
    whole = compress_losses(losses)[1]
    losses[::4, 0] = np.nan
    learned = compress_losses(losses)[1]
    known = ~np.isnan(losses)
    np.testing.assert_allclose(learned[known], whole[known], atol=2.5)
    assert np.isnan(learned[~known]).all()


def test_hopeless_experts_do_not_drown_what_tells_good_ones_apart(encoder):
    perception = fit(of_the_trade(), encoder, progress=False)
    held = of_the_trade(seed=1)
    chosen = perception.predict(held.prompts).losses.argmin(axis=1)
    assert (chosen == held.losses.argmin(axis=1)).mean() > 0.95
    assert perception.report["routed"] < 2.05 < perception.report["best_single"]


def test_predictions_are_in_the_unit_of_the_loss(encoder):
    held, perception = of_the_trade(seed=1), fit(of_the_trade(), encoder, progress=False)
    losses = perception.predict(held.prompts).losses
    rows = np.arange(len(held))
    chosen = losses.argmin(axis=1)
    np.testing.assert_allclose(losses[rows, chosen], held.losses[rows, chosen], atol=0.3)
    assert 4 < np.median(losses[:, :4]) < 20  # elsewhere, e**2 and more are lost


def test_an_expert_that_takes_the_aptitude_test_is_predicted_what_it_lost(encoder):
    perception = fit(of_the_trade(), encoder, progress=False)
    asked = of_the_trade(60, seed=2)
    taken = {prompt: 1.7 if "poem" in prompt else 30.0 for prompt in asked.prompts}
    wiser = perception.onboard(Expert("bard"), taken)
    poem, law = wiser.predict(["poem word3 word9", "law word3 word9"]).losses[:, -1]
    assert poem == pytest.approx(1.7, abs=0.3)
    assert law > 5


def test_feedback_is_squeezed_as_training_was(encoder):
    perception = fit(of_the_trade(), encoder, progress=False)
    before = perception.predict(["law word3 word9"]).losses
    for _ in range(30):
        perception.observe("law word3 word9", "law", 400.0)
    after = perception.predict(["law word3 word9"]).losses
    assert before.argmin() == TOPICS.index("law")
    assert after.argmin() == 4
    np.testing.assert_allclose(after[0, 4], before[0, 4], atol=0.05)


def test_who_contends_is_told_prompt_by_prompt():
    losses = np.array([[0.0, 2.0, np.nan], [2.0, 0.0, 9.0]])
    said = np.array([[1.0, 1.5, -7.0], [1.5, 1.0, 9.0]])  # the third was not measured at first
    reach = prompt_contender_weights(said, losses)
    np.testing.assert_allclose(reach[:, :2], [[1, reach[0, 1]], [reach[0, 1], 1]], atol=1e-5)
    assert (
        1e-4
        < reach[0, 1]
        == pytest.approx(np.exp(-0.5 / (CONTENDER_BANDWIDTH * typical_loss_std(losses))), 1e-2)
    )
    assert reach[1, 2] < 1e-4
