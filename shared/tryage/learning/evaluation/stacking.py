"""The stack of ordinary regressors, which a router has to beat as well: ridge, neighbors and trees.

It is what a careful person builds from scikit-learn for one table: linear models on embeddings and
words, nearest neighbors, boosted trees and the means of the recognized categories, combined by
non-negative least squares on prompts that they have not seen (Breiman 1996, "Stacked regressions").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.evaluation.baselines import (
    RIDGES,
    expert_means,
    fit_terms,
    impute_additive,
    neighbor_means,
)
from tryage.learning.evaluation.splits import Fold, MethodPrediction, folds
from tryage.perception.features import surface_features

if TYPE_CHECKING:
    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.learning.evaluation.baselines import PromptEncoder
    from tryage.learning.evaluation.splits import FoldMethod
    from tryage.scoring.qtable import QTable

STACK = "stack"

_INNER_FOLDS = 4
_NEIGHBOR_COUNTS = (10, 40, 160)
_TERM_COMPONENTS = 128
_TREE_INPUTS = 48  # principal components of embeddings and words; trees read few columns well
_TREE_TARGETS = 6  # principal components of the losses; the experts share their trees
_TREE_ITERATIONS = 60


def stack(fold: Fold) -> MethodPrediction:
    """Combine the regressors by non-negative weights that fit held-out prompts best.

    The weights `(n_regressors,)` are the same for all experts, and are fitted in four folds within
    the training part, to what the mean of each expert leaves to explain. Categories are recognized
    by a logistic regression; those of the test prompts are not read.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    train, embeddings = fold.train, fold.train_embeddings
    held_out: list[Float32Array] = []
    targets: list[Float32Array] = []
    for train_rows, rows in folds(train.groups, min(_INNER_FOLDS, len(set(train.groups.tolist())))):
        part = Fold(
            train.take(train_rows), embeddings[train_rows], train.take(rows), embeddings[rows]
        )
        is_measured = part.test.measured
        held_out.append(_deviations(part)[:, is_measured])
        targets.append((part.test.losses - expert_means(part.train))[is_measured])
    weights = non_negative_weights(np.concatenate(held_out, axis=1), np.concatenate(targets))
    losses = expert_means(train) + np.tensordot(weights, _deviations(fold), 1)
    return MethodPrediction(losses.astype(np.float32))


def encoder_stack(encoder: PromptEncoder) -> FoldMethod:
    """Return the stack on the embeddings of another encoder, such as a MiniLM."""

    def method(fold: Fold) -> MethodPrediction:
        train, test = (encoder.encode(side.prompts) for side in (fold.train, fold.test))
        return stack(Fold(fold.train, train, fold.test, test))

    return method


def non_negative_weights(predictions: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the weights `(n_regressors,)` of predictions `(n_regressors, n)` for targets `(n,)`.

    Non-negative least squares by the normal equations, whose solution is the same.
    """
    from scipy.optimize import nnls

    x, y = predictions.astype(np.float64), targets.astype(np.float64)
    gram = x @ x.T + 1e-6 * len(y) * np.eye(len(x))
    root = np.linalg.cholesky(gram)
    return np.asarray(nnls(root.T, np.linalg.solve(root, x @ y))[0])


def _deviations(fold: Fold) -> Float32Array:
    """Return what each regressor predicts beyond the expert's mean, `(n_regressors, n_test, n)`."""
    means, targets = expert_means(fold.train), impute_additive(fold.train)
    embeddings = fold.train_embeddings, fold.test_embeddings
    terms = fit_terms(fold, 50_000, _TERM_COMPONENTS)
    surface = _standardize(*(surface_features(side.prompts) for side in (fold.train, fold.test)))
    joined = _join(embeddings, terms, surface)
    predictions = [
        _ridge(*embeddings, targets),
        _ridge(*terms, targets),
        _ridge(*joined, targets),
        *neighbor_means(fold.train, *embeddings, _NEIGHBOR_COUNTS),
        _boosted_trees(_join(_reduce(embeddings, terms), surface), targets),
    ]
    if fold.train.categories is not None and len(set(fold.train.categories)) > 1:
        predictions.append(_recognized_categories(joined, fold.train, targets))
    return np.array(predictions) - means


def _standardize(train: Float32Array, test: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Center and scale numbers so that all of them together have about the length of one."""
    mean, std = train.mean(axis=0), train.std(axis=0)
    scale = np.where(std > 1e-6, std, 1) * np.sqrt(train.shape[1])
    return (train - mean) / scale, (test - mean) / scale


def _join(*blocks: tuple[Float32Array, Float32Array]) -> tuple[Float32Array, Float32Array]:
    """Put blocks of columns side by side, for the training and for the test prompts."""
    train, test = zip(*blocks, strict=True)
    return np.concatenate(train, axis=1), np.concatenate(test, axis=1)


def _reduce(*blocks: tuple[Float32Array, Float32Array]) -> tuple[Float32Array, Float32Array]:
    """Return principal components of joined blocks, for the training and for the test prompts."""
    from sklearn.decomposition import PCA

    train, test = _join(*blocks)
    pca = PCA(min(_TREE_INPUTS, *train.shape), random_state=0).fit(train)
    return pca.transform(train), pca.transform(test)


def _ridge(train: Float32Array, test: Float32Array, targets: Float32Array) -> Float32Array:
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(RIDGES, alpha_per_target=True).fit(train, targets)
    return np.asarray(ridge.predict(test).reshape(len(test), -1), np.float32)


def _boosted_trees(
    inputs: tuple[Float32Array, Float32Array], targets: Float32Array
) -> Float32Array:
    """Fit boosted trees to the principal components of the losses."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    train, test = inputs
    mean = targets.mean(axis=0)
    scores, _, directions = np.linalg.svd(targets - mean, full_matrices=False)
    kept = directions[: min(_TREE_TARGETS, len(directions))]
    scores = (targets - mean) @ kept.T
    predicted = np.zeros((len(test), len(kept)))
    for i, score in enumerate(scores.T):
        trees = HistGradientBoostingRegressor(
            max_iter=_TREE_ITERATIONS, max_leaf_nodes=15, early_stopping=False, random_state=0
        )
        predicted[:, i] = trees.fit(train, score).predict(test)
    return np.asarray(mean + predicted @ kept, np.float32)


def _recognized_categories(
    inputs: tuple[Float32Array, Float32Array], train: QTable, targets: Float32Array
) -> Float32Array:
    """Predict the mean loss in each category, weighted by the probability of the category."""
    from sklearn.linear_model import LogisticRegression

    labels = [category or "" for category in train.categories or ()]
    model = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(inputs[0], labels)
    one_hot = np.array(labels)[:, None] == model.classes_
    means = shrunk_means(one_hot, targets)
    return np.asarray(model.predict_proba(inputs[1]) @ means, np.float32)


def shrunk_means(
    one_hot: FloatArray, targets: Float32Array, prior_prompts: float = 5.0
) -> FloatArray:
    """Return the mean loss per category, with some prompts of the overall mean added to each."""
    counts = one_hot.sum(axis=0)[:, None]
    totals = one_hot.T @ targets + prior_prompts * targets.mean(axis=0)
    return np.asarray(totals / (counts + prior_prompts))
