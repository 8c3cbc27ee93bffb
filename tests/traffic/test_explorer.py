"""The explorer of a router: one budget for all threads; a fork, a copy and a pickle start anew."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import numpy as np
import pytest

from tryage import Expert, Library, Preferences
from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.decision import score_batch
from tryage.core.exploration import Exploration
from tryage.core.perception import Prediction
from tryage.core.request import RoutingRequest
from tryage.core.request_batch import RequestBatch
from tryage.errors import InputError
from tryage.traffic.explorer import Explorer

COST = 500 * 2 * 1e-6  # USD of the best expert


def two_experts():
    experts = [
        Expert("best", input_price=1.0, output_price=1.0, output_tokens=500),
        Expert("dear", input_price=2.0, output_price=2.0, output_tokens=500),
    ]
    prediction = Prediction(np.array([[0.1, 0.11]], np.float32), np.full((1, 2), 0.3, np.float32))
    request = RequestBatch(np.full(1, 500.0))
    return score_batch(Library(experts), Preferences(), DEFAULT_CONSTRAINTS, prediction, request)


def draw(explorer, n):
    batch = two_experts()
    decision = batch.decide(0, RoutingRequest("x", Preferences()), None, strict=False)
    return [explorer.explore(batch, 0, decision).expert.name for _ in range(n)]


def test_the_budget_holds_over_threads():
    explorer = Explorer(Exploration(budget=0.02), seed=0)
    threads = [threading.Thread(target=draw, args=(explorer, 200)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert explorer.budget.spent == pytest.approx(800 * COST)
    assert 0 < explorer.budget.extra <= 0.02 * explorer.budget.spent + 1e-12


def test_no_other_thread_spends_the_budget_while_an_expert_is_drawn(monkeypatch):
    explorer, locked = Explorer(Exploration(), seed=0), []

    def remaining(cost):
        locked.append(explorer._lock.locked())
        return cost

    monkeypatch.setattr(explorer.budget, "remaining", remaining)
    draw(explorer, 3)
    assert locked == [True] * 3


def test_the_same_seed_draws_the_same_experts():
    first, second = (draw(Explorer(Exploration(budget=1.0), seed=3), 50) for _ in range(2))
    assert first == second
    assert set(first) == {"best", "dear"}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda own: pickle.loads(pickle.dumps(own))])  # noqa: S301 - our own bytes
def test_a_copy_and_a_pickle_keep_the_settings_and_start_a_new_budget(copied):
    explorer = Explorer(Exploration(tolerance=0.1), seed=1)
    draw(explorer, 3)
    other = copied(explorer)
    assert other.exploration == explorer.exploration
    assert other.budget.spent == 0


def test_the_child_of_a_fork_has_a_budget_of_its_own_and_a_free_lock(monkeypatch):
    explorer = Explorer(Exploration(budget=1.0), seed=0)
    before = draw(explorer, 50)
    explorer._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: -1 % 2**31)
    assert draw(explorer, 50) != before
    assert explorer.budget.spent == pytest.approx(50 * COST)


def test_settings_of_another_type_are_refused():
    with pytest.raises(InputError, match="Exploration"):
        Explorer({"tolerance": 0.1})
