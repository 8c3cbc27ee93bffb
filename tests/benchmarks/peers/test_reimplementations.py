"""Reimplemented routers against cases that are worked by hand or have one right answer."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
pytest.importorskip("torch")
pytest.importorskip("sklearn")
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

from reimplementations import (  # noqa: E402 - after the path is set
    Clusters,
    avengers_pro,
    embedllm,
    irt_router,
    prefill_probe,
    tuned,
    uniroute,
)

from tryage.learning.evaluation.splits import Fold, MethodPrediction  # noqa: E402 - the same
from tryage.scoring.qtable import QTable  # noqa: E402 - the same


def make_fold(n: int = 400) -> Fold:
    """Two topics in two directions; the first expert answers one of them, the second the other."""
    rng = np.random.default_rng(0)
    topic = np.arange(n) % 2
    rows = np.eye(8)[topic] + 0.1 * rng.standard_normal((n, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    losses = np.column_stack([topic, 1 - topic]).astype(np.float32)
    table = QTable(tuple(f"prompt {i}" for i in range(n)), ("first", "second"), losses)
    cut = n // 2
    train, test = np.arange(cut), np.arange(cut, n)
    return Fold(table.take(train), rows[train], table.take(test), rows[test])


def test_the_profile_of_a_cluster_is_its_mean_loss_with_two_prompts_of_the_overall_mean() -> None:
    losses = np.float32([[0.0, 1.0], [0.0, np.nan], [1.0, 0.0]])
    table = QTable(("a", "b", "c"), ("x", "y"), losses)
    profiles = Clusters(np.eye(2, dtype=np.float32)).mean_losses(table, np.array([0, 0, 1]))
    # Means: 1/3 and 1/2. First cluster: (0 + 0 + 2/3) / 4 and (1 + 1) / 3.
    np.testing.assert_allclose(profiles, [[1 / 6, 2 / 3], [5 / 9, 1 / 3]], rtol=1e-6)


def test_avengers_pro_with_one_cluster_predicts_the_means_for_all() -> None:
    fold = make_fold()
    losses = avengers_pro(fold, n_clusters=1).losses
    np.testing.assert_allclose(losses, np.full_like(losses, 0.5), atol=1e-6)


@pytest.mark.parametrize("method", [avengers_pro, uniroute, embedllm, irt_router])
def test_each_router_sends_both_topics_to_the_expert_that_answers_them(method: object) -> None:
    fold = make_fold()
    chosen = method(fold).losses.argmin(axis=1)  # type: ignore[operator]
    assert (fold.test.losses[np.arange(len(chosen)), chosen] == 0).mean() > 0.99


@pytest.mark.parametrize("method", [uniroute, embedllm, irt_router])
def test_the_same_seed_gives_the_same_prediction(method: object) -> None:
    fold = make_fold(40)
    first, second = (method(fold, seed=3).losses for _ in range(2))  # type: ignore[operator]
    np.testing.assert_array_equal(first, second)


def test_gaps_do_not_teach_anything_and_predictions_are_finite() -> None:
    fold = make_fold(80)
    losses = fold.train.losses.copy()
    losses[::3, 0] = np.nan
    train = QTable(fold.train.prompts, fold.train.experts, losses)
    gappy = Fold(train, fold.train_embeddings, fold.test, fold.test_embeddings)
    for method in (avengers_pro, uniroute, embedllm, irt_router):
        assert np.isfinite(method(gappy).losses).all()


def test_the_tuned_value_is_the_one_that_routes_best_in_the_training_part() -> None:
    def method(fold: Fold, value: int) -> MethodPrediction:
        truth = fold.test.losses if value == 7 else 1 - fold.test.losses
        return MethodPrediction(truth)

    fold = make_fold(40)
    np.testing.assert_array_equal(tuned(method, (3, 7, 9))(fold).losses, fold.test.losses)


def test_the_probe_reads_the_states_and_not_the_embeddings() -> None:
    fold = make_fold()
    texts = [*fold.train.prompts, *fold.test.prompts]
    states = dict(zip(texts, np.eye(2, dtype=np.float32)[np.arange(len(texts)) % 2], strict=True))
    blind = Fold(fold.train, 0 * fold.train_embeddings, fold.test, 0 * fold.test_embeddings)
    chosen = prefill_probe(states)(blind).losses.argmin(axis=1)
    assert (fold.test.losses[np.arange(len(chosen)), chosen] == 0).all()
