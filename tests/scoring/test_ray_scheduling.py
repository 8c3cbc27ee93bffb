"""The decisions of a run on Ray: reserved budget and chunks, without any cluster."""

from __future__ import annotations

import random

import pytest

from tryage.scoring.measurement import Budget
from tryage.scoring.ray_scheduling import MAX_CHUNK_SIZE, BudgetLedger, ChunkQueue


def finish_request(budget, ledger, worker, expert, usd):
    """Let the only request of a worker end with this cost."""
    budget.charge(expert, usd)
    ledger.release(worker)


def test_the_first_request_of_an_expert_runs_alone_in_the_whole_table():
    ledger = BudgetLedger(budget := Budget(10.0))
    assert ledger.reserve("w1", "a", 0) is True
    assert ledger.reserve("w1", "a", 1) is False  # it can wait for its own request
    assert ledger.reserve("w2", "a", 0) is None
    assert ledger.reserve("w3", "b", 0) is None
    finish_request(budget, ledger, "w1", "a", 1.0)
    assert ledger.reserve("w2", "a", 0) is True
    assert ledger.reserve("w3", "b", 0) is True  # the price of a is known now


def test_while_a_first_request_runs_its_unknown_price_is_not_spent():
    ledger = BudgetLedger(budget := Budget(3.0))
    assert ledger.reserve("w1", "a", 0)
    finish_request(budget, ledger, "w1", "a", 1.0)
    assert ledger.reserve("w2", "a", 0) is True
    assert ledger.reserve("w3", "b", 0) is True
    assert ledger.reserve("w1", "a", 0) is None  # b may cost the third dollar
    finish_request(budget, ledger, "w3", "b", 1.0)
    finish_request(budget, ledger, "w2", "a", 1.0)
    assert ledger.reserve("w1", "a", 0) is False
    assert budget.spent == 3.0


def test_as_many_requests_run_as_fit_over_all_workers():
    ledger = BudgetLedger(budget := Budget(4.0))
    assert ledger.reserve("w1", "a", 0)
    finish_request(budget, ledger, "w1", "a", 1.0)
    assert [ledger.reserve(worker, "a", 0) for worker in ("w1", "w2", "w3")] == [True] * 3
    assert (
        ledger.reserve("w4", "a", 0) is None
    )  # another request may cost less than its reservation
    assert ledger.reserve("w1", "a", 1) is False
    assert not budget.exhausted
    for worker in ("w1", "w2"):
        finish_request(budget, ledger, worker, "a", 1.0)
    assert ledger.reserve("w4", "a", 0) is None
    finish_request(budget, ledger, "w3", "a", 0.0)
    assert ledger.reserve("w4", "a", 0) is True
    finish_request(budget, ledger, "w4", "a", 1.0)
    assert ledger.reserve("w4", "a", 0) is False
    assert budget.exhausted


def test_a_request_that_can_never_fit_is_rejected_and_cheap_ones_go_on():
    ledger = BudgetLedger(budget := Budget(5.0))
    for expert, usd in (("expensive", 3.0), ("cheap", 0.5)):
        assert ledger.reserve("w1", expert, 0)
        finish_request(budget, ledger, "w1", expert, usd)
    assert ledger.reserve("w1", "cheap", 0) is True
    assert ledger.reserve("w2", "expensive", 0) is False
    assert budget.exhausted


def test_the_requests_of_a_killed_worker_stay_reserved():
    ledger = BudgetLedger(budget := Budget(3.0))
    assert ledger.reserve("w1", "a", 0)
    finish_request(budget, ledger, "w1", "a", 1.0)
    assert ledger.reserve("w1", "a", 0)
    ledger.write_off("w1")
    assert ledger.reserve("w2", "a", 0) is True
    finish_request(budget, ledger, "w2", "a", 1.0)
    assert ledger.reserve("w2", "a", 0) is False
    assert budget.spent == 2.0  # the known costs; the killed request may have cost the third dollar


def test_a_killed_first_request_does_not_block_the_others():
    ledger = BudgetLedger(Budget(3.0))
    assert ledger.reserve("w1", "a", 0)
    ledger.write_off("w1")
    ledger.write_off("w9")  # it had reserved nothing
    assert ledger.reserve("w2", "b", 0) is True


