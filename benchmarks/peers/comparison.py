"""Runs methods and peers on tasks, goes on where it was stopped, and says which peers failed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import predictions as files
from children import PeerFailedError, run_peer
from environments import Environment
from methods import NO_FORECAST, PEERS
from tasks import write_task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from methods import LocalMethod, PeerPackage
    from tasks import Task
    from tqdm import tqdm

REQUIREMENTS = Path(__file__).parent / "requirements"

SPEED_SET = "coderouter_id"  # eight experts; peers for two experts take the pair

N_DECISIONS = 100


@dataclass(frozen=True)
class Comparison:
    """One run of the command: the splits, where files are, and the bar that shows progress."""

    tasks: Sequence[Task]
    out: Path
    progress: tqdm[None]
    keep: bool = False
    speed: bool = False

    @property
    def encoder(self) -> Path:
        """The folder of the common encoder as ONNX."""
        return self.out / "encoder" / "onnx"

    def folder(self, name: str) -> Path:
        """Return the folder with what a method predicted."""
        return self.out / "results" / name

    def run_method(self, name: str, method: LocalMethod, tasks: Sequence[Task]) -> None:
        """Run a method of this process on the tasks that it has no prediction for."""
        self.progress.set_postfix_str(name)
        for task in tasks:
            if not files.has_prediction(self.folder(name), task):
                start = time.process_time()
                found = method(task.fold, task.seed)
                seconds = time.process_time() - start
                forecasts = name not in NO_FORECAST
                prediction = files.Prediction(found.losses, found.costs, forecasts, seconds)
                files.write_prediction(self.folder(name), task, prediction)
            self.progress.update()

    def run_methods(self, methods: Mapping[str, LocalMethod]) -> None:
        """Run Tryage, baselines and reimplementations, set by set."""
        for set_name in dict.fromkeys(task.outcomes.name for task in self.tasks):
            tasks = [task for task in self.tasks if task.outcomes.name == set_name]
            for name, method in methods.items():
                self.run_method(name, method, tasks)

    def run_packages(self, names: Sequence[str]) -> dict[str, str]:
        """Run the peers, environment by environment; return why some of them failed."""
        failures = {}
        for required in dict.fromkeys(PEERS[name].environment for name in names):
            environment = Environment(
                self.out / "environments" / required, REQUIREMENTS / f"{required}.txt"
            )
            for name in names:
                if PEERS[name].environment == required:
                    try:
                        self.run_package(name, environment)
                    except (PeerFailedError, OSError) as error:
                        failures[name] = str(error)
                        print(f"{name} failed: {error}", file=sys.stderr)
            if not self.keep:
                environment.delete()
        return failures

    def run_package(self, name: str, environment: Environment) -> None:
        """Run a peer in its environment on what it has no prediction for; measure its decisions."""
        peer, folder = PEERS[name], self.folder(name)
        self.progress.set_postfix_str(name)
        tasks = [task for task in self.tasks if fits(peer, task)]
        missing = [task for task in tasks if peer.learns and not files.has_prediction(folder, task)]
        self.progress.update(len(tasks) - len(missing))
        if missing:
            environment.make()
            paths = [write_task(task, self.out / "tasks") for task in missing]
            run_peer(environment, peer, paths, folder, self.encoder, self.progress.update)
        if self.speed and tasks:
            self.measure_package(peer, environment, speed_task(tasks), folder)

    def measure_package(
        self, peer: PeerPackage, environment: Environment, task: Task, folder: Path
    ) -> None:
        """Measure the decisions of a peer, its import and its size, unless that was done."""
        path = folder / "speed.json"
        if path.exists() and "installed_mb" in files.read_facts(path):
            return
        environment.make()
        paths = [write_task(task, self.out / "tasks")]
        run_peer(environment, peer, paths, folder, self.encoder, n_decisions=N_DECISIONS)
        sizes = {
            "import_seconds": environment.import_seconds(peer.module),
            "installed_mb": environment.installed_mb(),
        }
        files.write_facts(path, {**files.read_facts(path), **sizes})


def fits(peer: PeerPackage, task: Task) -> bool:
    """Tell whether a peer can choose between as many experts as the set has."""
    return peer.n_experts in (None, len(task.outcomes.table.experts))


def speed_task(tasks: Sequence[Task]) -> Task:
    """Return the split that decisions are measured on: of `SPEED_SET` if it is there."""
    return next((task for task in tasks if task.outcomes.name == SPEED_SET), tasks[0])
