"""What workers agree on, without any cluster: money, chunks, and what they report."""

from __future__ import annotations

import pickle
import random
import threading

import pytest

from tryage import Expert
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring.losses import MaskedLM
from tryage.learning.scoring.measurement import Budget, Measurement, MeasurerIdentity, Prompt
from tryage.learning.scoring.ray_engine import MAX_CHUNK_SIZE, ChunkQueue
from tryage.learning.scoring.ray_worker import MAX_QUEUED, BudgetLedger, ResultQueue, Worker

PROMPTS = [Prompt(f"prompt {'x' * i}") for i in range(10)]


def paid(budget, grants, worker, expert, usd):
    """Let a request end that has cost so much."""
    budget.charge(expert, usd)
    grants.release(worker)


def test_the_first_request_of_an_expert_goes_alone_in_the_whole_table():
    grants = BudgetLedger(budget := Budget(10.0))
    assert grants.reserve("w1", "a", 0) is True
    assert grants.reserve("w1", "a", 1) is False  # it can wait for its own
    assert grants.reserve("w2", "a", 0) is None
    assert grants.reserve("w3", "b", 0) is None
    paid(budget, grants, "w1", "a", 1.0)
    assert grants.reserve("w2", "a", 0) is True
    assert grants.reserve("w3", "b", 0) is True  # what a costs is known by now


def test_while_a_first_request_runs_nobody_takes_what_it_may_cost():
    grants = BudgetLedger(budget := Budget(3.0))
    assert grants.reserve("w1", "a", 0)
    paid(budget, grants, "w1", "a", 1.0)
    assert grants.reserve("w2", "a", 0) is True
    assert grants.reserve("w3", "b", 0) is True
    assert grants.reserve("w1", "a", 0) is None  # the third dollar may be b's
    paid(budget, grants, "w3", "b", 1.0)
    paid(budget, grants, "w2", "a", 1.0)
    assert grants.reserve("w1", "a", 0) is False
    assert budget.spent == 3.0


def test_as_many_run_as_would_fit_whoever_runs_them():
    grants = BudgetLedger(budget := Budget(4.0))
    assert grants.reserve("w1", "a", 0)
    paid(budget, grants, "w1", "a", 1.0)
    assert [grants.reserve(worker, "a", 0) for worker in ("w1", "w2", "w3")] == [True] * 3
    assert grants.reserve("w4", "a", 0) is None  # another may cost less than is reserved for it
    assert grants.reserve("w1", "a", 1) is False
    assert not budget.exhausted
    for worker in ("w1", "w2"):
        paid(budget, grants, worker, "a", 1.0)
    assert grants.reserve("w4", "a", 0) is None
    paid(budget, grants, "w3", "a", 0.0)
    assert grants.reserve("w4", "a", 0) is True
    paid(budget, grants, "w4", "a", 1.0)
    assert grants.reserve("w4", "a", 0) is False
    assert budget.exhausted


def test_what_can_never_fit_is_refused_at_once_and_the_cheap_goes_on():
    grants = BudgetLedger(budget := Budget(5.0))
    for expert, usd in (("dear", 3.0), ("cheap", 0.5)):
        assert grants.reserve("w1", expert, 0)
        paid(budget, grants, "w1", expert, usd)
    assert grants.reserve("w1", "cheap", 0) is True
    assert grants.reserve("w2", "dear", 0) is False
    assert budget.exhausted


def test_what_a_killed_worker_had_sent_stays_reserved():
    grants = BudgetLedger(budget := Budget(3.0))
    assert grants.reserve("w1", "a", 0)
    paid(budget, grants, "w1", "a", 1.0)
    assert grants.reserve("w1", "a", 0)
    grants.write_off("w1")
    assert grants.reserve("w2", "a", 0) is True
    paid(budget, grants, "w2", "a", 1.0)
    assert grants.reserve("w2", "a", 0) is False
    assert budget.spent == 2.0  # what is known; the third dollar may have gone as well


def test_a_killed_first_request_does_not_hold_up_the_others():
    grants = BudgetLedger(Budget(3.0))
    assert grants.reserve("w1", "a", 0)
    grants.write_off("w1")
    grants.write_off("stranger")  # had asked for nothing
    assert grants.reserve("w2", "b", 0) is True


