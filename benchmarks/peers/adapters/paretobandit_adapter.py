"""ParetoBandit: LinUCB on whitened principal components, fed with every training outcome.

Its offline priors do the learning (`generate_warmup_priors`). Forgetting and exploration are off:
they serve traffic that changes, and would cost it here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from pareto_bandit import FeatureService, generate_warmup_priors
from peer import Peer, Training, main
from sklearn.decomposition import PCA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats

COMPONENTS = 25  # its own choice (BEST_K3_HPARAMS)


class ParetoBandit(Peer):
    """The posterior means of its disjoint LinUCB."""

    def fit(self, training: Training) -> None:
        """Accumulate its sufficient statistics over all outcomes."""
        self.pca = PCA(COMPONENTS, random_state=0).fit(training.embeddings)
        keys = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in
                training.prompts]  # fmt: skip
        rewards = [
            {
                "prompt": text.encode("utf-8", "replace").decode(),
                "rewards": {
                    name: float(score)
                    for name, score in zip(training.experts, row, strict=True)
                    if not np.isnan(score)
                },
            }
            for text, row in zip(training.prompts, training.scores, strict=True)
        ]
        state = generate_warmup_priors(
            rewards,
            encoder_model="precomputed",
            pca=self.pca,
            plasticity=1.0,
            precomputed_raw_embeddings=dict(zip(keys, training.embeddings, strict=True)),
        )
        self.theta = np.array(
            [np.linalg.solve(state["A"][name], state["b"][name]) for name in training.experts]
        )
        self.features = FeatureService.for_precomputed(COMPONENTS + 1)

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Return expected rewards."""
        del prompts
        scale = 1 / np.sqrt(np.maximum(self.pca.explained_variance_, 1e-12))
        rows = self.pca.transform(embeddings) * scale
        contexts = [self.features.extract_features(np.append(row, 1.0)) for row in rows]
        return np.asarray(np.array(contexts) @ self.theta.T, np.float32)


if __name__ == "__main__":
    main({"paretobandit": ParetoBandit})
