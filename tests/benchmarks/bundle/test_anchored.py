"""Requests of known kinds join a table with little weight, at the losses of their difficulty."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tryage import QTable
from tryage.learning.training.item_response import fit_table

BUNDLE = Path(__file__).resolve().parents[3] / "benchmarks" / "bundle"


@pytest.fixture(scope="module")
def anchored_module():
    sys.path.insert(0, str(BUNDLE))
    try:
        import anchored
    finally:
        sys.path.remove(str(BUNDLE))
    return anchored


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    rates = 1 / (1 + np.exp(np.linspace(-1, 1, 6) - rng.normal(0, 1, 80)[:, None]))
    losses = (rng.random(rates.shape) < rates).astype(np.float32)
    prompts = [f"What is the capital of country number {i}?" for i in range(80)]
    return QTable(prompts, tuple("abcdef"), losses, categories=["exam"] * 80, sources=["set"] * 80)


@pytest.fixture(scope="module")
def joined(anchored_module, table):
    return anchored_module.with_anchors(table, fit_table(table), np.ones(80))


def test_anchors_stand_below_the_prompts_with_their_share_of_the_weight(
    anchored_module, joined, table
):
    assert joined.table.prompts[:80] == table.prompts
    anchors = joined.weights[80:].sum()
    assert anchors / joined.weights.sum() == pytest.approx(anchored_module.SHARE)
    assert joined.expected.shape == joined.table.losses.shape


def test_the_best_expert_gains_more_on_hard_anchors_than_on_easy_ones(joined):
    kinds = np.array(joined.table.categories)
    gain = joined.expected.max(axis=1) - joined.expected.min(axis=1)
    assert gain[kinds == "kinds: hard"].mean() > 3 * gain[kinds == "kinds: easy"].mean()


def test_only_four_experts_stand_for_anchors_among_the_measured_losses(anchored_module, joined):
    counts = joined.table.measured[80:].sum(axis=1)
    assert (counts == anchored_module.N_SHOWN_EXPERTS).all()
