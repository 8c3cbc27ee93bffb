"""Predictions on disk: what was written is read, and half-written ones do not count."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

from predictions import (  # noqa: E402 - after the path is set
    Prediction,
    has_prediction,
    read_prediction,
    write_prediction,
)
from tasks import OutcomeSet, Task  # noqa: E402 - the same

from tryage.scoring.qtable import QTable  # noqa: E402 - the same

LOSSES = np.float32([[0.25, 0.75], [0.5, 0.5]])


def make_task() -> Task:
    prompts = tuple(f"prompt {i}" for i in range(10))
    table = QTable(prompts, ("a", "b"), np.zeros((10, 2), np.float32))
    return Task(OutcomeSet("toy", table, np.zeros((10, 2), np.float32)), seed=0)


@pytest.mark.parametrize("costs", [None, 2 * LOSSES])
def test_a_prediction_is_read_as_it_was_written(tmp_path: Path, costs: np.ndarray | None) -> None:
    write_prediction(tmp_path, make_task(), Prediction(LOSSES, costs, False, 1.5))
    found = read_prediction(tmp_path, make_task())
    np.testing.assert_allclose(found.losses, LOSSES)
    assert (found.costs is None) == (costs is None)
    assert (found.forecasts, found.fit_seconds) == (False, 1.5)


def test_a_prediction_without_its_last_file_is_not_there(tmp_path: Path) -> None:
    write_prediction(tmp_path, make_task(), Prediction(LOSSES, None, True, 1.5))
    assert has_prediction(tmp_path, make_task())
    (tmp_path / "toy-0.json").unlink()
    assert not has_prediction(tmp_path, make_task())
