"""The figures of the comparison against cases that are worked by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

from peer_figures import set_figures  # noqa: E402 - after the path is set
from predictions import Prediction, write_prediction  # noqa: E402 - the same
from tasks import OutcomeSet, Task  # noqa: E402 - the same

from tryage.scoring.qtable import QTable  # noqa: E402 - the same

N = 200


def make_tasks(*, costs: bool = False) -> list[Task]:
    """Return two seeds of a set of which "a" answers seven tenths of the prompts, "b" half."""
    row = np.arange(N)
    losses = np.column_stack([row % 10 >= 7, (row % 10 < 7) & (row % 5 != 0)]).astype(np.float32)
    prices = np.tile(np.float32([1.0, 0.25]), (N, 1)) if costs else None
    table = QTable(tuple(f"prompt {i}" for i in range(N)), ("a", "b"), losses, costs=prices)
    outcomes = OutcomeSet("toy", table, np.eye(N, dtype=np.float32))
    return [Task(outcomes, seed) for seed in (0, 1)]


def write_all(tasks: list[Task], folder: Path, **predicted: str) -> None:
    """Write predictions: of the truth, of the expert "a", of "b", or of nothing ("tie")."""
    for task in tasks:
        for one in [task, *task.inner_tasks()]:
            truth = one.outcomes.table.losses[one.rows[1]]
            kinds = {
                "truth": truth,
                "nearly": truth + np.float32([0.0, 0.1]),  # "b" seems a little worse than it is
                "a": np.tile(np.float32([0, 1]), (len(truth), 1)),
                "b": np.tile(np.float32([1, 0]), (len(truth), 1)),
                "tie": np.full_like(truth, 0.5),
            }
            for name, kind in predicted.items():
                prediction = Prediction(kinds[kind], None, True, 2.0)
                write_prediction(folder / name, one, prediction)


def test_leads_are_over_tryage_and_the_oracle_closes_the_whole_gap(tmp_path: Path) -> None:
    tasks = make_tasks()
    write_all(tasks, tmp_path, tryage="truth", best_single="a", oracle="truth", random="tie")
    found = set_figures(tasks, ["tryage", "best_single", "oracle", "random"], tmp_path)
    assert found is not None
    assert found.scores["tryage"].value == 1.0
    assert found.gap_closed["tryage"].value == pytest.approx(1.0)
    single = 1 - np.mean([t.outcomes.table.losses[t.rows[1], 0].mean() for t in tasks])
    assert found.leads["best_single"].value == pytest.approx(single - 1)
    assert found.leads["best_single"].high < 0
    tied = 1 - np.mean([t.outcomes.table.losses[t.rows[1]].mean() for t in tasks])
    assert found.leads["random"].value == pytest.approx(tied - 1)  # equal predictions share


def test_a_method_that_lacks_a_seed_is_left_out(tmp_path: Path) -> None:
    tasks = make_tasks()
    write_all(tasks, tmp_path, tryage="truth")
    write_all(tasks[:1], tmp_path, knn="a")
    found = set_figures(tasks, ["tryage", "knn"], tmp_path)
    assert found is not None
    assert list(found.scores) == ["tryage"]


def test_without_tryage_on_all_seeds_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    tasks = make_tasks()
    write_all(tasks[:1], tmp_path, tryage="truth")
    assert set_figures(tasks, ["tryage"], tmp_path) is None


def test_the_truth_recovers_more_of_the_gap_of_a_pair_than_a_tie(tmp_path: Path) -> None:
    tasks = make_tasks()
    write_all(tasks, tmp_path, tryage="truth", random="tie")
    found = set_figures(tasks, ["tryage", "random"], tmp_path)
    assert found is not None
    assert found.apgr["random"] == pytest.approx(0.5)
    assert found.apgr["tryage"] > 1.0


def test_cost_at_parity_is_the_share_of_the_best_single_experts_cost(tmp_path: Path) -> None:
    tasks = make_tasks(costs=True)
    write_all(tasks, tmp_path, tryage="nearly", best_single="a")
    found = set_figures(tasks, ["tryage", "best_single"], tmp_path)
    assert found is not None
    assert found.parity["best_single"].relative_cost.value == pytest.approx(1.0)
    # A weight is chosen at which "b" is asked wherever it is right: half of the prompts.
    tested = np.concatenate([task.outcomes.table.losses[task.rows[1], 1] for task in tasks])
    assert found.parity["tryage"].relative_cost.value == pytest.approx(
        np.mean(np.where(tested == 0, 0.25, 1.0))
    )
    assert found.parity["tryage"].kept


def test_without_costs_there_is_no_parity(tmp_path: Path) -> None:
    tasks = make_tasks()
    write_all(tasks, tmp_path, tryage="truth", best_single="a")
    found = set_figures(tasks, ["tryage", "best_single"], tmp_path)
    assert found is not None
    assert found.parity == {}
