"""What is tuned on unseen prompts: predictions reach as far as real losses do."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.perception.abilities import fit_abilities
from tryage.perception.calibration import calibrate
from tryage.perception.latent import factorise
from tryage.qtable import QTable


def unlike_experts(scale, shrunk=0.6, n=200):
    """Four experts, each good at a kind of its own and bad elsewhere; estimators shrink the gap."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(4, size=n)
    losses = 0.8 - 0.7 * np.eye(4)[kinds] * np.array([0.6, 0.8, 1.0, 1.0])
    losses = scale * (losses + np.array([-0.5, 0.0, 0.2, 0.4]) + rng.normal(0, 0.01, (n, 4)))
    table = QTable(tuple(map(str, range(n))), tuple("abcd"), losses)
    latent = factorise(table.losses, 4)
    places = np.concatenate([np.ones((n, 1)), latent.scores], axis=1)
    start = np.concatenate([latent.mean[:, None], latent.loadings], axis=1)
    abilities = fit_abilities(places, table.losses, start)
    unseen = np.repeat((shrunk * latent.scores)[None], 3, axis=0).astype(np.float32)
    return calibrate(unseen, abilities, table, latent.mean)


def test_what_estimators_shrink_is_undone_for_every_expert_among_unlike_ones():
    tuned = unlike_experts(scale=5.0)
    assert tuned.stretch == pytest.approx(np.full(4, 1 / 0.6), rel=0.15)
