"""`Router.simulate`: on a table and on a log, without asking, learning or writing."""

from __future__ import annotations

import pytest

from tryage import Expert, Router
from tryage.core.policy import Policy
from tryage.scoring.qtable import QTable
from tryage.testing import LearningPerception

TABLE = QTable(
    ("p", "q", "r"),
    ("small", "large"),
    [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]],
    costs=[[0.01, 0.1]] * 3,
)


def make_router(**settings) -> Router:
    experts = [
        Expert("small", input_price=1, output_price=1),
        Expert("large", input_price=10, output_price=10),
        Expert("unmeasured"),
    ]
    perception = LearningPerception({"small": 0.5, "large": 0.1, "unmeasured": 0.0})
    return Router(perception, experts, preferences="best", **settings)


def test_a_table_is_answered_by_the_experts_that_it_has():
    found = make_router().simulate(Policy(), TABLE)
    assert found.n_requests == 3
    assert found["Policy"].shares == {"large": 1.0}
    assert found["Policy"].total == pytest.approx(0.3)
    assert "unmeasured" in found.notes[0]


def test_the_order_changes_when_the_money_is_spent_and_not_how_much():
    router = make_router()
    given, sorted_ = (
        router.simulate(Policy(), TABLE, order=order) for order in ("given", "hard first")
    )
    assert given["Policy"].total == sorted_["Policy"].total


def test_nothing_is_written_into_the_log_of_the_router(traffic):
    router = make_router(traffic=traffic, policy=Policy())
    router.simulate(Policy(), TABLE)
    traffic.flush()
    assert traffic.counts()["decisions"] == 0


def test_a_log_is_decided_again_by_what_was_predicted(traffic):
    router = make_router(traffic=traffic)
    for prompt in ("one", "two"):
        decision = router.route(prompt)
        router.feedback(decision.id, 0.5)
    traffic.flush()
    found = router.simulate(Policy(), traffic)
    assert found.n_requests == 2
    assert found["plain routing"].shares == {"unmeasured": 1.0}
    assert found["plain routing"].score.value == 0.5  # as rated
    assert found["small"].estimated == 1.0
    assert any("Only one expert answered" in note for note in found.notes)
