"""Routers from papers that have no package, written again from their descriptions: marked R.

Each is a method of Tryage's evaluation: it learns from one side of a fold and predicts losses for
the other. Where a paper leaves a number open, it is chosen by the routed score in folds of the
training part, as the baselines' are. Prompts are read with the embeddings of the fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.learning.evaluation.baselines import expert_means, impute_additive
from tryage.learning.evaluation.metrics import choice_probabilities, expected_value
from tryage.learning.evaluation.splits import Fold, MethodPrediction, folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.learning.evaluation.splits import FoldMethod
    from tryage.scoring.qtable import QTable

CLUSTERS = (20, 60, 150)

_PRIOR_PROMPTS = 2.0  # of an expert's mean, added to each cluster

_TUNING_FOLDS = 3

_BATCH = 256


def avengers_pro(fold: Fold, n_clusters: int = 60, n_nearest: int = 4) -> MethodPrediction:
    """Average the scores of the nearest clusters (Avengers-Pro, arXiv 2508.12631).

    Prompts are divided by k-means; a cluster holds the mean loss of every expert on its prompts. A
    new prompt takes the mean over its `n_nearest` clusters, by the softmax of their similarity.
    With alpha = 1, for quality alone. 60 clusters and the four nearest are the paper's.
    """
    clusters = Clusters.fit(fold.train_embeddings, n_clusters)
    profiles = clusters.mean_losses(fold.train, clusters.assign(fold.train_embeddings))
    similarity = fold.test_embeddings @ clusters.centers.T
    kept = min(n_nearest, similarity.shape[1])
    threshold = np.partition(similarity, -kept, axis=1)[:, [-kept]]
    weights = np.where(similarity >= threshold, np.exp(10.0 * similarity), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return MethodPrediction((weights @ profiles).astype(np.float32))


def uniroute(fold: Fold, n_clusters: int = 60, *, seed: int = 0) -> MethodPrediction:
    """Describe experts by their loss per cluster, and learn which clusters a prompt belongs to.

    UniRoute (arXiv 2502.08773) with a learned cluster map: the prediction is `softmax(W x) . psi`,
    where `psi` holds an expert's mean losses on the k-means clusters of the training prompts.
    """
    clusters = Clusters.fit(fold.train_embeddings, n_clusters)
    profiles = clusters.mean_losses(fold.train, clusters.assign(fold.train_embeddings))

    def build() -> torch.nn.Module:
        return _cluster_map(fold.train_embeddings.shape[1], clusters.centers, profiles)

    return _train_and_predict(fold, build, seed=seed, epochs=20, rate=1e-2)


def embedllm(fold: Fold, rank: int = 32, *, seed: int = 0) -> MethodPrediction:
    """Factorize correctness into vectors of experts and projected prompts (EmbedLLM, 2410.02223).

    `P(correct) = sigmoid(w . (v_expert * W x) + b)`, trained by cross-entropy on graded scores.
    """

    def build() -> torch.nn.Module:
        return _bilinear_model(fold.train_embeddings.shape[1], len(fold.train.experts), rank)

    return _train_and_predict(fold, build, seed=seed, epochs=30, rate=3e-3)


def irt_router(fold: Fold, dimensions: int = 25, *, seed: int = 0) -> MethodPrediction:
    """Multidimensional item response theory (IRT-Router, arXiv 2506.01048).

    `P(correct) = sigmoid(a(x) . theta - b(x))`: the difficulty `b` is linear in the embedding, and
    so is the discrimination `a` before softplus. The ability `theta` is learned for each expert;
    the paper reads it from a text about the expert, which serves unseen ones.
    """

    def build() -> torch.nn.Module:
        return _item_response_model(
            fold.train_embeddings.shape[1], len(fold.train.experts), dimensions
        )

    return _train_and_predict(fold, build, seed=seed, epochs=30, rate=3e-3)


def prefill_probe(states: dict[str, Float32Array]) -> FoldMethod:
    """Return a linear probe of a language model's hidden states (after arXiv 2603.20895).

    `states` holds the state of each prompt, before any word of an answer. The ridge is chosen by
    leave-one-out error, per expert.
    """

    def probe(fold: Fold) -> MethodPrediction:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import RidgeCV

        train, test = (
            np.array([states[text] for text in side.prompts]) for side in (fold.train, fold.test)
        )
        pca = PCA(min(256, *train.shape), whiten=False, random_state=0).fit(train)
        ridge = RidgeCV(np.geomspace(1e-1, 1e5, 13), alpha_per_target=True)
        ridge.fit(pca.transform(train), impute_additive(fold.train))
        losses = ridge.predict(pca.transform(test)).reshape(len(test), -1)
        return MethodPrediction(losses.astype(np.float32))

    return probe


def tuned(method: Callable[[Fold, int], MethodPrediction], values: Sequence[int]) -> FoldMethod:
    """Return the method with the value of the best routed score in folds of the training part."""

    def run(fold: Fold) -> MethodPrediction:
        totals = np.zeros(len(values))
        for rows, held_out in folds(fold.train.groups, _TUNING_FOLDS):
            part = Fold(
                fold.train.take(rows),
                fold.train_embeddings[rows],
                fold.train.take(held_out),
                fold.train_embeddings[held_out],
            )
            totals += [routed_loss(method(part, value), part.test) for value in values]
        return method(fold, values[int(totals.argmin())])

    return run


def routed_loss(prediction: MethodPrediction, test: QTable) -> float:
    """Return the total loss of the experts that a prediction chooses."""
    shares = choice_probabilities(prediction.losses, test.measured)
    return float(expected_value(shares, test.losses).sum())


@dataclass(frozen=True)
class Clusters:
    """Unit centers `(n_clusters, dim)` of k-means."""

    centers: Float32Array

    @classmethod
    def fit(cls, embeddings: Float32Array, n_clusters: int) -> Clusters:
        """Divide unit rows `(n, dim)` by k-means."""
        from sklearn.cluster import KMeans

        kmeans = KMeans(min(n_clusters, len(embeddings)), n_init=1, random_state=0).fit(embeddings)
        centers = kmeans.cluster_centers_.astype(np.float32)
        return cls(centers / np.linalg.norm(centers, axis=1, keepdims=True))

    def assign(self, embeddings: Float32Array) -> IndexArray:
        """Return the most similar center of each row, `(n,)`."""
        return np.asarray((embeddings @ self.centers.T).argmax(axis=1), np.intp)

    def mean_losses(self, table: QTable, cluster: IndexArray) -> Float32Array:
        """Return mean losses `(n_clusters, n_experts)`, a little shrunk to the expert's mean."""
        one_hot = np.eye(len(self.centers), dtype=np.float32)[cluster]
        totals = one_hot.T @ np.nan_to_num(table.losses) + _PRIOR_PROMPTS * expert_means(table)
        counts = one_hot.T @ table.measured.astype(np.float32) + _PRIOR_PROMPTS
        return np.asarray(totals / counts, np.float32)


