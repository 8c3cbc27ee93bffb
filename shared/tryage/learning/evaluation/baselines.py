"""Baselines that a router has to beat, on the same folds and the same embeddings.

Only the category table reads the categories of the test prompts, and only the oracle their losses.
Hyperparameters are tuned by the routed score, in four folds within the training part.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.evaluation.metrics import choice_probabilities, expected_value
from tryage.learning.evaluation.splits import Fold, MethodPrediction, folds
from tryage.scoring.qtable import MIN_COVERAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.core.arrays import BoolArray, Float32Array, IndexArray
    from tryage.learning.evaluation.splits import FoldMethod
    from tryage.scoring.qtable import QTable

Candidate = TypeVar("Candidate")

BEST_SINGLE = "best single"

CATEGORY_TABLE = "category table"

GUARDED_NEIGHBORS = "guarded neighbours"

ORACLE = "oracle"

NEIGHBOR_COUNTS = (5, 10, 20, 40, 80, 150, 300, 600)

NEIGHBOR_COUNTS_AND_GUARDS = tuple((k, z) for k in (20, 80, 300) for z in (0.5, 1.0, 2.0))

TFIDF_TERMS, TFIDF_COMPONENTS = 50_000, 256

RIDGES = tuple(np.geomspace(0.1, 1_000.0, 9).tolist())

RANKS_AND_RIDGES = tuple((rank, ridge) for ridge in (1.0, 10.0, 100.0) for rank in (2, 4, 8, 16))

_MIN_PROMPTS_EARLY_STOPPING = 11  # a tenth, rounded up, is the two that scikit-learn needs

_TUNING_FOLDS = 4

_FEW_NEIGHBORS = 2  # a standard error needs as many

_UNPROVEN = 1e3  # the bound of a difference that too few neighbors were measured for

_TIE_MARGIN = 1e-6  # an expert that is exactly as good does not replace the best single expert

_TERM = r"\w+|[^\w\s]"  # a word, or a sign by itself

_CHUNK = 1024  # prompts at a time: a similarity matrix of 16,000 x 16,000 would be a gigabyte


def random(fold: Fold) -> MethodPrediction:
    """Predict the same loss for all experts: each gets an equal share."""
    return MethodPrediction(np.zeros((len(fold.test), len(fold.train.experts)), dtype=np.float32))


def best_single(fold: Fold) -> MethodPrediction:
    """Choose the expert with the lowest mean training loss; where it has a gap, the next one.

    Experts measured on less than 95% of the prompts come after all others: their mean is over
    different, perhaps easier, prompts.
    """
    return MethodPrediction(_tile_row(_single_ranking(fold.train), len(fold.test)))


def _single_ranking(train: QTable) -> Float32Array:
    """Return the mean losses `(n_experts,)`, those of rarely measured experts behind all others."""
    return np.asarray(expert_means(train) + 10.0 * is_rarely_measured(train), np.float32)


def is_rarely_measured(table: QTable) -> BoolArray:
    """Mark the experts `(n_experts,)` whose mean loss cannot be compared with the others'."""
    coverage = table.measured.mean(axis=0)
    return np.asarray(coverage < min(MIN_COVERAGE, float(coverage.max(initial=0.0))))


def prompt_length(fold: Fold, *, n_bins: int = 10) -> MethodPrediction:
    """Predict the mean training loss of the tenth of prompts with about this many characters."""
    lengths = np.array([len(text) for text in fold.train.prompts])
    edges = np.unique(np.quantile(lengths, np.arange(1, n_bins) / n_bins))
    table = _cell_means(fold.train, np.digitize(lengths, edges), len(edges) + 1)
    test_bins = np.digitize(np.array([len(text) for text in fold.test.prompts]), edges)
    return MethodPrediction(table[test_bins])


def nearest_neighbors(
    fold: Fold, *, candidates: Sequence[int] = NEIGHBOR_COUNTS
) -> MethodPrediction:
    """Predict the mean loss over the k most similar training prompts (cosine); k is tuned."""
    return MethodPrediction(_tune_and_predict(fold, candidates, neighbor_means))


