"""The engine that measures on Ray: many processes, on this machine or on a cluster.

Workers measure, and only this process writes. So a cluster needs no shared folder, one lock of the
folder is enough, and a worker that only seemed to be dead cannot write a row twice. Each row is
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

from tryage.core.redaction import describe_error
from tryage.core.validation import check_integer, check_number, require_extra
from tryage.errors import InputError
from tryage.scoring.ray_run import RayRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tryage.scoring.measurement import Budget
    from tryage.scoring.run import Outcome, Task

# Bytes of Ray's object store, near its minimum: only long answers use it.
OBJECT_STORE_BYTES = 80 << 20

QUIET_OPTIONS = {"log_to_driver": False, "logging_level": logging.CRITICAL}

LOOPBACK = "127.0.0.2"  # for 127.0.0.1 Ray would use the address that other machines can reach

USAGE_STATS_VARIABLE = "RAY_USAGE_STATS_ENABLED"


@dataclass(frozen=True)
class Ray:
    """An engine for `score` that measures in many processes.

    Without an `address`, Ray is started on this machine and ends with the run: without dashboard
    and usage statistics, and protected by a token that Ray generates. With an `address`, or with
    RAY_ADDRESS set, the engine connects to that cluster. If Ray runs in this process already, the
    engine uses it.

    Args:
        workers: How many processes measure, each with one expert in memory; by default as many as
            there are processors for.
        address: "auto", "HOST:PORT" or "ray://HOST:PORT" of a cluster.
        num_cpus: Processors that a worker takes; with a fraction, several workers share one.
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
            check_number(name, getattr(self, name))
        for name in ("workers", "attempts"):
            if (value := getattr(self, name)) is not None:
                check_integer(name, value, 1)

    def __call__(self, tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
        """Measure, write each row at once, and yield the outcome of each prompt.

        Raises:
            InputError: a measurer cannot be sent to a worker, no cluster answers, or no machine of
                the cluster has room for a worker.
            MissingExtraError: Ray is not installed.
        """
        require_extra("ray", "ray")
        pickled_measurers = [_pickle_measurer(task) for task in tasks]
        if not pickled_measurers or budget.stopped:
            return
        with self.connect() as n_workers:
            resources = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
            run = RayRun(
                tasks,
                pickled_measurers,
                budget,
                n_workers,
                resources=resources,
                attempts=self.attempts,
            )
            yield from run.outcomes()

    @contextmanager
    def connect(self) -> Iterator[int]:
        """Start Ray or connect to it, and yield the number of workers; several runs may share it.

        Raises:
            InputError: no cluster answers, or no machine of the cluster has room for a worker.
        """
        import ray

        if ray.is_initialized():
            yield self._count_workers()
            return
        try:
            self._init_ray()
            yield self._count_workers()
        finally:
            ray.shutdown()

    def _init_ray(self) -> None:
        import ray

        address = self._cluster_address()
        options = {} if address else self._local_cluster_options()
        try:
            with _without_usage_stats(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # advice for direct users of Ray
                ray.init(address or "local", **QUIET_OPTIONS, **options)
        except Exception as error:  # Ray raises bare exceptions, too
            raise InputError(
                f"Ray cannot be reached at {address or 'this machine'}: {describe_error(error)} "
                "Start a cluster with `ray start --head` and give the address that it prints."
            ) from error

    def _cluster_address(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS")

    def _local_cluster_options(self) -> dict[str, Any]:
        """Return how Ray starts on this machine."""
        options: dict[str, Any] = {"include_dashboard": False}
        if sys.platform == "linux":  # elsewhere Ray uses the loopback interface by default
            options["_node_ip_address"] = LOOPBACK
        if self.workers is not None:  # there may be more workers than processors
            options["num_cpus"] = math.ceil(self.workers * self.num_cpus)
        return options | {"object_store_memory": OBJECT_STORE_BYTES}

    def _count_workers(self) -> int:
        """Return the number of workers, and check that a machine has room for one."""
        import ray

        if self.workers is not None and self._cluster_address():
            return self.workers  # an autoscaler may add a machine with room
        capacity = sum(self._capacity(node["Resources"]) for node in ray.nodes() if node["Alive"])
        if not capacity:
            raise InputError(
                f"A worker needs {self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs, and no machine "
                "of the cluster has them. Ask for less."
            )
        return self.workers or capacity

    def _capacity(self, machine: Mapping[str, float]) -> int:
        """Return how many workers a machine has room for."""
        needs = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        if not any(needs.values()):
            return int(machine.get("CPU", 1.0))
        return min(int(machine.get(name, 0.0) // need) for name, need in needs.items() if need)


def _pickle_measurer(task: Task) -> bytes:
    """Return the measurer of a task as it is sent to workers.

    Raises:
        InputError: it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(task.measurer)
    except Exception as error:  # pickling raises anything
        raise InputError(
            f"The measurer of {task.measurer.identify().expert.name} cannot be sent to a worker: "
            f"{describe_error(error)} Let it build its client in the worker, at its first request, "
            "or use the local engine."
        ) from error
    return data


@contextmanager
def _without_usage_stats() -> Iterator[None]:
    """Let the Ray that starts here send no usage statistics."""
    previous_value = os.environ.get(USAGE_STATS_VARIABLE)
    os.environ[USAGE_STATS_VARIABLE] = "0"
    try:
        yield
    finally:
        if previous_value is None:
            del os.environ[USAGE_STATS_VARIABLE]
        else:
            os.environ[USAGE_STATS_VARIABLE] = previous_value