def _cluster_map(dim: int, centers: Float32Array, profiles: Float32Array) -> torch.nn.Module:
    """Return a softmax over clusters, which starts at the similarity to their centers."""
    import torch

    class ClusterMap(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = torch.nn.Linear(dim, len(centers))
            self.map.weight.data = 10.0 * torch.from_numpy(centers)
            self.map.bias.data.zero_()
            self.profiles = torch.from_numpy(np.clip(1 - profiles, 1e-3, 1 - 1e-3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.logit(torch.softmax(self.map(x), dim=1) @ self.profiles)

    return ClusterMap()


def _bilinear_model(dim: int, n_experts: int, rank: int) -> torch.nn.Module:
    """Return `w . (v_expert * W x) + b_expert`."""
    import torch

    class Bilinear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = torch.nn.Linear(dim, rank)
            self.experts = torch.nn.Linear(rank, n_experts)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.experts(self.project(x))
            return logits

    return Bilinear()


def _item_response_model(dim: int, n_experts: int, dimensions: int) -> torch.nn.Module:
    """Return `a(x) . theta - b(x)`."""
    import torch

    class ItemResponse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.discrimination = torch.nn.Linear(dim, dimensions)
            self.difficulty = torch.nn.Linear(dim, 1)
            self.ability = torch.nn.Parameter(0.1 * torch.randn(n_experts, dimensions))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a = torch.nn.functional.softplus(self.discrimination(x))
            logits: torch.Tensor = a @ self.ability.T - self.difficulty(x)
            return logits

    return ItemResponse()


def _train_and_predict(
    fold: Fold, build: Callable[[], Any], *, seed: int, epochs: int, rate: float
) -> MethodPrediction:
    """Train logits to graded scores by cross-entropy with early stopping, and predict losses."""
    import torch

    torch.manual_seed(seed)
    x = torch.from_numpy(fold.train_embeddings)
    scores = torch.from_numpy(np.nan_to_num(1 - fold.train.losses))
    known = torch.from_numpy(fold.train.measured.astype(np.float32))
    rows, held_out = (torch.from_numpy(part) for part in folds(fold.train.groups, 10, seed)[0])
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            model(x[batch]), scores[batch], reduction="none"
        )
        return (losses * known[batch]).sum() / known[batch].sum().clamp(min=1)

    best, best_state = float("inf"), None
    for _ in range(epochs):
        for batch in rows[torch.randperm(len(rows))].split(_BATCH):
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
        with torch.inference_mode():
            held_out_loss = float(loss_of(held_out))
        if held_out_loss < best:
            best = held_out_loss
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
    if best_state is not None:
        model.load_state_dict(best_state)
    with torch.inference_mode():
        predicted = torch.sigmoid(model(torch.from_numpy(fold.test_embeddings))).numpy()
    return MethodPrediction(np.asarray(1 - predicted, np.float32))