def neighbor_means(
    train: QTable, train_embeddings: Float32Array, embeddings: Float32Array, ks: Sequence[int]
) -> list[Float32Array]:
    """Return the mean losses over the k nearest training prompts, `(n_test, n_experts)` per k.

    Prompts that are as near as the k-th are all included. An expert that was measured on none of
    them gets its mean over all training prompts.
    """
    losses, is_measured = np.nan_to_num(train.losses), train.measured.astype(np.float32)
    fallback = expert_means(train)
    chunks_by_k: list[list[Float32Array]] = [[] for _ in ks]
    for i, is_neighbor in _neighbor_masks(train_embeddings, embeddings, ks):
        counts = is_neighbor @ is_measured
        means = np.broadcast_to(fallback, counts.shape).copy()
        np.divide(is_neighbor @ losses, counts, out=means, where=counts > 0)
        chunks_by_k[i].append(means)
    return [np.concatenate(chunks) for chunks in chunks_by_k]


def _neighbor_masks(
    train_embeddings: Float32Array,
    embeddings: Float32Array,
    ks: Sequence[int],
) -> Iterator[tuple[int, Float32Array]]:
    """Yield the index of each k and the mask of the k nearest training prompts, chunk by chunk.

    Masks are `(n_chunk, n_train)`; all prompts that are as near as the k-th are in it.
    """
    ks = [min(k, len(train_embeddings)) for k in ks]
    for start in range(0, max(len(embeddings), 1), _CHUNK):
        similarity = embeddings[start : start + _CHUNK] @ train_embeddings.T
        partitioned_similarity = np.partition(similarity, [-k for k in set(ks)], axis=1)
        for i, k in enumerate(ks):
            yield i, (similarity >= partitioned_similarity[:, [-k]]).astype(np.float32)


def guarded_neighbors(
    fold: Fold, *, candidates: Sequence[tuple[int, float]] = NEIGHBOR_COUNTS_AND_GUARDS
) -> MethodPrediction:
    """Leave the best single expert only where similar prompts prove that another one is better.

    Another expert is chosen if, over the k most similar training prompts, its mean paired
    difference to the best single expert is negative by more than z standard errors. The prediction
    is the upper bound of that difference; it ranks, but it does not forecast a loss. The number of
    neighbors and the number of standard errors are tuned.
    """
    return MethodPrediction(_tune_and_predict(fold, candidates, _paired_bounds))


def _paired_bounds(
    train: QTable,
    train_embeddings: Float32Array,
    embeddings: Float32Array,
    candidates: Sequence[tuple[int, float]],
) -> list[Float32Array]:
    """Return upper bounds of the difference to the best single expert, per candidate."""
    single = int(_single_ranking(train).argmin())
    is_paired = train.measured & train.measured[:, [single]]
    differences = np.where(is_paired, train.losses - train.losses[:, [single]], np.float32(0))
    pair_mask, squares = is_paired.astype(np.float32), differences**2
    chunks_by_candidate: list[list[Float32Array]] = [[] for _ in candidates]
    ks = [k for k, _ in candidates]
    for i, is_neighbor in _neighbor_masks(train_embeddings, embeddings, ks):
        counts = is_neighbor @ pair_mask
        means = (is_neighbor @ differences) / np.maximum(counts, 1)
        variances = (is_neighbor @ squares) / np.maximum(counts, 1) - means**2
        errors = np.sqrt(np.maximum(variances, 0) / np.maximum(counts - 1, 1))
        bounds = means + candidates[i][1] * errors + _TIE_MARGIN
        bounds[counts < _FEW_NEIGHBORS] = _UNPROVEN
        bounds[:, single] = 0.0
        chunks_by_candidate[i].append(bounds)
    return [np.concatenate(chunks) for chunks in chunks_by_candidate]


