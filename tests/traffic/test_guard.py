"""The guard estimates without bias what learning costs, and rolls back only certain harm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tryage.traffic.guard import MIN_COMPARED, Guard, frozen_propensity
from tryage.traffic.records import DecisionRecord


def decision(chosen, propensity=0.9, frozen="old"):
    other = "old" if chosen == "new" else "new"
    return DecisionRecord(
        "d",
        0.0,
        "r",
        chosen,
        propensity,
        candidates=(chosen, other),
        propensities=(propensity, 1 - propensity),
        frozen_choice=frozen,
    )


def simulate(seed, new_loss, old_loss, *, belief, n=2000, probe=0.1):
    """Return the guard after n answers, and whether it ever called for a rollback."""
    rng, guard, is_harmful = np.random.default_rng(seed), Guard(), False
    for _ in range(n):
        chosen = "old" if rng.random() < probe else "new"
        loss = float(rng.random() < (old_loss if chosen == "old" else new_loss))
        record = decision(chosen, probe if chosen == "old" else 1 - probe)
        is_harmful |= guard.update(record, chosen, loss, belief)
    return guard, is_harmful


@pytest.mark.parametrize("belief", [0.1, 0.5, 0.9])
def test_the_difference_is_right_whatever_is_believed(belief):
    guards = [simulate(seed, 0.6, 0.4, belief=belief)[0] for seed in range(10)]
    means = [guard.total / guard.count for guard in guards]
    # Answers to probes are part of what the router does: .9 * .6 + .1 * .4 - .4.
    assert np.mean(means) == pytest.approx(0.18, abs=0.04)


def test_learning_that_harms_is_told_and_learning_that_helps_never():
    assert all(simulate(seed, 0.7, 0.3, belief=0.5)[1] for seed in range(10))
    assert not any(simulate(seed, 0.3, 0.4, belief=0.5)[1] for seed in range(10))


def test_learning_without_effect_is_rolled_back_in_few_logs():
    assert sum(simulate(seed, 0.4, 0.4, belief=0.4)[1] for seed in range(20)) <= 1


def test_a_decision_that_both_routers_make_counts_as_no_difference():
    guard = Guard()
    for _ in range(50):
        assert not guard.update(decision("old", 1.0), "old", 1.0, 0.2)
    assert (guard.count, guard.total) == (50, 0.0)


def test_decisions_that_cannot_tell_do_not_count():
    guard = Guard()
    guard.update(decision("new", 1.0), "new", 1.0, 0.2)  # the frozen choice had no chance
    guard.update(decision("new", frozen=None), "new", 1.0, 0.2)
    assert guard.count == 0
    assert guard.interval() == (-math.inf, math.inf)


def test_few_comparisons_never_roll_back():
    guard = Guard()
    for _ in range(MIN_COMPARED - 1):
        assert not guard.update(decision("old", 0.01), "old", 0.0, 0.9)


def test_the_propensity_of_the_frozen_choice_is_read_from_the_record():
    assert frozen_propensity(decision("old", 0.7)) == 0.7
    assert frozen_propensity(decision("new", 0.7)) == pytest.approx(0.3)
    assert frozen_propensity(decision("new", frozen="third")) == 0.0
