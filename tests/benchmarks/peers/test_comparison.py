"""A run of the comparison: it goes on where it was stopped, and a failing peer stops no other."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

import comparison  # noqa: E402 - after the path is set
from children import PeerFailedError  # noqa: E402 - the same
from comparison import Comparison, fits  # noqa: E402 - the same
from environments import Environment  # noqa: E402 - the same
from methods import PEERS as PACKAGES  # noqa: E402 - the same
from predictions import Prediction, read_prediction, write_prediction  # noqa: E402 - the same
from tasks import OutcomeSet, Task  # noqa: E402 - the same
from tqdm import tqdm  # noqa: E402 - the same

from tryage.learning.evaluation.splits import Fold, MethodPrediction  # noqa: E402 - the same
from tryage.scoring.qtable import QTable  # noqa: E402 - the same


def make_comparison(tmp_path: Path, n_seeds: int = 2, n_experts: int = 3) -> Comparison:
    prompts = tuple(f"prompt {i}" for i in range(20))
    names = tuple(f"expert {i}" for i in range(n_experts))
    table = QTable(prompts, names, np.zeros((20, n_experts), np.float32))
    outcomes = OutcomeSet("toy", table, np.zeros((20, 4), np.float32))
    tasks = [Task(outcomes, seed) for seed in range(n_seeds)]
    return Comparison(tasks, tmp_path, tqdm(disable=True))


def test_what_was_predicted_is_not_run_again_and_the_seed_reaches_the_method(
    tmp_path: Path,
) -> None:
    seeds: list[int] = []

    def method(fold: Fold, seed: int) -> MethodPrediction:
        seeds.append(seed)
        return MethodPrediction(np.full(fold.test.shape, 0.5, np.float32))

    make_comparison(tmp_path, n_seeds=1).run_methods({"knn": method})
    make_comparison(tmp_path, n_seeds=2).run_methods({"knn": method})
    assert seeds == [0, 1]


def test_the_best_single_expert_forecasts_nothing(tmp_path: Path) -> None:
    run = make_comparison(tmp_path, n_seeds=1)

    def method(fold: Fold, seed: int) -> MethodPrediction:
        del seed
        return MethodPrediction(np.full(fold.test.shape, 0.5, np.float32))

    run.run_methods({"best_single": method, "knn": method})
    assert not read_prediction(run.folder("best_single"), run.tasks[0]).forecasts
    assert read_prediction(run.folder("knn"), run.tasks[0]).forecasts


def test_a_peer_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_peer(environment: Environment, *_: object) -> None:
        if environment.folder.name == "argrouter":
            raise PeerFailedError("argrouter ended with 1")
        for task in run.tasks:
            losses = np.zeros((4, 3), np.float32)
            write_prediction(run.folder("paretobandit"), task, Prediction(losses, None, True, 0.0))

    monkeypatch.setattr(comparison, "run_peer", run_peer)
    monkeypatch.setattr(Environment, "make", lambda _: None)
    run = make_comparison(tmp_path)
    assert run.run_packages(["argrouter", "paretobandit"]) == {
        "argrouter": "argrouter ended with 1"
    }
    assert read_prediction(run.folder("paretobandit"), run.tasks[1]).losses.shape == (4, 3)


def test_an_environment_is_deleted_after_use_unless_it_is_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(comparison, "run_peer", lambda *_, **__: None)
    monkeypatch.setattr(Environment, "make", lambda _: None)
    monkeypatch.setattr(Environment, "delete", lambda self: deleted.append(self.folder.name))
    run = make_comparison(tmp_path)
    run.run_packages(["argrouter"])
    assert deleted == ["argrouter"]
    Comparison(run.tasks, run.out, run.progress, keep=True).run_packages(["paretobandit"])
    assert deleted == ["argrouter"]


@pytest.mark.parametrize(("n_experts", "fitting"), [(2, True), (3, False)])
def test_routellm_is_run_only_on_pairs(tmp_path: Path, n_experts: int, fitting: bool) -> None:
    task = make_comparison(tmp_path, n_experts=n_experts).tasks[0]
    assert fits(PACKAGES["routellm_mf"], task) is fitting
    assert fits(PACKAGES["argrouter"], task)
