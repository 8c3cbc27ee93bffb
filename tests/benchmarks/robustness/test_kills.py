"""Kills find what is lost, doubled or mixed, and find nothing in what we write."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"
MODULES = (
    *("forks", "hub_process", "kill_files", "kill_measurements", "kill_operation"),
    *("kill_traffic", "kills"),
)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks"),
    pytest.mark.skipif(not ROBUSTNESS.is_dir(), reason="the benchmarks are not part of this copy"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def kills():
    for package in ("pyarrow", "sqlalchemy", "langchain_core", "llama_index.core"):
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROBUSTNESS))
        yield importlib.import_module("kills")
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def careless(kills):  # noqa: ARG001 - which makes the module importable
    """An operation that writes a file in two parts, and its promise before the second."""
    operation = importlib.import_module("kill_operation")

    class Careless(operation.Operation):
        name = "careless"

        def run(self, folder, report):
            (folder / "first").write_text("new")
            report("written")
            time.sleep(0.05)
            (folder / "second").write_text("new")

        def check(self, folder):
            files = [(folder / name).exists() for name in ("first", "second")]
            operation.expect(files[0] or not self.lines, "what was promised is lost")
            operation.expect(files[0] == files[1], "a mixture")
            return "old" if not files[0] else "new"

        def finish(self, folder):
            pass

    return Careless()


def test_what_is_not_atomic_is_found(kills, careless):
    result = kills.measure(careless, 5, seed=0, progress=False)
    assert result.kills == 5
    assert any("a mixture" in fault for fault in result.faults)
    assert result.row().startswith("| careless |")


@pytest.mark.parametrize(("step", "n_files"), [(1, 0), (2, 1), (3, 2)])
def test_a_kill_comes_before_each_step_and_after_the_last_one(careless, tmp_path, step, n_files):
    forks = importlib.import_module("forks")
    run = functools.partial(careless.run, tmp_path)
    child = forks.Child(lambda report: forks.count_steps(run, report, step))
    assert child.wait()[1] == -signal.SIGKILL
    assert len([*tmp_path.iterdir()]) == n_files


def test_an_operation_that_fails_without_a_kill_is_an_error(kills, careless):
    careless.run = lambda folder, _: (folder / "missing").read_text()
    with pytest.raises(Exception, match="FileNotFoundError"):
        kills.measure(careless, 1, seed=0, progress=False)


@pytest.mark.parametrize("name", ["score", "feedback", "export"])
def test_what_we_write_survives_kills(kills, name):
    result = kills.measure(kills.OPERATIONS[name](), 2, seed=1, progress=False)
    assert (result.kills, result.faults) == (2, [])


def test_every_operation_that_may_be_killed_is_there(kills):
    required = {"save", "train", "score", "onboard", "feedback", "sync", "push", "export"}
    required |= {"learn", "budget", "langchain", "llamaindex", "guarantee", "prune"}
    assert set(kills.OPERATIONS) == required