def test_a_stopped_run_and_one_without_a_limit():
    grants = BudgetLedger(budget := Budget())
    assert all(grants.reserve(worker, "a", 0) for worker in range(100))
    budget.stop()
    assert grants.reserve(0, "a", 0) is False


@pytest.mark.parametrize("seed", range(10))
def test_no_order_of_events_passes_the_limit_but_by_one_request_dearer_than_all_before(seed):
    chance = random.Random(seed)  # noqa: S311 - no secret
    limit = chance.uniform(5, 50)
    prices = {name: chance.choice([0.0, 0.1, 0.5, 1.0, 3.0]) for name in "abcd"}
    grants = BudgetLedger(budget := Budget(limit))
    running = {worker: [] for worker in range(6)}
    of = {worker: chance.choice("abcd") for worker in running}
    refused, firsts, lost = set(), set(), 0.0
    for _ in range(1000):
        worker = chance.choice(list(running))
        if running[worker] and chance.random() < 0.5:
            running[worker].pop()
            budget.charge(of[worker], prices[of[worker]])
        elif chance.random() < 0.02:
            grants.write_off(worker)
            lost += len(running[worker]) * prices[of[worker]]
            running[worker] = []
        elif worker not in refused:
            answer = grants.reserve(worker, of[worker], len(running[worker]))
            if answer:
                firsts.add(of[worker])
                running[worker].append(1)
            elif answer is False and not running[worker]:
                refused.add(worker)
        sent = sum(len(runs) * prices[of[one]] for one, runs in running.items())
        assert budget.spent + lost + sent <= limit + max(prices[name] for name in firsts or "a")
        known = {name for name in firsts if budget.max_price(name) is not None}
        if known == firsts and not any(prices[name] for name in "abcd" if name not in firsts):
            assert budget.spent + lost <= limit + max(prices.values())
    waiting = [w for w in running if w not in refused and not running[w]]
    for worker in running:  # nobody waits for ever: when all have ended, each gets an answer
        grants.release(worker)
    assert all(grants.reserve(w, of[w], 0) is not None or grants.release(w) for w in waiting[:1])


def test_chunks_hold_each_prompt_once_and_are_of_nearly_one_length():
    for size in (1, 15, 16, 17, 1000, 5000):
        for workers in (1, 2, 7):
            chunks = ChunkQueue([size], workers)
            taken = []
            while (chunk := chunks.take(0)) is not None:
                taken.append(chunk.positions)
            assert [at for part in taken for at in part] == list(range(size))
            lengths = {len(part) for part in taken}
            assert max(lengths) - min(lengths) <= 1
            assert max(lengths) <= MAX_CHUNK_SIZE


def test_workers_go_first_to_experts_that_have_none_then_to_the_most_work():
    chunks = ChunkQueue([64, 640, 64], workers=6)
    order = [chunks.assign_worker() for _ in range(6)]
    assert set(order[:3]) == {0, 1, 2}
    assert ChunkQueue([], 4).assign_worker() is None
    chunks.clear(0)
    chunks.clear(1)
    chunks.clear(2)
    assert chunks.assign_worker() is None
    assert chunks.take(1) is None


def test_no_more_workers_start_than_there_are_chunks_and_those_too_many_are_known():
    chunks = ChunkQueue([20], workers=9)
    assert [chunks.assign_worker() for _ in range(3)] == [0, 0, None]
    chunks.mark_started(0)
    chunks.take(0)
    chunks.take(0)
    assert chunks.count_unclaimed(0) == -1  # the second comes for nothing
    chunks.release_worker(0)
    chunks.mark_started(0)
    chunks.release_worker(0)
    assert chunks.is_done(0)


def test_a_chunk_that_is_put_back_is_the_next():
    chunks = ChunkQueue([100], workers=2)
    first = chunks.take(0)
    first.positions = first.positions[3:]
    chunks.put_back(first)
    assert chunks.take(0) is first


@pytest.fixture
def begun():
    """Start a worker in this process, as one that got its measurer in parts."""

    def begin(measurer, prompts=PROMPTS, limit=None):
        worker = Worker(limit)
        packed = pickle.dumps(measurer)
        for start in range(0, len(packed), 50):
            worker.receive_bytes(packed[start : start + 50])
        assert worker.load_measurer().finished
        worker.start_chunk(prompts)
        return worker

    return begin


