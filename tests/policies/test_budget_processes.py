"""Processes that spend from one hard purse: together they spend no more than it holds."""

from __future__ import annotations

import multiprocessing

import pytest

from tryage import Expert, Router
from tryage.errors import BudgetExceededError
from tryage.policies import Budget
from tryage.testing import FixedPerception

pytest.importorskip("sqlalchemy")

N_PROCESSES, USD, LIMIT = 4, 0.01, 0.3


def spend(url, start):
    """Route until the purse is spent; each answer costs 1.5 times what is expected."""
    experts = [Expert("only", input_price=0, output_price=10, output_tokens=1_000)]
    budget = Budget(usd_per_month=LIMIT, hard=True)
    router = Router(FixedPerception({"only": 0.5}), experts, policy=budget, traffic=url)
    start.wait(30)
    while True:
        try:
            decision = router.route("a prompt")
        except BudgetExceededError:
            break
        router.settle(decision.id, "only", cost=1.5 * USD)
    router.traffic.close()


def test_a_hard_purse_is_overspent_by_the_requests_in_flight_at_most(url):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(N_PROCESSES)
    children = [context.Process(target=spend, args=(url, start)) for _ in range(N_PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * N_PROCESSES
    budget = Budget(usd_per_month=LIMIT, hard=True)
    experts = [Expert("only", input_price=0, output_price=10)]
    router = Router(FixedPerception({"only": 0.5}), experts, policy=budget, traffic=url)
    status = router.policy.status()
    assert status.reserved == pytest.approx(0.0, abs=1e-9)
    assert LIMIT - 1.5 * USD <= status.spent <= LIMIT + N_PROCESSES * 1.5 * USD
