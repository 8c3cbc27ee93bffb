"""Splits of the comparison: what is seen of which prompts, and what is in the files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

from tasks import OutcomeSet, Task, write_task  # noqa: E402 - after the path is set

from tryage.scoring.qtable import QTable  # noqa: E402 - the same


def make_set() -> OutcomeSet:
    prompts = tuple(f"prompt {i % 30}" for i in range(40))  # ten texts occur twice
    losses = np.tile(np.float32([0.9, 0.1, 0.5]), (40, 1))
    losses[:36, 2] = np.nan  # the third expert was measured rarely
    losses[39] = np.nan  # and one prompt never
    table = QTable(prompts, ("weak", "strong", "rare"), losses, categories=("c",) * 40)
    return OutcomeSet.arrange("toy", table, np.eye(40, 8, dtype=np.float32))


def test_experts_are_listed_best_first_and_rarely_measured_ones_last() -> None:
    assert make_set().table.experts == ("strong", "weak", "rare")


def test_prompts_without_an_outcome_are_left_out_with_their_embeddings() -> None:
    assert len(make_set().table) == len(make_set().embeddings) == 39


@pytest.mark.parametrize("inner", [None, 0, 3])
def test_no_text_is_both_learned_from_and_tested(inner: int | None) -> None:
    fold = Task(make_set(), seed=2, inner=inner).fold
    assert not set(fold.train.prompts) & set(fold.test.prompts)


def test_inner_tasks_cover_the_training_part_once_and_nothing_else() -> None:
    task = Task(make_set(), seed=1)
    tested = np.concatenate([inner.rows[1] for inner in task.inner_tasks()])
    assert sorted(tested) == sorted(task.rows[0])


def test_seeds_test_different_prompts() -> None:
    first, second = (Task(make_set(), seed).rows[1].tolist() for seed in (0, 1))
    assert first != second


def test_files_hold_what_was_measured_on_training_prompts_and_no_losses_of_tested_ones(
    tmp_path: Path,
) -> None:
    task = Task(make_set(), seed=0)
    path = write_task(task, tmp_path)
    with np.load(path / "test.npz") as file:
        assert file.files == ["embeddings"]
    assert list(json.loads((path / "test.json").read_text())) == ["prompts"]
    with np.load(path / "train.npz") as file:
        np.testing.assert_allclose(file["scores"], 1 - task.fold.train.losses)