def reported(worker):
    """Fetch all that a worker reports of a chunk, and grant all that it asks for."""
    found, charged, asked, granted = [], [], 0, None
    while True:
        news = worker.next_update(granted)
        granted = True if news.asked else None
        asked += news.asked is not None
        found += news.found
        charged += news.charges
        if news.finished:
            return found, charged, asked, news.given_up


def collect(worker, found):
    """Fetch for ever, until an error ends it."""
    while True:
        found += worker.next_update(None).found


class Paid:
    """Costs a dollar a prompt; with `fails` it then raises that."""

    def __init__(self, fails=None):
        self.fails = fails

    def identify(self):
        return MeasurerIdentity(Expert("paid"), "paid")

    def measure(self, prompts, budget):
        for at, _ in enumerate(prompts):
            if not budget.allows("paid"):
                return
            yield at, Measurement(loss=float(at))
            budget.charge("paid", 1.0)
        if self.fails:
            raise self.fails


def test_a_worker_reports_all_that_it_found_and_spent(begun, ready):
    found, charged, asked, given_up = reported(begun(Paid(), limit=99.0))
    assert [at for at, _ in found] == list(range(10))
    assert charged == [("paid", 1.0)] * 10
    assert (asked, given_up) == (10, None)
    assert reported(begun(Paid()))[2] == 0  # without a limit there is nothing to ask
    many = [Prompt(str(i)) for i in range(2 * MAX_QUEUED)]
    assert len(reported(begun(ready(Expert("a")), many))[0]) == 2 * MAX_QUEUED


def test_a_worker_measures_chunk_after_chunk(begun, ready):
    worker = begun(ready(Expert("a")))
    assert len(reported(worker)[0]) == 10
    worker.begin(PROMPTS[:3])
    assert len(reported(worker)[0]) == 3


def test_a_refused_or_stopped_worker_ends(begun):
    worker = begun(Paid(), limit=1.0)
    assert worker.next_update(None).asked == ("paid", 0)
    assert worker.next_update(False).finished
    worker = begun(Paid(), limit=1.0)
    worker.stop()
    assert reported(worker)[0] in ([], reported(begun(Paid(), PROMPTS[:1]))[0])
    worker.begin(PROMPTS)
    assert reported(worker)[0] == []


def test_what_was_found_before_an_error_comes_first(begun):
    found, *_, given_up = reported(begun(Paid(MeasurementError("gone"))))
    assert (len(found), given_up) == (10, "gone")
    for error in (ZeroDivisionError, SystemExit):  # the second would end a thread without a word
        found = []
        with pytest.raises(error):
            collect(begun(Paid(error())), found)
        assert len(found) == 10


def test_a_broken_promise_is_told_as_locally(ready):
    worker = Worker(None)
    worker._measurer = ready(Expert("a"))
    worker._measurer.measure = lambda prompts, budget: iter(
        list(ready(Expert("a")).measure(prompts, budget)) * 2
    )
    worker.start_chunk(PROMPTS)
    with pytest.raises(InputError, match="each position once"):
        collect(worker, [])


def test_a_measurer_whose_module_is_absent_is_told():
    worker = Worker(None)
    worker.receive_bytes(b"cno_such_module\nThing\n.")
    with pytest.raises(MeasurementError, match="every machine"):
        worker.load_measurer()


def test_one_question_is_asked_at_a_time():
    desk, answers = ResultQueue(), []
    threads = [
        threading.Thread(target=lambda: answers.append(desk.request_budget("a", 0)), daemon=True)
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert desk.get().budget_request == ("a", 0)
        desk.answer_request(True)
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 5


def test_a_model_is_loaded_once_for_all_chunks(bert, torch):  # noqa: ARG001 - needed to run
    loads = []
    measurer = MaskedLM.from_pretrained(bert)
    load = measurer._load
    measurer._load = lambda: loads.append(1) or load()
    resident = measurer.with_cached_model()
    texts = [Prompt("the cat sat on the mat"), Prompt("a dog ran and sat")]
    both = [dict(resident.measure([text], Budget()))[0] for text in texts]
    assert len(loads) == 1
    whole = dict(MaskedLM.from_pretrained(bert).measure(texts, Budget()))
    assert [one.loss for one in both] == pytest.approx([whole[at].loss for at in (0, 1)], rel=1e-5)
