"""The engine on Ray: its numbers, how it reaches a cluster, and how many workers fit."""

from __future__ import annotations

import os
import threading

import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError
from tryage.scoring.measurement import Budget, MeasurerIdentity, Prompt
from tryage.scoring.ray_engine import USAGE_STATS_VARIABLE, Ray
from tryage.scoring.run import Task

ray = pytest.importorskip("ray")


@pytest.fixture
def machines(monkeypatch):
    """Pretend that a cluster of these machines runs already; returns the list to fill."""
    resources = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Alive": alive, "Resources": own} for alive, own in resources]
    )
    return resources


def count_workers(engine):
    with engine.connect() as n_workers:
        return n_workers


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": 1.5}, {"num_cpus": -1}, {"attempts": 0}]
)
def test_wrong_numbers_are_rejected(wrong):
    with pytest.raises(InputError):
        Ray(**wrong)


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({}, 6),
        ({"num_cpus": 2}, 3),
        ({"num_cpus": 0.5}, 12),
        ({"num_gpus": 0.25}, 4),
        ({"num_cpus": 0, "num_gpus": 1}, 1),
        ({"num_cpus": 0}, 6),
        ({"workers": 2}, 2),
    ],
)
def test_there_are_as_many_workers_as_the_living_machines_have_room_for(machines, needs, expected):
    machines += [(True, {"CPU": 4.0, "GPU": 1.0}), (True, {"CPU": 2.0}), (False, {"CPU": 64.0})]
    assert count_workers(Ray(**needs)) == expected


def test_a_worker_that_fits_on_no_machine_is_rejected_unless_the_cluster_may_grow(machines):
    machines.append((True, {"CPU": 4.0}))
    with pytest.raises(InputError, match="8 CPUs and 0 GPUs, and no machine"):
        count_workers(Ray(workers=3, num_cpus=8))
    assert count_workers(Ray(workers=3, num_cpus=8, address="auto")) == 3


def test_a_cluster_that_does_not_answer_is_an_input_error_and_ray_is_shut_down(monkeypatch):
    events = []

    def init(address, **options):
        events.append((address, os.environ[USAGE_STATS_VARIABLE]))
        raise ConnectionError(f"no route, {sorted(options)}")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(USAGE_STATS_VARIABLE, raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: events.append("shutdown"))
    with pytest.raises(InputError, match="cannot be reached at head:6379"):
        count_workers(Ray(address="head:6379"))
    with pytest.raises(InputError, match=r"cannot be reached at this machine.*include_dashboard"):
        count_workers(Ray())
    assert events == [("head:6379", "0"), "shutdown", ("local", "0"), "shutdown"]
    assert USAGE_STATS_VARIABLE not in os.environ


class Unpicklable:
    def __init__(self):
        self.lock = threading.Lock()

    def identify(self):
        return MeasurerIdentity(Expert("with-a-lock"), "length")


def test_a_measurer_that_cannot_be_pickled_is_named_before_ray_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    task = Task(Unpicklable(), [Prompt("p")], tmp_path, 9)
    with pytest.raises(InputError, match=r"with-a-lock cannot be sent to a worker.*lock"):
        list(Ray()([task], Budget()))


def test_without_tasks_or_after_a_stop_ray_does_not_start(monkeypatch, length_measurer, tmp_path):
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    stopped = Budget()
    stopped.stop()
    task = Task(length_measurer(Expert("a")), [Prompt("p")], tmp_path, 9)
    assert [*Ray()([], Budget()), *Ray()([task], stopped)] == []
