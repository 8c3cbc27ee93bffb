"""What one expert scores and costs that is always asked, by hand-worked tables, and warnings."""

import numpy as np
import pytest

from tryage.learning.evaluation.baselines import BEST_SINGLE, best_single, oracle
from tryage.learning.evaluation.constants import describe_constants, find_constants
from tryage.learning.evaluation.evaluator import evaluate
from tryage.learning.evaluation.splits import EvaluationConfig, MethodPrediction
from tryage.scoring.qtable import QTable

CONFIG = EvaluationConfig(draws=200)


def make_table(means, costs=None, n=1000):
    """Experts that fail on a first part of the prompts, as long as their mean loss says."""
    ranks = np.arange(n)[:, None]
    losses = (ranks < n * np.asarray(means)).astype(np.float32)
    names = tuple(f"expert {i}" for i in range(len(means)))
    priced = None if costs is None else np.tile(costs, (n, 1))
    return QTable(tuple(f"prompt {i}" for i in range(n)), names, losses, costs=priced)


def test_the_cheapest_constant_is_the_cheapest_of_those_within_half_a_point():
    table = make_table([0.200, 0.204, 0.205, 0.206], [10.0, 2.0, 3.0, 1.0])
    found = find_constants(table, None, CONFIG)
    assert found.best.name == "expert 0"
    assert found.best.score == pytest.approx(0.8)
    assert found.cheapest.name == "expert 1"
    assert found.cheapest.relative_cost == pytest.approx(0.2)
    assert found.cheapest.cost == pytest.approx(2.0)


def test_a_best_constant_that_is_also_the_cheapest_near_one_is_said_to_be_so():
    table = make_table([0.2, 0.204, 0.3], [2.0, 10.0, 1.0])
    found = find_constants(table, None, CONFIG)
    assert found.cheapest is None
    assert "No cheaper expert scores within 0.005 of it." in describe_constants(found, None, None)


def test_without_costs_there_is_no_cheapest_constant():
    found = find_constants(make_table([0.2, 0.2]), None, CONFIG)
    assert found.best.cost is None
    assert found.cheapest is None


def test_an_unknown_cost_is_not_the_cheapest():
    table = make_table([0.2, 0.2, 0.2], [10.0, np.nan, 4.0])
    assert find_constants(table, None, CONFIG).cheapest.name == "expert 2"


def test_experts_that_were_measured_on_different_prompts_have_no_constant():
    table = make_table([0.2, 0.3])
    losses = table.losses.copy()
    losses[:500, 0] = losses[500:, 1] = np.nan
    assert find_constants(QTable(table.prompts, table.experts, losses), None, CONFIG) is None


def test_the_lead_over_a_constant_is_paired_over_the_prompts_that_it_was_measured_on():
    table = make_table([0.2, 0.5])
    router_scores = 1.0 - (np.arange(1000) < 250)
    lead = find_constants(table, router_scores, CONFIG).best.lead
    assert lead.value == pytest.approx(-0.05)
    assert lead.low < -0.05 < lead.high < 0


def lines(table, router_scores):
    found = find_constants(table, router_scores, CONFIG)
    return "\n".join(describe_constants(found, "router", None))


def test_a_constant_that_beats_the_router_is_a_warning():
    table = make_table([0.2, 0.5])
    assert "WARNING: a constant wins. expert 0" in lines(table, np.full(1000, 0.7))
    assert "WARNING" not in lines(table, np.full(1000, 0.9))


def half_right(table):
    """Choose the oracle's expert on even prompts, and the first expert on odd ones."""
    losses_of = dict(zip(table.prompts, table.losses, strict=True))

    def method(train, train_embeddings, test_prompts, test_embeddings):
        assert len(train) == len(train_embeddings)
        rows = np.array([losses_of[prompt] for prompt in test_prompts], np.float32)
        is_odd = np.array([int(prompt.split()[1]) % 2 == 1 for prompt in test_prompts])
        rows[is_odd] = [0.0, 1.0]
        assert len(rows) == len(test_embeddings)
        return MethodPrediction(rows)

    return method


def test_a_router_that_is_right_on_half_of_the_prompts_closes_half_of_the_gap():
    n = 400
    index = np.arange(n)
    # The second expert is better on a quarter of the even and a quarter of the odd prompts.
    first_fails = index % 8 < 2
    losses = np.stack([first_fails, ~first_fails], axis=1).astype(np.float32)
    table = QTable(tuple(f"prompt {i}" for i in index), ("first", "second"), losses)
    baselines = {BEST_SINGLE: best_single, "oracle": oracle}
    found = evaluate(
        table,
        np.ones((n, 1), np.float32),
        {"half": half_right(table)},
        baselines=baselines,
        config=CONFIG,
    )
    closed = found["half"].gap_closed
    assert closed.value == pytest.approx(0.5)
    assert closed.low < 0.5 < closed.high
    assert found[BEST_SINGLE].gap_closed is None
    assert "gap closed" in found.table()
    assert found.constants.best.name == "first"


def test_without_a_gap_to_the_oracle_no_share_of_it_is_reported():
    table = make_table([0.2, 0.5])
    baselines = {BEST_SINGLE: best_single, "oracle": oracle}
    found = evaluate(
        table,
        np.ones((1000, 1), np.float32),
        {"half": half_right(table)},
        baselines=baselines,
        config=CONFIG,
    )
    assert found["half"].gap_closed is None
