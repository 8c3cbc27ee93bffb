"""What a router has to beat, on the same folds and the same embeddings.

Only the category table looks at the categories of the tested prompts, and only the oracle at
their losses. What is tuned is tuned by the routed score in four folds within the training part.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.evaluation.metrics import choice_probabilities, expected_value
from tryage.learning.evaluation.splits import Fold, MethodPrediction, folds
from tryage.learning.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array

Candidate = TypeVar("Candidate")

BEST_SINGLE = "best single"

CATEGORY_TABLE = "category table"

NEIGHBOR_COUNTS = (5, 10, 20, 40, 80, 150, 300, 600)

RANKS_AND_RIDGES = tuple((rank, ridge) for ridge in (1.0, 10.0, 100.0) for rank in (2, 4, 8, 16))

_MIN_COVERAGE = 0.95  # an expert measured on fewer of the prompts cannot be called a single choice

_MIN_PROMPTS_EARLY_STOPPING = (
    11  # a tenth of them, rounded up, are the two that scikit-learn judges by
)

_TUNING_FOLDS = 4

_CHUNK = 1024  # prompts at a time: a similarity matrix of 16,000 x 16,000 would be a gigabyte


def random(fold: Fold) -> MethodPrediction:
    """All experts alike: ties share the prompt, which is the random router in expectation."""
    return MethodPrediction(np.zeros((len(fold.test), len(fold.train.experts)), dtype=np.float32))


def best_single(fold: Fold) -> MethodPrediction:
    """Choose always the expert with the lowest mean training loss; where it has a gap, the next.

    Experts measured on less than 95% of the prompts come after all others: their mean is over
    other, perhaps easier, prompts.
    """
    coverage = fold.train.measured.mean(axis=0)
    late = coverage < min(_MIN_COVERAGE, float(coverage.max(initial=0.0)))
    ranked = expert_means(fold.train) + 10.0 * late
    return MethodPrediction(_tile_row(ranked, len(fold.test)))


def prompt_length(fold: Fold, *, n_bins: int = 10) -> MethodPrediction:
    """Mean training loss of the tenth of prompts that are about as long (in characters)."""
    lengths = np.array([len(text) for text in fold.train.prompts])
    edges = np.unique(np.quantile(lengths, np.arange(1, n_bins) / n_bins))
    table = _cell_means(fold.train, np.digitize(lengths, edges), len(edges) + 1)
    tested = np.digitize(np.array([len(text) for text in fold.test.prompts]), edges)
    return MethodPrediction(table[tested])


def nearest_neighbors(
    fold: Fold, *, candidates: Sequence[int] = NEIGHBOR_COUNTS
) -> MethodPrediction:
    """Mean loss over the k most similar training prompts (cosine); k is tuned."""
    return MethodPrediction(_tune_and_predict(fold, candidates, _neighbor_means))


def matrix_factorization(
    fold: Fold, *, candidates: Sequence[tuple[int, float]] = RANKS_AND_RIDGES
) -> MethodPrediction:
    """Bilinear prompt x expert model in the spirit of RouteLLM's, in closed form.

    loss = bias_i + v_i . W x, fitted as a reduced-rank ridge regression (RouteLLM trains the same
    form by gradient descent on preferences); rank and ridge are tuned, gaps are filled by
    prompt mean + expert mean.
    """
    return MethodPrediction(_tune_and_predict(fold, candidates, _factorize))


def mlp(fold: Fold, *, hidden: int = 100, max_iterations: int = 40) -> MethodPrediction:
    """One hidden layer from embedding to all losses (scikit-learn), stopped early if there is room.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(hidden,),
        alpha=0.1,
        early_stopping=len(fold.train) >= _MIN_PROMPTS_EARLY_STOPPING,
        max_iter=max_iterations,
        n_iter_no_change=5,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the cap on iterations is meant
        warnings.simplefilter("ignore", DataConversionWarning)  # of a single expert
        model.fit(fold.train_embeddings, _impute_additive(fold.train))
    predicted = model.predict(fold.test_embeddings).reshape(len(fold.test_embeddings), -1)
    return MethodPrediction(predicted.astype(np.float32))


def category_table(fold: Fold) -> MethodPrediction:
    """Mean training loss in the true category of the prompt, which a router is not told.

    A category that the training part lacks gets the means over all prompts.
    """
    train_categories = fold.train.categories or (None,) * len(fold.train)
    test_categories = fold.test.categories or (None,) * len(fold.test)
    number = {
        name: i for i, name in enumerate(dict.fromkeys(name for name in train_categories if name))
    }
    unseen = len(number)
    table = _cell_means(
        fold.train, np.array([number.get(c or "", unseen) for c in train_categories]), unseen + 1
    )
    table[unseen] = expert_means(fold.train)
    return MethodPrediction(table[[number.get(c or "", unseen) for c in test_categories]])


def oracle(fold: Fold) -> MethodPrediction:
    """Predict the real losses of the test: the ceiling, luck at guessing included."""
    return MethodPrediction(np.nan_to_num(fold.test.losses, nan=np.float32(1e6)))


