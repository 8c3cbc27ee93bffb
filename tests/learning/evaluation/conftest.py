"""A simple router, and a table whose best routing is known."""

import numpy as np
import pytest

from tryage.learning.evaluation.baselines import expert_means
from tryage.learning.evaluation.splits import MethodPrediction
from tryage.scoring.qtable import QTable


def _ridge(train, train_embeddings, test_prompts, test_embeddings):
    """Predict by one ridge regression per expert."""
    losses = np.where(train.measured, train.losses, expert_means(train))
    middle = losses.mean(axis=0)
    gram = train_embeddings.T @ train_embeddings + np.eye(train_embeddings.shape[1])
    weights = np.linalg.solve(gram, train_embeddings.T @ (losses - middle))
    assert len(test_prompts) == len(test_embeddings)
    return MethodPrediction((middle + test_embeddings @ weights).astype(np.float32))


def _two_kinds(n=400, *, gaps=0.0, costs=True):
    """Prompts on maths and law: two experts know one kind each, an expensive third knows both."""
    rng = np.random.default_rng(0)
    maths = rng.random(n) < 0.5
    chance = np.where(maths[:, None], [0.1, 0.8, 0.3], [0.8, 0.1, 0.3])
    losses = (rng.random((n, 3)) < chance).astype(np.float32)
    losses[rng.random((n, 3)) < gaps] = np.nan
    table = QTable(
        tuple(f"prompt {i}" for i in range(n)),
        ("mathematician", "lawyer", "both"),
        losses,
        categories=tuple("maths" if m else "law" for m in maths),
        costs=np.tile([0.001, 0.001, 0.02], (n, 1)) if costs else None,
    )
    embeddings = np.where(maths[:, None], [1.0, 0.0], [0.0, 1.0]) + rng.normal(0, 0.1, (n, 2))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return table, embeddings.astype(np.float32)


@pytest.fixture(scope="session")
def ridge():
    return _ridge


@pytest.fixture(scope="session")
def two_kinds():
    return _two_kinds
