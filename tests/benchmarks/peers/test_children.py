"""Peers as child processes: what comes back, what a failure says, and who is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

import children  # noqa: E402 - after the path is set
from children import PeerFailedError, run_peer  # noqa: E402 - the same
from environments import Environment  # noqa: E402 - the same
from methods import PeerPackage  # noqa: E402 - the same
from predictions import read_facts, read_prediction  # noqa: E402 - the same
from tasks import OutcomeSet, Task, write_task  # noqa: E402 - the same

from tryage.scoring.qtable import QTable  # noqa: E402 - the same

TOY = f"""
import sys
sys.path.insert(0, {str(PEERS / "adapters")!r})
import numpy as np
from peer import Peer, main, mark_choices

class Toy(Peer):
    forecasts = False

    def fit(self, training):
        assert training.seed < 2, "this peer knows two seeds"
        self.training = training

    def predict(self, prompts, embeddings):
        return mark_choices([1] * len(prompts), self.training)

    def decide(self, prompt):
        return 1

main({{"toy": Toy}})
"""

PEER = PeerPackage("toy", "P", "toy", "toy")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    (tmp_path / "toy_adapter.py").write_text(TOY, "utf-8")
    monkeypatch.setattr(children, "ADAPTERS", tmp_path)
    found = Environment(tmp_path / "environment", tmp_path / "requirements.txt")
    found.python = Path(sys.executable)
    return found


def make_task(seed: int) -> Task:
    prompts = tuple(f"prompt {i}" for i in range(20))
    losses = np.tile(np.float32([0.2, 0.6]), (20, 1))
    table = QTable(prompts, ("good", "bad"), losses)
    return Task(OutcomeSet("toy", table, np.zeros((20, 4), np.float32)), seed)


def test_a_peer_leaves_a_prediction_per_task_and_tells_of_each(
    environment: Environment, tmp_path: Path
) -> None:
    tasks = [make_task(0), make_task(1)]
    paths = [write_task(task, tmp_path / "tasks") for task in tasks]
    done: list[int] = []
    run_peer(environment, PEER, paths, tmp_path / "out", tmp_path, lambda: done.append(1))
    assert len(done) == 2
    for task in tasks:
        found = read_prediction(tmp_path / "out", task)
        assert found.losses.shape == (4, 2)
        assert (found.losses.argmin(axis=1) == 1).all()
        assert not found.forecasts


def test_a_peer_that_fails_keeps_what_was_done_and_says_why(
    environment: Environment, tmp_path: Path
) -> None:
    paths = [write_task(make_task(seed), tmp_path / "tasks") for seed in (1, 2)]
    with pytest.raises(PeerFailedError, match=r"(?s)toy ended with 1\..*this peer knows two seeds"):
        run_peer(environment, PEER, paths, tmp_path / "out", tmp_path)
    assert (tmp_path / "out" / "toy-1.json").exists()
    assert not (tmp_path / "out" / "toy-2.json").exists()


def test_decisions_are_measured_in_place_of_predicting(
    environment: Environment, tmp_path: Path
) -> None:
    path = write_task(make_task(0), tmp_path / "tasks")
    run_peer(environment, PEER, [path], tmp_path / "out", tmp_path, n_decisions=5)
    facts = read_facts(tmp_path / "out" / "speed.json")
    assert facts["p50_ms"] <= facts["p99_ms"]
    assert set(facts) == {
        *("p50_ms", "p99_ms", "per_second", "cold_seconds", "resident_mb", "experts"),
    }
    assert facts["experts"] == 2
    assert facts["resident_mb"] > 10
    assert not (tmp_path / "out" / "toy-0.json").exists()
