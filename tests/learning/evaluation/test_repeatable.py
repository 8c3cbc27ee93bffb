"""The repeatable part of the oracle's gain, on tables where it is known how outcomes came about."""

from itertools import pairwise

import numpy as np
import pytest

from tryage.learning.evaluation.baselines import BEST_SINGLE, ORACLE
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.repeatable import (
    RepeatableGain,
    describe_repeatable_gain,
    find_repeatable_gain,
)
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.scoring.qtable import QTable
from tryage.simulation.metrics import Interval

CONFIG = EvaluationConfig(n_folds=3, draws=100)


def make_table(rates, **columns):
    """Draw right and wrong answers once from rates of failure `(n_prompts, n_experts)`."""
    losses = (np.random.default_rng(0).random(rates.shape) < rates).astype(np.float32)
    n_prompts, n_experts = rates.shape
    prompts = tuple(f"prompt {i}" for i in range(n_prompts))
    return QTable(prompts, tuple(f"expert {i}" for i in range(n_experts)), losses, **columns)


def two_schools(n=600, *, low=0.0, high=1.0):
    """Half of the prompts are for the even experts, the others for the odd ones."""
    rates = np.full((n, 12), high)
    rates[::2, ::2] = rates[1::2, 1::2] = low
    return rates


def test_nothing_repeats_where_all_experts_fail_by_chance():
    found = find_repeatable_gain(make_table(np.full((600, 12), 0.3)), CONFIG)
    assert found.share.value < 0.08
    assert found.share.low <= 0


def test_everything_repeats_where_the_prompt_decides_which_experts_are_right():
    found = find_repeatable_gain(make_table(two_schools()), CONFIG)
    assert found.share.value == pytest.approx(1)
    assert found.score == pytest.approx(1)


def test_the_expected_gain_repeats_where_the_prompt_decides_how_often_experts_are_right():
    # always the same expert: .5; the right school: .8; the oracle: nearly 1
    table = make_table(two_schools(2000, low=0.2, high=0.8))
    found = find_repeatable_gain(table, CONFIG)
    best_single = 1 - table.losses.mean(axis=0).min()
    oracle = 1 - table.losses.min(axis=1).mean()
    # among the candidates, half of the experts, the oracle is a little less lucky
    assert found.share.value == pytest.approx((0.8 - best_single) / (oracle - best_single), abs=0.1)
    assert best_single < found.score < oracle


def test_categories_are_known_to_whoever_chooses():
    rates = np.full((600, 4), 1.0)
    rates[::3, 1] = rates[1::3, 2] = rates[2::3, 3] = 0.0
    labels = tuple("abc"[i % 3] for i in range(600))
    without = find_repeatable_gain(make_table(rates), CONFIG)
    with_categories = find_repeatable_gain(make_table(rates, categories=labels), CONFIG)
    assert with_categories.share.value == pytest.approx(1)
    assert without.share.value < with_categories.share.value


@pytest.mark.parametrize(
    "rates",
    [np.full((600, 3), 0.3), np.full((40, 12), 0.3), np.zeros((600, 12))],
    ids=["three experts", "forty prompts", "no gap"],
)
def test_the_repeatable_gain_is_unknown_of(rates):
    assert find_repeatable_gain(make_table(rates), CONFIG) is None


def test_only_experts_count_that_nearly_all_prompts_measured():
    table = make_table(np.full((600, 12), 0.3))
    losses = table.losses.copy()
    losses[100:, :2] = losses[:5, 5] = np.nan
    found = find_repeatable_gain(QTable(table.prompts, table.experts, losses), CONFIG)
    assert (found.n_experts, found.n_prompts) == (10, 595)


def test_the_same_seed_gives_the_same_share_and_losses_of_any_unit_too():
    table = make_table(two_schools(low=0.2, high=0.8))
    found = find_repeatable_gain(table, CONFIG)
    assert find_repeatable_gain(table, CONFIG) == found
    scaled = QTable(table.prompts, table.experts, 7 * table.losses)
    assert find_repeatable_gain(scaled, CONFIG).share.value == pytest.approx(found.share.value)


def test_the_report_says_how_much_of_the_repeatable_part_the_router_closes(ridge):
    table = make_table(two_schools(low=0.2, high=0.8))
    embeddings = np.eye(2, dtype=np.float32)[np.arange(len(table)) % 2]
    baselines = {name: BASELINES[name] for name in (BEST_SINGLE, ORACLE)}
    found = evaluate(table, embeddings, {"ridge": ridge}, baselines=baselines, config=CONFIG)
    text = found.table()
    assert f"- Repeatable oracle: {found.repeatable.score:.3f}, " in text
    part = found["ridge"].gap_closed.value / found.repeatable.share.value
    assert part == pytest.approx(1, abs=0.25)  # the ridge tells the two kinds of prompts apart
    notes = [text.index(part) for part in ("Repeatable oracle", "ridge closes", "best constant")]
    assert all(before < after for before, after in pairwise(notes))
    assert find_repeatable_gain(table, CONFIG) == found.repeatable


def test_a_share_beyond_what_outcomes_foretell_is_not_called_a_share_of_it():
    found = RepeatableGain(Interval(0.2, 0.1, 0.3), 0.7, 9, 400)
    _, half = describe_repeatable_gain(found, "router", Interval(0.1, 0.0, 0.2))
    assert half == "router closes 10% of the gap, 50% of its repeatable part."
    _, more = describe_repeatable_gain(found, "router", Interval(0.3, 0.2, 0.4))
    assert more == "router closes 30% of the gap, more than outcomes foretell."


def test_without_a_router_or_a_certain_share_only_the_oracle_is_described():
    found = find_repeatable_gain(make_table(np.full((600, 12), 0.3)), CONFIG)
    lines = list(describe_repeatable_gain(found, "router", found.share))
    assert len(lines) == 1
    certain = find_repeatable_gain(make_table(two_schools()), CONFIG)
    assert len(list(describe_repeatable_gain(certain, None, None))) == 1
