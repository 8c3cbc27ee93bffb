"""Fits what a perception reads prompts with: features, categories, estimators and forecasts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.perception.features import (
    ChoiceScaler,
    FeatureExtractor,
    FeatureScaler,
    TfidfSvd,
    TokenIds,
    add_pair_products,
    multiple_choice_features,
    surface_features,
    tool_schema_features,
)
from tryage.perception.head import (
    UNNAMED_CATEGORY,
    CategoryClassifier,
    CategoryMeans,
    Estimator,
    Head,
    KernelRegression,
    RidgeRegression,
    ZeroEstimator,
    l2_normalize,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.learning.qtable import QTable

# An embedding has length 1 over hundreds of entries: a few numbers must not outweigh it.
_SURFACE_SCALE, _TOOL_SCHEMA_SCALE, _CHOICE_SCALE = 0.15, 0.4, 0.1

_MIN_CHOICE_SHARE = 0.01  # of the training prompts; fewer with options teach nothing about them

# Mean and deviation, among MMLU's questions, of the numbers whose products are features.
_PAIR_MEAN = (5.0, 3.2, 3.6, 1.6, 0.2, 0.16, 0.06, 0.8, 1.4, 0.3, 0.09)
_PAIR_STD = (1.0, 1.2, 1.2, 1.1, 0.35, 0.2, 0.14, 0.9, 1.8, 0.8, 0.08)

N_PROTOTYPES = 1_024  # with more than twice as many prompts, neighbors are cluster centers

RIDGES = tuple(np.geomspace(0.3, 3000, 14).tolist())

FORECAST_MEASURES = ("output_tokens", "costs")

_PRIOR_PROMPTS = 5.0  # an expert's mean over all prompts counts as this many of each category


def fit_feature_extractor(
    prompts: Sequence[str], ids: TokenIds, vocabulary: int, *, tfidf_dim: int = 128, seed: int = 0
) -> FeatureExtractor:
    """Learn TF-IDF weights and the usual ranges of features from the training prompts.

    Losses play no part. `ids` are the token ids of the prompts in a `vocabulary` of this size.
    """
    return FeatureExtractor(
        tfidf=fit_tfidf_svd(ids, vocabulary, tfidf_dim, seed),
        surface_scaler=_fit_scaler(surface_features(prompts), _SURFACE_SCALE),
        tool_schema_scaler=_fit_scaler(tool_schema_features(prompts), _TOOL_SCHEMA_SCALE),
        choice_scaler=_fit_choice_scaler(multiple_choice_features(prompts)),
    )


def _fit_choice_scaler(numbers: Float32Array) -> ChoiceScaler | None:
    """Measure what is usual of options; None if too few of the prompts have any."""
    if numbers[:, 0].mean() < _MIN_CHOICE_SHARE:
        return None
    pairs = np.array(_PAIR_MEAN, np.float32), np.array(_PAIR_STD, np.float32)
    return ChoiceScaler(*pairs, _fit_scaler(add_pair_products(numbers, *pairs), _CHOICE_SCALE))


def _fit_scaler(numbers: Float32Array, scale: float) -> FeatureScaler:
    std = numbers.std(axis=0)
    return FeatureScaler(
        numbers.mean(axis=0), np.where(std > 1e-6, std, 1.0).astype(np.float32), scale
    )


def fit_tfidf_svd(ids: TokenIds, vocabulary: int, width: int, seed: int) -> TfidfSvd:
    """Learn TF-IDF weights and their SVD from prompts, without tokens that few prompts have.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.decomposition import TruncatedSVD

    counts = _count_matrix(ids, vocabulary)
    prompts_with = np.asarray((counts > 0).sum(axis=0)).ravel()
    tokens = np.flatnonzero(prompts_with >= max(2, len(ids) // 5_000)).astype(np.int32)
    idf = np.log((1 + len(ids)) / (1 + prompts_with[tokens])).astype(np.float32)
    rank = min(width, len(ids) - 1, len(tokens) - 1)
    if rank < 1:
        return TfidfSvd(tokens[:0], idf[:0], np.zeros((0, 0), np.float32))
    svd = TruncatedSVD(rank, random_state=seed).fit(_tfidf_matrix(counts[:, tokens], idf))
    return TfidfSvd(tokens, idf, np.ascontiguousarray(svd.components_.T, np.float32))


def _count_matrix(ids: TokenIds, vocabulary: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    ends = np.cumsum([0, *(len(tokens) for tokens in ids)])
    flat = np.concatenate([*ids, np.zeros(0, np.intp)]).astype(np.intp)
    counts = csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(ids), vocabulary))
    counts.sum_duplicates()
    return counts


def _tfidf_matrix(counts: csr_matrix, idf: NDArray[np.floating[Any]]) -> csr_matrix:
    from sklearn.preprocessing import normalize

    weighted = counts.copy()
    weighted.data = 1 + np.log(weighted.data)
    return normalize(weighted.multiply(idf).tocsr())


def fit_head(
    x: Float32Array, labels: Sequence[str], names: tuple[str, ...], positions: FloatArray, seed: int
) -> Head:
    """Fit every estimator on prompts `x` `(n, d)` with known `positions` `(n, rank)`.

    `labels` are the prompts' categories, `names` all categories. The weights of the estimators are
    equal: they are learned later, on prompts that the estimators have not seen.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    classifier = fit_category_classifier(x, labels, names)
    one_hot = classifier.one_hot(labels)
    table = fit_category_means(positions, one_hot, shrinkage=10.0)
    prototypes, nearest = _fit_prototypes(x, seed)
    counts = np.bincount(nearest, minlength=len(prototypes)).astype(np.float32)
    cluster_positions = _cluster_means(positions, nearest, counts)
    cluster_residuals = _cluster_means(positions - one_hot @ table.positions, nearest, counts)
    estimators: tuple[Estimator, ...] = (
        ZeroEstimator(positions.shape[1]),
        table,
        KernelRegression(cluster_positions, counts, bandwidth=0.03, shrinkage=2.0),
        KernelRegression(cluster_positions, counts, bandwidth=0.08, shrinkage=2.0),
        KernelRegression(cluster_residuals, counts, bandwidth=0.05, shrinkage=40.0, base=table),
        fit_ridge(x, one_hot, positions, category_scale=2.0),
        fit_ridge(x, one_hot, positions, category_scale=0.0),
    )
    equal = np.full(len(estimators), 1 / len(estimators), np.float32)
    return Head(classifier, prototypes, estimators, equal, np.ones(positions.shape[1], np.float32))


def fit_category_classifier(
    x: Float32Array, labels: Sequence[str | None], names: tuple[str, ...], iterations: int = 60
) -> CategoryClassifier:
    """Fit a logistic regression of categories on features; one category alone needs no fit.

    A category of `names` without a prompt gets a probability of practically zero.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    present = sorted({name or UNNAMED_CATEGORY for name in labels})
    slope = np.zeros((x.shape[1], len(names)), np.float32)
    intercept = np.full(len(names), -30.0, np.float32)
    if len(present) == 1:
        intercept[names.index(present[0])] = 0.0
        return CategoryClassifier(names, slope, intercept)
    require_extra("sklearn", "evaluate")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early on purpose
        model = LogisticRegression(C=10.0, max_iter=iterations, tol=1e-3)
        model.fit(x, [name or UNNAMED_CATEGORY for name in labels])
    columns = [names.index(name) for name in model.classes_]
    if len(present) == 2:  # scikit-learn keeps one row for two classes
        slope[:, columns[1]], intercept[columns] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        slope[:, columns], intercept[columns] = model.coef_.T, model.intercept_
    return CategoryClassifier(names, slope, intercept)


def fit_category_means(
    positions: FloatArray, one_hot: Float32Array, shrinkage: float
) -> CategoryMeans:
    """Average the positions `(n, rank)` per category, with `shrinkage` prompts at zero added."""
    return CategoryMeans(
        (one_hot.T @ positions / (one_hot.sum(axis=0)[:, None] + shrinkage)).astype(np.float32)
    )


def _fit_prototypes(x: Float32Array, seed: int) -> tuple[Float32Array, NDArray[np.intp]]:
    """Return prototypes `(k, d)` and, for every prompt, which of them represents it, `(n,)`."""
    rows = l2_normalize(x)
    if len(rows) <= 2 * N_PROTOTYPES:
        return rows, np.arange(len(rows))
    require_extra("sklearn", "evaluate")
    from sklearn.cluster import MiniBatchKMeans

    clusters = MiniBatchKMeans(
        N_PROTOTYPES, init="random", n_init=1, max_iter=10, batch_size=4096, random_state=seed
    ).fit(rows)
    used, nearest = np.unique(clusters.labels_, return_inverse=True)
    return l2_normalize(clusters.cluster_centers_[used].astype(np.float32)), nearest


def _cluster_means(
    positions: FloatArray, nearest: NDArray[np.intp], counts: Float32Array
) -> Float32Array:
    sums = np.zeros((len(counts), positions.shape[1]))
    np.add.at(sums, nearest, positions)
    return np.asarray(sums / counts[:, None], np.float32)


def fit_ridge(
    features: Float32Array,
    one_hot: Float32Array,
    positions: FloatArray,
    category_scale: float,
    ridges: Sequence[float] = RIDGES,
) -> RidgeRegression:
    """Fit one ridge regression per dimension, its strength by generalized cross-validation.

    A dimension that the features do not predict gets the strongest ridge, which predicts the mean.
    Source: Golub, Heath and Wahba (1979).
    """
    inputs = np.concatenate([features, category_scale * one_hot], axis=1).astype(np.float64)
    mean, middle = inputs.mean(axis=0), positions.mean(axis=0)
    centered = inputs - mean
    eigenvalues, basis = np.linalg.eigh(centered.T @ centered)
    eigenvalues = np.maximum(eigenvalues, 1e-9)
    target = basis.T @ (centered.T @ (positions - middle))
    squares = ((positions - middle) ** 2).sum(axis=0)
    scores = [_gcv_score(eigenvalues, target, squares, ridge, len(inputs)) for ridge in ridges]
    chosen = np.asarray(ridges)[np.stack(scores).argmin(axis=0)]
    slope = basis @ (target / (eigenvalues[:, None] + chosen))
    width = features.shape[1]
    return RidgeRegression(
        slope[:width].astype(np.float32),
        (category_scale * slope[width:]).astype(np.float32),
        (middle - mean @ slope).astype(np.float32),
    )


def _gcv_score(
    eigenvalues: FloatArray, target: FloatArray, total_squares: FloatArray, ridge: float, n: int
) -> FloatArray:
    """Return the generalized cross-validation error of one ridge per dimension, `(rank,)`."""
    fitted = target / (eigenvalues + ridge)[:, None]
    residual = (
        total_squares
        - 2 * (target * fitted).sum(axis=0)
        + (fitted**2 * eigenvalues[:, None]).sum(axis=0)
    )
    freedom = min(float((eigenvalues / (eigenvalues + ridge)).sum()) + 1, n - 1.0)
    return np.asarray(residual / n / (1 - freedom / n) ** 2)


def fit_forecasts(table: QTable, one_hot: Float32Array) -> dict[str, Float32Array]:
    """Average the measured lengths and costs: name -> `(n_categories, n_experts)`, NaN unknown.

    A measure that the table does not have is left out.
    """
    measured = {name: getattr(table, name) for name in FORECAST_MEASURES}
    return {
        name: _category_means(values, one_hot)
        for name, values in measured.items()
        if values is not None and not np.isnan(values).all()
    }


def _category_means(values: NDArray[np.floating[Any]], one_hot: Float32Array) -> Float32Array:
    known = ~np.isnan(values)
    given = np.where(known, values, 0.0).astype(np.float64)
    counts = known.sum(axis=0)
    mean = np.where(counts > 0, given.sum(axis=0) / np.maximum(counts, 1), np.nan)
    sums = one_hot.T @ given + _PRIOR_PROMPTS * mean
    return np.asarray(sums / (one_hot.T @ known + _PRIOR_PROMPTS), np.float32)