def matrix_factorization(
    fold: Fold, *, candidates: Sequence[tuple[int, float]] = RANKS_AND_RIDGES
) -> MethodPrediction:
    """Fit a bilinear model of prompt and expert, similar to RouteLLM's, in closed form.

    `loss = bias_i + v_i . W x` is a reduced-rank ridge regression; RouteLLM trains the same form by
    gradient descent on preferences. Rank and ridge are tuned. Gaps are filled by prompt effect plus
    expert mean.
    """
    return MethodPrediction(_tune_and_predict(fold, candidates, _factorize))


def tfidf_ridge(
    fold: Fold, *, n_terms: int = TFIDF_TERMS, n_components: int = TFIDF_COMPONENTS
) -> MethodPrediction:
    """Regress losses on the words of the prompts: TF-IDF, truncated SVD and ridge by scikit-learn.

    Terms are words and pairs of words. The ridge is chosen by leave-one-out error, for each expert
    alone. Gaps are filled by prompt effect plus expert mean.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.linear_model import RidgeCV

    train, test = fit_terms(fold, n_terms, n_components)
    ridge = RidgeCV(RIDGES, alpha_per_target=True).fit(train, impute_additive(fold.train))
    predictions = ridge.predict(test).reshape(len(fold.test), -1)
    return MethodPrediction(predictions.astype(np.float32))


def fit_terms(fold: Fold, n_terms: int, n_components: int) -> tuple[Float32Array, Float32Array]:
    """Return the truncated SVD of TF-IDF of the training and of the test prompts."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(1, 2), max_features=n_terms, token_pattern=_TERM
    )
    train_terms = vectorizer.fit_transform(fold.train.prompts)
    svd = TruncatedSVD(max(min(n_components, *train_terms.shape) - 1, 1), random_state=0)
    return svd.fit_transform(train_terms), svd.transform(vectorizer.transform(fold.test.prompts))


def encoder_neighbors(encoder: PromptEncoder) -> FoldMethod:
    """Return nearest neighbors on the embeddings of another encoder, such as a MiniLM."""

    def neighbors(fold: Fold) -> MethodPrediction:
        train, test = (encoder.encode(side.prompts) for side in (fold.train, fold.test))
        return nearest_neighbors(Fold(fold.train, train, fold.test, test))

    return neighbors


class PromptEncoder(Protocol):
    """What embeds prompts: any encoder of tryage, or a sentence-transformers model."""

    def encode(self, prompts: Sequence[str], /) -> Float32Array:
        """Return unit rows `(batch, dim)`."""
        ...


