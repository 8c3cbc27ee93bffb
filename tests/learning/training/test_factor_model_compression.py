"""Real-valued losses are compressed by a scale of their own; scores are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training.factor_model import REGRET_SHARE, compress_losses


@pytest.mark.parametrize("losses", [[[0.0, 1.0], [1.0, 0.0]], [[0.3, np.nan], [0.2, 0.9]]])
def test_scores_are_left_alone(losses):
    assert compress_losses(np.array(losses)) is None


def test_the_scale_is_a_share_of_the_regret_of_the_best_single_expert():
    losses = np.array([[1.0, 1.5, 9.0], [1.0, 1.1, 3.0], [2.0, 1.4, 5.0], [2.0, 1.0, 5.0]])
    assert compress_losses(losses).scale == pytest.approx(REGRET_SHARE * (0.5 + 0.1) / 4)


def test_an_expert_that_is_always_best_leaves_a_scale_above_zero():
    scale, compressed = compress_losses(np.array([[1.0, 2.0], [1.5, 4.0], [1.2, 9.0]]))
    assert scale > 0
    assert np.isfinite(compressed).all()


def test_where_the_best_expert_was_not_measured_its_loss_is_imputed():
    losses = np.add.outer(np.arange(20.0), np.append(0.0, np.arange(10.0, 40.0)))
    complete = compress_losses(losses).losses
    losses[::4, 0] = np.nan
    compressed = compress_losses(losses).losses
    known = ~np.isnan(losses)
    np.testing.assert_allclose(compressed[known], complete[known], atol=2.5)
    assert np.isnan(compressed[~known]).all()
