"""What policies are worth on a log: which decisions count, costs, and a table to read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.traffic_report.policies import always, greedy
from tryage.learning.traffic_report.policy_evaluation import evaluate_traffic
from tryage.learning.traffic_report.table import read_table
from tryage.traffic.records import DecisionRecord, Feedback, Outcome


def rows(n=1200, seed=0):
    """Return decisions between two experts that are right with .9 and .7, half of them rated."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        chosen = str(rng.choice(["good", "bad"], p=[0.3, 0.7]))
        score = float(rng.random() < {"good": 0.9, "bad": 0.7}[chosen])
        record = DecisionRecord(
            f"d{i}",
            float(i),
            "r",
            chosen,
            candidates=("bad", "good"),
            losses=(0.2, 0.2),
            totals=(0.2, 0.3),
            costs=(0.001, 0.01),
            propensities=(0.7, 0.3),
        )
        given = [Feedback(f"f{i}", f"d{i}", 0.0, score, "judge")] if i % 2 else []
        made.append((record, Outcome(f"d{i}", float(i), served_by=chosen), given))
    return made


def evaluated(made, **policies):
    return evaluate_traffic(read_table(made), policies)


def test_the_intervals_contain_the_true_scores_and_the_true_difference():
    found = evaluated(rows(), good=always("good"), none=greedy)
    good, bad = found.policies
    assert found.score.low < 0.3 * 0.9 + 0.7 * 0.7 < found.score.high
    assert good.value.score.low < 0.9 < good.value.score.high
    assert good.value.difference.low < 0.9 - 0.76 < good.value.difference.high
    assert good.value.difference.low > 0
    assert bad.value.score.low < 0.7 < bad.value.score.high


def test_costs_are_those_expected_of_all_decisions():
    found = evaluated(rows(), good=always("good"))
    share = np.mean([record.chosen == "good" for record, _, _ in rows()])
    assert found.policies[0].cost == pytest.approx(0.01)
    assert found.cost == pytest.approx(share * 0.01 + (1 - share) * 0.001)


def test_unknown_costs_leave_the_mean_cost_unknown():
    from dataclasses import replace

    made = [(replace(record, costs=(0.001, None)), outcome, f) for record, outcome, f in rows()]
    found = evaluated(made, good=always("good"), bad=always("bad"))
    assert found.policies[0].cost is None
    assert found.policies[1].cost == pytest.approx(0.001)


def test_only_ratings_of_the_chosen_experts_answer_count():
    made = rows()
    other = [
        (record, Outcome(record.id, 0.0, served_by="bad" if i % 4 else "good"), given)
        for i, (record, _, given) in enumerate(made)
    ]
    counted = sum(o.served_by == r.chosen and len(f) for r, o, f in other)
    assert evaluated(made).n_rated == 600
    assert evaluated(other).n_rated == counted < 600
    assert evaluated(made).n_decisions == 1200


def test_the_table_has_a_row_for_each_policy_and_a_sentence_for_each_refusal():
    found = evaluated(rows(300), good=always("good"), none=greedy)
    header, as_logged, good, _ = found.rows()
    assert len({len(row) for row in found.rows()}) == 1
    assert (header[0], as_logged[0], good[0]) == ("policy", "as logged", "good")
    assert good[1:5] == ["-"] * 4
    assert [line.split(":")[0] for line in found.refusals()] == ["good"]
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_log_without_ratings_says_so():
    found = evaluated([(record, outcome, []) for record, outcome, _ in rows(50)], none=greedy)
    assert found.score is None
    assert "no decision has feedback" in found.refusals()[0]


def test_a_policy_that_does_not_fit_the_log_is_named_in_the_error():
    with pytest.raises(InputError, match="my policy: 'nobody' is not in the log"):
        evaluate_traffic(read_table(rows(10)), {"my policy": always("nobody")})
