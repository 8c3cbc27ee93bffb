"""What is compared: each method has a label, and Tryage without categories sees none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

import methods  # noqa: E402 - after the path is set
from methods import LABELS, NO_FORECAST, local_methods  # noqa: E402 - the same
from methods import PEERS as PACKAGES  # noqa: E402 - the same

from tryage.learning.evaluation.splits import Fold, MethodPrediction  # noqa: E402 - the same
from tryage.scoring.qtable import QTable  # noqa: E402 - the same


class OneNumberEncoder:
    def encode(self, prompts: list[str]) -> np.ndarray:
        return np.ones((len(prompts), 1), np.float32)


def make_fold() -> Fold:
    prompts = tuple(f"prompt {i}" for i in range(8))
    losses = np.tile(np.float32([0.2, 0.4]), (8, 1))
    table = QTable(prompts, ("good", "bad"), losses, categories=("c", "d") * 4)
    rows = np.zeros((8, 3), np.float32)
    return Fold(table.take([*range(6)]), rows[:6], table.take([6, 7]), rows[6:])


def test_every_method_has_a_label_and_every_label_a_method() -> None:
    local = local_methods(OneNumberEncoder(), OneNumberEncoder())
    assert {*local, *PACKAGES, methods.PROBE} == set(LABELS)
    assert set(NO_FORECAST) <= set(local)


@pytest.mark.parametrize(
    ("name", "categories", "dim"),
    [("tryage", True, 1), ("tryage_no_categories", False, 1), ("tryage_minilm", True, 3)],
)
def test_tryage_is_trained_with_the_seed_on_its_own_or_the_common_embeddings(
    monkeypatch: pytest.MonkeyPatch, name: str, *, categories: bool, dim: int
) -> None:
    seen: list[tuple[int, bool, int]] = []

    def make(_: object, seed: int) -> object:
        def method(train: QTable, embeddings: np.ndarray, *_: object) -> MethodPrediction:
            seen.append((seed, train.categories is not None, embeddings.shape[1]))
            return MethodPrediction(np.zeros((2, 2), np.float32))

        return method

    monkeypatch.setattr(methods, "make_routing_method", make)
    local_methods(OneNumberEncoder(), OneNumberEncoder())[name](make_fold(), 3)
    assert seen == [(3, categories, dim)]


def test_the_best_single_expert_is_the_one_with_the_lowest_training_loss() -> None:
    found = local_methods(OneNumberEncoder(), OneNumberEncoder())["best_single"](make_fold(), 0)
    assert found.losses.argmin(axis=1).tolist() == [0, 0]
