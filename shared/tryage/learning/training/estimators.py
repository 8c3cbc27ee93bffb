"""Fits the parts of a perception that read prompts: features, categories, estimators, forecasts."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.perception.features import (
    FORM_COLUMNS,
    FORM_MARKS,
    BlockScaler,
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

    from tryage.core.arrays import Float32Array, FloatArray, IndexArray
    from tryage.perception.encoder import Encoder
    from tryage.scoring.qtable import QTable

# An embedding has length 1 over hundreds of entries: a few numbers must not outweigh it.
_SURFACE_SCALE, _TOOL_SCHEMA_SCALE, _CHOICE_SCALE = 0.15, 0.4, 0.1

_MIN_CHOICE_SHARE = 0.01  # of the training prompts; fewer with options are too few to learn from

# Mean and deviation, among MMLU's questions, of the numbers whose products are features.
_PAIR_MEAN = (5.0, 3.2, 3.6, 1.6, 0.2, 0.16, 0.06, 0.8, 1.4, 0.3, 0.09)
_PAIR_STD = (1.0, 1.2, 1.2, 1.1, 0.35, 0.2, 0.14, 0.9, 1.8, 0.8, 0.08)

N_PROTOTYPES = 1_024  # with more than twice as many prompts, neighbors are cluster centers

RIDGES = tuple(np.geomspace(0.3, 3000, 14).tolist())

FORECAST_MEASURES = ("output_tokens", "costs")

_PRIOR_PROMPTS = 5.0  # what is expected of an expert counts as this many prompts of each category

_FORECAST_ITERATIONS = 50

BLOCK_COMPONENTS = 256  # of each block of hidden states

_MIN_BLOCK_STD = 1e-6  # numbers that vary less are constant


def fit_feature_extractor(  # noqa: PLR0913 - three inputs, the rest has defaults
    prompts: Sequence[str],
    ids: TokenIds,
    vocab_size: int,
    *,
    tfidf_dim: int = 128,
    seed: int = 0,
    form_ids: IndexArray | None = None,
    block_scaler: BlockScaler | None = None,
) -> FeatureExtractor:
    """Learn TF-IDF weights and the usual ranges of features from the training prompts.

    Losses are not used. `ids` are the token ids of the prompts; each is below `vocab_size`. With
    `form_ids`, the tokens of `FORM_MARKS`, the form of a prompt does not count: neither its length,
    its capital letters, its line breaks and its script, nor these tokens. `block_scaler` is the
    result of `fit_block_scaler`.
    """
    ignored_columns = () if form_ids is None else FORM_COLUMNS
    surface_scaler = _fit_scaler(surface_features(prompts), _SURFACE_SCALE, ignored_columns)
    return FeatureExtractor(
        tfidf=fit_tfidf_svd(ids, vocab_size, tfidf_dim, seed, form_ids),
        surface_scaler=surface_scaler,
        tool_schema_scaler=_fit_scaler(tool_schema_features(prompts), _TOOL_SCHEMA_SCALE),
        choice_scaler=_fit_choice_scaler(multiple_choice_features(prompts)),
        block_scaler=block_scaler,
    )


def fit_block_scaler(
    embeddings: Float32Array, block_sizes: Sequence[int], seed: int = 0
) -> BlockScaler | None:
    """Learn how each block of embeddings `(n, dim)` varies; None if the embedding has no blocks.

    Raises:
        InputError: the blocks have different widths.
        MissingExtraError: scikit-learn is not installed.
    """
    if not block_sizes:
        return None
    if len(set(block_sizes)) > 1:
        raise InputError(f"the blocks have {list(block_sizes)} numbers; expected as many of each")
    require_extra("sklearn", "evaluate")
    from sklearn.decomposition import PCA

    mean, std = embeddings.mean(axis=0), embeddings.std(axis=0)
    std = np.where(std > _MIN_BLOCK_STD, std, np.inf).astype(np.float32)
    z_scores = (embeddings - mean) / std
    n_components = min(BLOCK_COMPONENTS, block_sizes[0], max(len(embeddings) - 1, 1))
    projections = [
        PCA(n_components, random_state=seed).fit(block).components_.T
        for block in np.split(z_scores, len(block_sizes), axis=1)
    ]
    return BlockScaler(mean, std, np.array(projections, np.float32))


def form_ids(encoder: Encoder) -> IndexArray:
    """Return the ids of the tokens of `FORM_MARKS`, `(n_ids,)`."""
    return np.unique(encoder.token_ids([FORM_MARKS])[0])


def _fit_choice_scaler(numbers: Float32Array) -> ChoiceScaler | None:
    """Fit the scaler of multiple-choice features; None if too few prompts have options."""
    if numbers[:, 0].mean() < _MIN_CHOICE_SHARE:
        return None
    pair_statistics = np.array(_PAIR_MEAN, np.float32), np.array(_PAIR_STD, np.float32)
    return ChoiceScaler(
        *pair_statistics, _fit_scaler(add_pair_products(numbers, *pair_statistics), _CHOICE_SCALE)
    )


def _fit_scaler(
    numbers: Float32Array, scale: float, ignored_columns: Sequence[int] = ()
) -> FeatureScaler:
    std = numbers.std(axis=0)
    std = np.where(std > 1e-6, std, 1.0).astype(np.float32)
    std[list(ignored_columns)] = np.inf
    return FeatureScaler(numbers.mean(axis=0), std, scale)


def fit_tfidf_svd(
    ids: TokenIds,
    vocab_size: int,
    max_components: int,
    seed: int,
    ignored_ids: IndexArray | None = None,
) -> TfidfSvd:
    """Learn TF-IDF weights and their SVD from prompts, without tokens that few prompts have.

    The tokens `ignored_ids` are left out, too.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.decomposition import TruncatedSVD

    counts = _count_matrix(ids, vocab_size)
    document_frequencies = np.asarray((counts > 0).sum(axis=0)).ravel()
    is_kept = document_frequencies >= max(2, len(ids) // 5_000)
    if ignored_ids is not None:
        is_kept[ignored_ids] = False
    token_ids = np.flatnonzero(is_kept).astype(np.int32)
    idf = np.log((1 + len(ids)) / (1 + document_frequencies[token_ids])).astype(np.float32)
    n_components = min(max_components, len(ids) - 1, len(token_ids) - 1)
    if n_components < 1:
        return TfidfSvd(token_ids[:0], idf[:0], np.zeros((0, 0), np.float32))
    svd = TruncatedSVD(n_components, random_state=seed).fit(
        _tfidf_matrix(counts[:, token_ids], idf)
    )
    return TfidfSvd(token_ids, idf, np.ascontiguousarray(svd.components_.T, np.float32))


def _count_matrix(ids: TokenIds, vocab_size: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    indptr = np.cumsum([0, *(len(prompt_ids) for prompt_ids in ids)])
    indices = np.concatenate([*ids, np.zeros(0, np.intp)]).astype(np.intp)
    counts = csr_matrix(
        (np.ones(len(indices), np.float32), indices, indptr), shape=(len(ids), vocab_size)
    )
    counts.sum_duplicates()
    return counts


def _tfidf_matrix(counts: csr_matrix, idf: NDArray[np.floating[Any]]) -> csr_matrix:
    from sklearn.preprocessing import normalize

    weights = counts.copy()
    weights.data = 1 + np.log(weights.data)
    return normalize(weights.multiply(idf).tocsr())


def fit_head(  # noqa: PLR0913 - what every estimator needs
    x: Float32Array,
    labels: Sequence[str],
    names: tuple[str, ...],
    positions: FloatArray,
    seed: int,
    prompt_weights: NDArray[np.floating[Any]] | None = None,
    blocks: Sequence[slice] = (),
    compared_width: int | None = None,
) -> Head:
    """Fit every estimator on prompts `x` `(n, d)` with known `positions` `(n, rank)`.

    `labels` are the prompts' categories, `names` all categories. The weights of the estimators are
    equal: they are learned later, on prompts that the estimators have not seen. `prompt_weights`
    `(n,)` say how much each prompt counts in the regressions, by default alike. Each of the
    `blocks`, columns of `x`, gets a regression of its own. Similar prompts are those whose first
    `compared_width` features are similar, by default all.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    classifier = fit_category_classifier(x, labels, names)
    one_hot = classifier.one_hot(labels)
    category_means = fit_category_means(positions, one_hot, shrinkage=10.0)
    prototypes, cluster_labels = _fit_prototypes(x[:, :compared_width], seed)
    counts = np.bincount(cluster_labels, minlength=len(prototypes)).astype(np.float32)
    cluster_positions = _cluster_means(positions, cluster_labels, counts)
    cluster_residuals = _cluster_means(
        positions - one_hot @ category_means.positions, cluster_labels, counts
    )
    estimators: tuple[Estimator, ...] = (
        ZeroEstimator(positions.shape[1]),
        category_means,
        KernelRegression(cluster_positions, counts, bandwidth=0.03, shrinkage=2.0),
        KernelRegression(cluster_positions, counts, bandwidth=0.08, shrinkage=2.0),
        KernelRegression(
            cluster_residuals, counts, bandwidth=0.05, shrinkage=40.0, base=category_means
        ),
        fit_ridge(x, one_hot, positions, category_scale=2.0, prompt_weights=prompt_weights),
        fit_ridge(x, one_hot, positions, category_scale=0.0, prompt_weights=prompt_weights),
        *(_fit_block_ridge(x, one_hot, positions, block, prompt_weights) for block in blocks),
    )
    equal_weights = np.full(len(estimators), 1 / len(estimators), np.float32)
    return Head(
        classifier, prototypes, estimators, equal_weights, np.ones(positions.shape[1], np.float32)
    )


def fit_category_classifier(
    x: Float32Array, labels: Sequence[str | None], names: tuple[str, ...], max_iterations: int = 60
) -> CategoryClassifier:
    """Fit a logistic regression of categories on features; one category alone needs no fit.

    A category of `names` without a prompt gets a probability of practically zero.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    present_names = sorted({name or UNNAMED_CATEGORY for name in labels})
    slope = np.zeros((x.shape[1], len(names)), np.float32)
    intercept = np.full(len(names), -30.0, np.float32)
    if len(present_names) == 1:
        intercept[names.index(present_names[0])] = 0.0
        return CategoryClassifier(names, slope, intercept)
    require_extra("sklearn", "evaluate")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early on purpose
        model = LogisticRegression(C=10.0, max_iter=max_iterations, tol=1e-3)
        model.fit(x, [name or UNNAMED_CATEGORY for name in labels])
    columns = [names.index(name) for name in model.classes_]
    if len(present_names) == 2:  # scikit-learn keeps one row for two classes
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
    """Return prototypes `(k, d)` and, for each prompt, the index of its prototype, `(n,)`."""
    rows = l2_normalize(x)
    if len(rows) <= 2 * N_PROTOTYPES:
        return rows, np.arange(len(rows))
    require_extra("sklearn", "evaluate")
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(
        N_PROTOTYPES, init="random", n_init=1, max_iter=10, batch_size=4096, random_state=seed
    ).fit(rows)
    used_clusters, cluster_labels = np.unique(kmeans.labels_, return_inverse=True)
    return l2_normalize(kmeans.cluster_centers_[used_clusters].astype(np.float32)), cluster_labels


def _cluster_means(
    positions: FloatArray, cluster_labels: NDArray[np.intp], counts: Float32Array
) -> Float32Array:
    sums = np.zeros((len(counts), positions.shape[1]))
    np.add.at(sums, cluster_labels, positions)
    return np.asarray(sums / counts[:, None], np.float32)


def fit_ridge(  # noqa: PLR0913 - three inputs, the rest has defaults
    features: Float32Array,
    one_hot: Float32Array,
    positions: FloatArray,
    category_scale: float,
    ridges: Sequence[float] = RIDGES,
    prompt_weights: NDArray[np.floating[Any]] | None = None,
) -> RidgeRegression:
    """Fit one ridge regression per dimension, with the ridge of the best cross-validation error.

    A dimension that the features do not predict gets the strongest ridge, which predicts the mean.
    Generalized cross-validation: Golub, Heath and Wahba (1979).
    """
    inputs = np.concatenate([features, category_scale * one_hot], axis=1).astype(np.float64)
    weights = np.ones(len(inputs)) if prompt_weights is None else prompt_weights
    weights = weights[:, None] / weights.mean()
    input_mean, position_mean = (weights * inputs).mean(axis=0), (weights * positions).mean(axis=0)
    centered_inputs = np.sqrt(weights) * (inputs - input_mean)
    targets = np.sqrt(weights) * (positions - position_mean)
    eigenvalues, eigenvectors = np.linalg.eigh(centered_inputs.T @ centered_inputs)
    eigenvalues = np.maximum(eigenvalues, 1e-9)
    projected_targets = eigenvectors.T @ (centered_inputs.T @ targets)
    total_squares = (targets**2).sum(axis=0)
    scores = [
        _gcv_score(eigenvalues, projected_targets, total_squares, ridge, len(inputs))
        for ridge in ridges
    ]
    best_ridges = np.asarray(ridges)[np.stack(scores).argmin(axis=0)]
    slope = eigenvectors @ (projected_targets / (eigenvalues[:, None] + best_ridges))
    n_features = features.shape[1]
    return RidgeRegression(
        slope[:n_features].astype(np.float32),
        (category_scale * slope[n_features:]).astype(np.float32),
        (position_mean - input_mean @ slope).astype(np.float32),
    )


def _fit_block_ridge(
    x: Float32Array,
    one_hot: Float32Array,
    positions: FloatArray,
    block: slice,
    prompt_weights: NDArray[np.floating[Any]] | None,
) -> RidgeRegression:
    """Fit a ridge regression on one block of the features; the slope of all others is zero."""
    ridge = fit_ridge(
        x[:, block], one_hot, positions, category_scale=0.0, prompt_weights=prompt_weights
    )
    slope = np.zeros((x.shape[1], positions.shape[1]), np.float32)
    slope[block] = ridge.slope
    return replace(ridge, slope=slope)


def _gcv_score(
    eigenvalues: FloatArray,
    projected_targets: FloatArray,
    total_squares: FloatArray,
    ridge: float,
    n: int,
) -> FloatArray:
    """Return the generalized cross-validation error of one ridge per dimension, `(rank,)`."""
    coefficients = projected_targets / (eigenvalues + ridge)[:, None]
    residual_squares = (
        total_squares
        - 2 * (projected_targets * coefficients).sum(axis=0)
        + (coefficients**2 * eigenvalues[:, None]).sum(axis=0)
    )
    degrees_of_freedom = min(float((eigenvalues / (eigenvalues + ridge)).sum()) + 1, n - 1.0)
    return np.asarray(residual_squares / n / (1 - degrees_of_freedom / n) ** 2)


def fit_forecasts(table: QTable, one_hot: Float32Array) -> dict[str, Float32Array]:
    """Average the measured lengths and costs: name -> `(n_categories, n_experts)`, NaN unknown.

    A measure that the table does not have is left out.
    """
    measures = {name: getattr(table, name) for name in FORECAST_MEASURES}
    return {
        name: _category_means(values, one_hot)
        for name, values in measures.items()
        if values is not None and not np.isnan(values).all()
    }


def _category_means(values: NDArray[np.floating[Any]], one_hot: Float32Array) -> Float32Array:
    """Return the mean of each category and expert, shrunk toward the product of two factors.

    An expert that was measured on long tasks alone is not a long-winded expert.
    """
    is_known = ~np.isnan(values)
    sums = one_hot.T @ np.where(is_known, values, 0.0).astype(np.float64)
    counts = one_hot.T @ is_known.astype(np.float64)
    expected = _products(sums, counts)
    means = (sums + _PRIOR_PROMPTS * expected) / (counts + _PRIOR_PROMPTS)
    return np.asarray(np.where(is_known.any(axis=0), means, np.nan), np.float32)


def _products(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Fit means as a factor of the category times one of the expert, by Poisson regression.

    `sums` and `counts` are `(n_categories, n_experts)`. A category counts as if some prompts of the
    overall mean were added to it.
    """
    mean = sums.sum() / counts.sum()
    expert_factor: FloatArray = np.ones(sums.shape[1])
    for _ in range(_FORECAST_ITERATIONS):
        category_factor = (sums.sum(axis=1) + _PRIOR_PROMPTS * mean) / (
            counts @ expert_factor + _PRIOR_PROMPTS
        )
        expert_factor = _ratio(sums.sum(axis=0), category_factor @ counts)
    return np.asarray(np.outer(category_factor, expert_factor))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.asarray(numerator / np.where(denominator > 0, denominator, 1.0))
