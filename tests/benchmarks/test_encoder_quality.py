"""What embeddings alone tell of outcomes, on prompts that the ridge has not seen."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from encoder_quality import (  # noqa: E402 - after the path is set
    PENALTIES,
    chosen_scores,
    out_of_fold,
)

from tryage.scoring.qtable import QTable  # noqa: E402 - the same


def test_each_fold_is_predicted_by_the_ridge_of_scikit_learn_on_the_others() -> None:
    rng = np.random.default_rng(0)
    x, y, folds = rng.normal(size=(60, 5)), rng.normal(size=(60, 3)), np.arange(60) % 5
    for penalty, predicted in zip(PENALTIES, out_of_fold(x, y, folds), strict=True):
        model = Ridge(alpha=penalty).fit(x[folds != 2], y[folds != 2])
        np.testing.assert_allclose(predicted[folds == 2], model.predict(x[folds == 2]))


def test_an_expert_that_was_not_asked_is_not_chosen() -> None:
    losses = np.tile(np.array([[0.9, 0.5]], np.float32), (40, 1))
    losses[:, 1] -= 0.1 * (np.arange(40) % 2)
    losses[::4, 1] = np.nan
    table = QTable(prompts=[f"prompt {i}" for i in range(40)], experts=["a", "b"], losses=losses)
    scores, _ = chosen_scores(np.ones((40, 2), np.float32), table, seed=0)
    np.testing.assert_allclose(scores, 1 - np.nanmin(losses, axis=1), atol=1e-6)