def expert_means(table: QTable) -> Float32Array:
    """Mean loss per expert over its measured prompts, `(n_experts,)`; unmeasured: the worst."""
    count = table.measured.sum(axis=0)
    total = np.nan_to_num(table.losses).sum(axis=0, dtype=np.float64)
    means = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    worst = np.nanmax(means) if count.any() else 1.0
    return np.asarray(np.where(count > 0, means, worst), dtype=np.float32)


def neighbor_costs(
    train: QTable, train_embeddings: Float32Array, test_embeddings: Float32Array, k: int = 20
) -> Float32Array:
    """Forecast the cost of a request in USD, `(n_test, n_experts)`: mean over similar prompts."""
    priced = QTable(train.prompts, train.experts, train.costs)  # type: ignore[arg-type]  # checked by the caller
    return _neighbor_means(priced, train_embeddings, test_embeddings, [k])[0]


def _tile_row(row: Float32Array, times: int) -> Float32Array:
    return np.repeat(np.asarray(row, dtype=np.float32)[None], times, axis=0)


def _cell_means(train: QTable, cell_of: NDArray[np.intp], n_cells: int) -> Float32Array:
    """Mean loss per cell and expert; a cell where an expert was not measured gets its mean."""
    total = np.zeros((n_cells, len(train.experts)))
    count = np.zeros_like(total)
    np.add.at(total, cell_of, np.nan_to_num(train.losses))
    np.add.at(count, cell_of, train.measured)
    means = np.broadcast_to(expert_means(train), total.shape).astype(np.float64)
    np.divide(total, count, out=means, where=count > 0)
    return means.astype(np.float32)


def _impute_additive(train: QTable) -> Float32Array:
    """Losses with gaps filled by an additive guess: prompt effect + expert mean."""
    means = expert_means(train)
    left = np.where(train.measured, train.losses - means, 0.0)
    effect = left.sum(axis=1) / np.maximum(train.measured.sum(axis=1), 1)
    filled = np.where(train.measured, train.losses, means + effect[:, None])
    return np.asarray(filled, dtype=np.float32)


def _tune_and_predict(
    fold: Fold,
    candidates: Sequence[Candidate],
    predict: Callable[
        [QTable, Float32Array, Float32Array, Sequence[Candidate]], list[Float32Array]
    ],
) -> Float32Array:
    """Predict with the candidate whose choices lose least in the training part, out of fold."""
    train, embeddings = fold.train, fold.train_embeddings
    total_loss = np.zeros(len(candidates))
    for fit, held in folds(train.groups, _TUNING_FOLDS):
        unseen = train.take(held)
        tried = predict(train.take(fit), embeddings[fit], embeddings[held], candidates)
        total_loss += [
            expected_value(choice_probabilities(guess, unseen.measured), unseen.losses).sum()
            for guess in tried
        ]
    best = candidates[int(np.argmin(total_loss))]
    return predict(train, embeddings, fold.test_embeddings, [best])[0]


def _neighbor_means(
    train: QTable, train_embeddings: Float32Array, embeddings: Float32Array, ks: Sequence[int]
) -> list[Float32Array]:
    ks = [min(k, len(train)) for k in ks]
    losses, known = np.nan_to_num(train.losses), train.measured.astype(np.float32)
    fallback = expert_means(train)
    parts: list[list[Float32Array]] = [[] for _ in ks]
    for start in range(0, max(len(embeddings), 1), _CHUNK):
        similarity = embeddings[start : start + _CHUNK] @ train_embeddings.T
        ranked = np.partition(similarity, [-k for k in ks], axis=1)
        for part, k in zip(parts, ks, strict=True):
            near = (similarity >= ranked[:, [-k]]).astype(np.float32)
            count = near @ known
            means = np.broadcast_to(fallback, count.shape).copy()
            part.append(np.divide(near @ losses, count, out=means, where=count > 0))
    return [np.concatenate(part) for part in parts]


def _factorize(
    train: QTable,
    train_embeddings: Float32Array,
    embeddings: Float32Array,
    candidates: Sequence[tuple[int, float]],
) -> list[Float32Array]:
    """Reduced-rank ridge: project the ridge solution on the top directions of its own fit."""
    target = _impute_additive(train).astype(np.float64)
    bias, centre = target.mean(axis=0), train_embeddings.mean(axis=0)
    x = (train_embeddings - centre).astype(np.float64)
    gram, cross = x.T @ x, x.T @ (target - bias)
    values, vectors = np.linalg.eigh(gram)
    fits = {}
    for ridge in {ridge for _, ridge in candidates}:
        stretch = np.maximum(values, 0) + ridge
        weights = vectors @ ((vectors.T @ cross) / stretch[:, None])
        root = np.sqrt(stretch)[:, None] * vectors.T
        fits[ridge] = weights, np.linalg.svd(root @ weights, full_matrices=False)[2]
    results = []
    for rank, ridge in candidates:
        weights, directions = fits[ridge]
        top = directions[:rank]
        results.append((bias + (embeddings - centre) @ (weights @ top.T) @ top).astype(np.float32))
    return results