def test_without_a_limit_every_request_may_start_until_the_run_stops():
    ledger = BudgetLedger(budget := Budget())
    assert all(ledger.reserve(worker, "a", 0) for worker in range(100))
    budget.stop()
    assert ledger.reserve(0, "a", 0) is False


@pytest.mark.parametrize("seed", range(10))
def test_no_order_of_events_exceeds_the_limit_by_more_than_one_request(seed):
    rng = random.Random(seed)  # noqa: S311 - no secret depends on it
    limit = rng.uniform(5, 50)
    prices = {name: rng.choice([0.0, 0.1, 0.5, 1.0, 3.0]) for name in "abcd"}
    ledger = BudgetLedger(budget := Budget(limit))
    running = {worker: [] for worker in range(6)}
    expert_of = {worker: rng.choice("abcd") for worker in running}
    rejected, started, lost = set(), set(), 0.0
    for _ in range(1000):
        worker = rng.choice(list(running))
        if running[worker] and rng.random() < 0.5:
            running[worker].pop()
            budget.charge(expert_of[worker], prices[expert_of[worker]])
        elif rng.random() < 0.02:
            ledger.write_off(worker)
            lost += len(running[worker]) * prices[expert_of[worker]]
            running[worker] = []
        elif worker not in rejected:
            answer = ledger.reserve(worker, expert_of[worker], len(running[worker]))
            if answer:
                started.add(expert_of[worker])
                running[worker].append(1)
            elif answer is False and not running[worker]:
                rejected.add(worker)
        sent = sum(len(runs) * prices[expert_of[one]] for one, runs in running.items())
        assert budget.spent + lost + sent <= limit + max(prices[name] for name in started or "a")
        known = {name for name in started if budget.max_price(name) is not None}
        if known == started and not any(prices[name] for name in "abcd" if name not in started):
            assert budget.spent + lost <= limit + max(prices.values())
    waiting = [w for w in running if w not in rejected and not running[w]]
    for worker in running:  # when all requests have ended, each worker gets an answer
        ledger.release(worker)
    assert all(
        ledger.reserve(w, expert_of[w], 0) is not None or ledger.release(w) for w in waiting[:1]
    )


def test_chunks_hold_each_prompt_once_and_have_nearly_the_same_length():
    for size in (1, 15, 16, 17, 1000, 5000):
        for n_workers in (1, 2, 7):
            chunks = ChunkQueue([size], n_workers)
            taken = []
            while (chunk := chunks.take(0)) is not None:
                taken.append(chunk.positions)
            assert [at for part in taken for at in part] == list(range(size))
            lengths = {len(part) for part in taken}
            assert max(lengths) - min(lengths) <= 1
            assert max(lengths) <= MAX_CHUNK_SIZE


def test_workers_go_to_experts_without_one_then_to_the_most_work():
    chunks = ChunkQueue([64, 640, 64], n_workers=6)
    order = [chunks.assign_worker() for _ in range(6)]
    assert set(order[:3]) == {0, 1, 2}
    assert ChunkQueue([], 4).assign_worker() is None
    chunks.clear(0)
    chunks.clear(1)
    chunks.clear(2)
    assert chunks.assign_worker() is None
    assert chunks.take(1) is None


def test_no_more_workers_start_than_chunks_wait_and_a_surplus_is_counted():
    chunks = ChunkQueue([20], n_workers=9)
    assert [chunks.assign_worker() for _ in range(3)] == [0, 0, None]
    chunks.mark_started(0)
    chunks.take(0)
    chunks.take(0)
    assert chunks.count_unclaimed(0) == -1  # no chunk is left for the second worker
    chunks.release_worker(0)
    chunks.mark_started(0)
    chunks.release_worker(0)
    assert chunks.is_done(0)


def test_a_chunk_that_is_put_back_is_the_next_one():
    chunks = ChunkQueue([100], n_workers=2)
    first = chunks.take(0)
    first.positions = first.positions[3:]
    chunks.put_back(first)
    assert chunks.take(0) is first
