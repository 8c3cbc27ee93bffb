"""One worker, run in this process: what it reports, and how it asks for budget."""

from __future__ import annotations

import pickle
import threading

import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError
from tryage.scoring.measurement import Measurement, MeasurerIdentity, Prompt
from tryage.scoring.ray_worker import MAX_QUEUED, ResultQueue, Worker

PROMPTS = [Prompt(f"prompt {'x' * i}") for i in range(10)]


def start_worker(measurer, prompts=PROMPTS, limit=None):
    """Start a worker on a chunk; it gets its measurer in parts, as from another process."""
    worker = Worker(limit)
    pickled = pickle.dumps(measurer)
    for start in range(0, len(pickled), 50):
        worker.receive_bytes(pickled[start : start + 50])
    assert worker.load_measurer().finished
    worker.start_chunk(prompts)
    return worker


def drain(worker):
    """Grant all requests; return measurements, charges, the number of requests, the failure."""
    measurements, charges, requests, granted = [], [], 0, None
    while True:
        update = worker.next_update(granted)
        granted = True if update.budget_request else None
        requests += update.budget_request is not None
        measurements += update.measurements
        charges += update.charges
        if update.finished:
            return measurements, charges, requests, update.failure


def collect(worker, measurements):
    """Add all measurements to a list, until an error ends it."""
    while True:
        measurements += worker.next_update(None).measurements


class Paid:
    """Costs a dollar per prompt, and raises the error `fails` after the last one."""

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


class Doubled(Paid):
    """Yields every prompt twice."""

    def measure(self, prompts, budget):
        yield from [*super().measure(prompts, budget)] * 2


def test_a_worker_reports_all_measurements_and_costs(length_measurer):
    measurements, charges, requests, failure = drain(start_worker(Paid(), limit=99.0))
    assert [at for at, _ in measurements] == list(range(10))
    assert charges == [("paid", 1.0)] * 10
    assert (requests, failure) == (10, None)
    assert drain(start_worker(Paid()))[2] == 0  # without a limit it does not ask
    many = [Prompt(str(i)) for i in range(2 * MAX_QUEUED)]
    assert len(drain(start_worker(length_measurer(Expert("a")), many))[0]) == 2 * MAX_QUEUED


def test_a_worker_measures_chunk_after_chunk(length_measurer):
    worker = start_worker(length_measurer(Expert("a")))
    assert len(drain(worker)[0]) == 10
    worker.start_chunk(PROMPTS[:3])
    assert len(drain(worker)[0]) == 3


def test_a_worker_ends_when_its_request_is_rejected_or_the_run_stops():
    worker = start_worker(Paid(), limit=1.0)
    assert worker.next_update(None).budget_request == ("paid", 0)
    assert worker.next_update(False).finished
    worker = start_worker(Paid(), limit=1.0)
    worker.stop()
    assert drain(worker)[0] in ([], drain(start_worker(Paid(), PROMPTS[:1]))[0])
    worker.start_chunk(PROMPTS)
    assert drain(worker)[0] == []


def test_measurements_before_an_error_are_reported_first():
    measurements, *_, failure = drain(start_worker(Paid(MeasurementError("gone"))))
    assert (len(measurements), failure) == (10, "gone")
    for error in (ZeroDivisionError, SystemExit):  # SystemExit would end a thread silently
        measurements = []
        with pytest.raises(error):
            collect(start_worker(Paid(error())), measurements)
        assert len(measurements) == 10


def test_a_measurer_that_breaks_the_protocol_is_rejected():
    with pytest.raises(InputError, match="each position once"):
        collect(start_worker(Doubled()), [])


def test_a_measurer_whose_module_is_absent_is_rejected():
    worker = Worker(None)
    worker.receive_bytes(b"cno_such_module\nThing\n.")
    with pytest.raises(MeasurementError, match="every machine"):
        worker.load_measurer()


def test_threads_ask_for_budget_one_at_a_time():
    queue, answers = ResultQueue(), []
    threads = [
        threading.Thread(target=lambda: answers.append(queue.request_budget("a", 0)), daemon=True)
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert queue.get().budget_request == ("a", 0)
        queue.answer_request(True)
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 5