def mlp(fold: Fold, *, hidden_size: int = 100, max_iterations: int = 40) -> MethodPrediction:
    """Train one hidden layer from embedding to all losses, by scikit-learn.

    It stops early if there are enough prompts to validate on.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(hidden_size,),
        alpha=0.1,
        early_stopping=len(fold.train) >= _MIN_PROMPTS_EARLY_STOPPING,
        max_iter=max_iterations,
        n_iter_no_change=5,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # iterations are limited on purpose
        warnings.simplefilter("ignore", DataConversionWarning)  # raised for a single expert
        model.fit(fold.train_embeddings, impute_additive(fold.train))
    predictions = model.predict(fold.test_embeddings).reshape(len(fold.test_embeddings), -1)
    return MethodPrediction(predictions.astype(np.float32))


def category_table(fold: Fold) -> MethodPrediction:
    """Predict the mean training loss in the true category, which a router does not know.

    A category that the training part lacks gets the means over all prompts.
    """
    train_categories = fold.train.categories or (None,) * len(fold.train)
    test_categories = fold.test.categories or (None,) * len(fold.test)
    category_index = {
        name: i for i, name in enumerate(dict.fromkeys(name for name in train_categories if name))
    }
    unseen_index = len(category_index)
    table = _cell_means(
        fold.train,
        np.array(
            [category_index.get(category or "", unseen_index) for category in train_categories]
        ),
        unseen_index + 1,
    )
    table[unseen_index] = expert_means(fold.train)
    return MethodPrediction(
        table[[category_index.get(category or "", unseen_index) for category in test_categories]]
    )


def oracle(fold: Fold) -> MethodPrediction:
    """Predict the real losses of the test prompts: the best that any router could do."""
    return MethodPrediction(np.nan_to_num(fold.test.losses, nan=np.float32(1e6)))


def expert_means(table: QTable) -> Float32Array:
    """Return the mean loss per expert, `(n_experts,)`; one without a loss gets the worst mean."""
    counts = table.measured.sum(axis=0)
    totals = np.nan_to_num(table.losses).sum(axis=0, dtype=np.float64)
    means = np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    worst_mean = np.nanmax(means) if counts.any() else 1.0
    return np.asarray(np.where(counts > 0, means, worst_mean), dtype=np.float32)


def _tile_row(row: Float32Array, times: int) -> Float32Array:
    return np.repeat(np.asarray(row, dtype=np.float32)[None], times, axis=0)


def _cell_means(train: QTable, cell_index: IndexArray, n_cells: int) -> Float32Array:
    """Return the mean loss per cell and expert, `(n_cells, n_experts)`.

    A cell in which an expert was not measured gets the expert's mean.
    """
    totals = np.zeros((n_cells, len(train.experts)))
    counts = np.zeros_like(totals)
    np.add.at(totals, cell_index, np.nan_to_num(train.losses))
    np.add.at(counts, cell_index, train.measured)
    means = np.broadcast_to(expert_means(train), totals.shape).astype(np.float64)
    np.divide(totals, counts, out=means, where=counts > 0)
    return means.astype(np.float32)


def impute_additive(train: QTable) -> Float32Array:
    """Return the losses with gaps filled by prompt effect plus expert mean."""
    means = expert_means(train)
    residuals = np.where(train.measured, train.losses - means, 0.0)
    prompt_effects = residuals.sum(axis=1) / np.maximum(train.measured.sum(axis=1), 1)
    imputed_losses = np.where(train.measured, train.losses, means + prompt_effects[:, None])
    return np.asarray(imputed_losses, dtype=np.float32)


def _tune_and_predict(
    fold: Fold,
    candidates: Sequence[Candidate],
    predict: Callable[
        [QTable, Float32Array, Float32Array, Sequence[Candidate]], list[Float32Array]
    ],
) -> Float32Array:
    """Predict with the candidate of the lowest routed loss in folds of the training part."""
    train, embeddings = fold.train, fold.train_embeddings
    total_losses = np.zeros(len(candidates))
    for train_rows, validation_rows in folds(train.groups, _TUNING_FOLDS):
        validation_table = train.take(validation_rows)
        candidate_predictions = predict(
            train.take(train_rows), embeddings[train_rows], embeddings[validation_rows], candidates
        )
        total_losses += [
            expected_value(
                choice_probabilities(predicted_losses, validation_table.measured),
                validation_table.losses,
            ).sum()
            for predicted_losses in candidate_predictions
        ]
    best = candidates[int(np.argmin(total_losses))]
    return predict(train, embeddings, fold.test_embeddings, [best])[0]


def _factorize(
    train: QTable,
    train_embeddings: Float32Array,
    embeddings: Float32Array,
    candidates: Sequence[tuple[int, float]],
) -> list[Float32Array]:
    """Project the ridge solution on the top directions of its own fit, for each rank and ridge."""
    targets = impute_additive(train).astype(np.float64)
    bias, center = targets.mean(axis=0), train_embeddings.mean(axis=0)
    x = (train_embeddings - center).astype(np.float64)
    gram, cross_products = x.T @ x, x.T @ (targets - bias)
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    fits = {}
    for ridge in {ridge for _, ridge in candidates}:
        regularized_eigenvalues = np.maximum(eigenvalues, 0) + ridge
        weights = eigenvectors @ (
            (eigenvectors.T @ cross_products) / regularized_eigenvalues[:, None]
        )
        design_root = np.sqrt(regularized_eigenvalues)[:, None] * eigenvectors.T
        fits[ridge] = weights, np.linalg.svd(design_root @ weights, full_matrices=False)[2]
    results = []
    for rank, ridge in candidates:
        weights, directions = fits[ridge]
        top_directions = directions[:rank]
        results.append(
            (bias + (embeddings - center) @ (weights @ top_directions.T) @ top_directions).astype(
                np.float32
            )
        )
    return results
