"""argrouter: logistic regression and a vote of neighbors. Its training is closed; this is ours.

The package loads and runs trained routers only. What it describes is trained here: per model a
logistic regression on embeddings, and the labelled prompts themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from argrouter.router import Router
from peer import Peer, Training, main
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats


class Argrouter(Peer):
    """Its `Router` with the defaults: 50 neighbors, half of the weight theirs; costs count zero."""

    def fit(self, training: Training) -> None:
        """Train one logistic regression per model, to graded scores."""
        scores = np.nan_to_num(training.scores, nan=0.0)
        weights = [
            _logistic(training.embeddings, training.scores[:, i]) for i in range(scores.shape[1])
        ]
        means = np.nanmean(training.scores, axis=0)
        self.router = Router(
            models=training.experts,
            coef=np.array([coef for coef, _ in weights]),
            intercept=np.array([intercept for _, intercept in weights]),
            train_emb=training.embeddings.astype(np.float64),
            train_scores=np.where(np.isnan(training.scores), means, scores).astype(np.float64),
            train_costs=np.zeros_like(scores, np.float64),
        )

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Return its P(correct)."""
        del prompts
        return np.asarray(self.router.predict(embeddings)[0], np.float32)


def _logistic(embeddings: Floats, scores: Floats) -> tuple[np.ndarray, float]:
    """Fit a logistic regression to scores in [0, 1]: each prompt counts as both answers."""
    known = ~np.isnan(scores)
    x, y = embeddings[known], scores[known]
    answers = np.repeat([1, 0], len(y))
    weights = np.concatenate([y, 1 - y])
    if not 0 < y.sum() < len(y):
        return np.zeros(x.shape[1]), 10.0 if y.sum() else -10.0
    kept = weights > 0
    model = LogisticRegression(max_iter=200)
    model.fit(np.concatenate([x, x])[kept], answers[kept], sample_weight=weights[kept])
    return model.coef_[0], float(model.intercept_[0])


if __name__ == "__main__":
    main({"argrouter": Argrouter})
