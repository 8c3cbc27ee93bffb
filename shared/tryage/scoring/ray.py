"""Measuring on Ray: several workers per expert, on this machine or on a cluster.

Workers measure, and this process alone writes. So a cluster needs no shared folder, the folder's
lock holds for all of them, and a worker that was taken for dead cannot write a row twice. A row is
on disk here as soon as it arrives, so memory does not grow with the table.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.chat.failures import told
from tryage.errors import InputError
from tryage.experts.values import number
from tryage.extras import require
from tryage.scoring.ray_run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.scoring.budget import Budget
    from tryage.scoring.tasks import Outcome, Task

OBJECTS = 80 << 20  # bytes of Ray's object store, near the least: only long answers use it
QUIET = {"log_to_driver": False, "logging_level": logging.CRITICAL}
LOOPBACK = "127.0.0.2"  # for 127.0.0.1 Ray would take the address that other machines reach
TRACKING = "RAY_USAGE_STATS_ENABLED"


@dataclass(frozen=True)
class Ray:
    """An engine for `score` that measures in many processes.

    Without an `address`, Ray is started on this machine and ends with the run: without dashboard
    and usage statistics, behind a token that it makes itself. With one, or with RAY_ADDRESS set, it
    connects to that cluster. If Ray runs in this process already, that is used.

    Args:
        workers: How many processes measure, each with one expert in memory; as many as there are
            processors for by default.
        address: "auto", "HOST:PORT" or "ray://HOST:PORT" of a cluster.
        num_cpus: Processors that a worker takes; fractions share one.
        num_gpus: GPUs that a worker takes.
        attempts: How many workers in a row may be lost over one chunk without a single result
            before the expert is given up.

    Raises:
        InputError: a number is out of range.
    """

    workers: int | None = None
    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    attempts: int = 3

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("num_cpus", "num_gpus"):
            number(name, getattr(self, name))
        for name in ("workers", "attempts"):
            if (value := getattr(self, name)) is not None and number(name, value, 1) % 1:
                raise InputError(f"{name} must be a whole number, got {value}.")

    def __call__(self, tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
        """Measure, write each row at once, and yield what became of each prompt.

        Raises:
            InputError: a measurer cannot be sent to a worker, no cluster answers, or none of its
                machines has room for a worker.
            MissingExtraError: Ray is not installed.
        """
        require("ray", "ray")
        packed = [_packed(task) for task in tasks]
        if not packed or budget.stopped:
            return
        with self.connected() as workers:
            needs = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
            run = Run(tasks, packed, budget, workers, needs=needs, attempts=self.attempts)
            yield from run.outcomes()

    @contextmanager
    def connected(self) -> Iterator[int]:
        """Start Ray or connect to it, and yield the number of workers; several runs may share it.

        Raises:
            InputError: no cluster answers, or none of its machines has room for a worker.
        """
        import ray

        if ray.is_initialized():
            yield self._room()
            return
        address = self._cluster()
        try:
            with _untracked(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # Ray's advice to its own users
                ray.init(address or "local", **QUIET, **({} if address else self._own()))
        except Exception as error:  # Ray raises bare ones as well
            ray.shutdown()
            raise InputError(
                f"Ray cannot be reached at {address or 'this machine'}: {told(error)} Start a "
                "cluster with `ray start --head` and give the address that it tells."
            ) from error
        try:
            yield self._room()
        finally:
            ray.shutdown()

    def _cluster(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS")

    def _own(self) -> dict[str, Any]:
        """Return how Ray starts on this machine."""
        own: dict[str, Any] = {"include_dashboard": False}
        if sys.platform == "linux":  # elsewhere Ray keeps to the loopback interface by itself
            own["_node_ip_address"] = LOOPBACK
        if self.workers is not None:  # more than there are processors, if that is wanted
            own["num_cpus"] = math.ceil(self.workers * self.num_cpus)
        return own | {"object_store_memory": OBJECTS}

    def _room(self) -> int:
        """Return the number of workers, and check that a machine has room for one."""
        import ray

        needs = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if self.workers is not None and self._cluster():
            return self.workers  # an autoscaler may add such a machine
        fitting = [
            min(int(machine.get(name, 0.0) // need) for name, need in needs.items() if need)
            if any(needs.values())
            else int(machine.get("CPU", 1.0))
            for machine in machines
        ]
        if not sum(fitting):
            raise InputError(
                f"A worker needs {self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs, and no machine "
                "of the cluster has them. Ask for less."
            )
        return self.workers or sum(fitting)


def _packed(task: Task) -> bytes:
    """Return a measurer as it travels.

    Raises:
        InputError: it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(task.measurer)
    except Exception as error:  # pickling raises anything
        raise InputError(
            f"The measurer of {task.measurer.identify().expert.name} cannot be sent to a worker: "
            f"{told(error)} Let it build its client when it is first asked, in the worker, or use "
            "the local engine."
        ) from error
    return packed


@contextmanager
def _untracked() -> Iterator[None]:
    """Let the Ray that starts here report to nobody."""
    before = os.environ.get(TRACKING)
    os.environ[TRACKING] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TRACKING]
        else:
            os.environ[TRACKING] = before
