"""The head and each of its estimators, against cases that were worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.perception.head import (
    UNNAMED_CATEGORY,
    CategoryClassifier,
    CategoryMeans,
    EstimatorInputs,
    Head,
    KernelRegression,
    RidgeRegression,
    StackedRegressions,
    ZeroEstimator,
    l2_normalize,
    softmax,
)


def inputs(features=None, categories=None, similarities=None):
    given = (features, categories, similarities)
    n = next(len(x) for x in given if x is not None)
    blank = np.zeros((n, 1), np.float32)
    return EstimatorInputs(*(blank if x is None else np.float32(x) for x in given))


# The whole head


@pytest.fixture
def head():
    """Two features, two categories and two prototypes; one estimator per kind of input."""
    classifier = CategoryClassifier(
        (UNNAMED_CATEGORY, "law"), np.float32([[1, 0], [0, 1]]), np.zeros(2)
    )
    estimators = (
        CategoryMeans(np.float32([[1, 0], [3, -2]])),
        KernelRegression(np.float32([[1, 1], [2, 2]]), np.float32([1, 1]), 1e-3, 0.0),
    )
    weights, gain = np.float32([0.5, 0.5]), np.float32([2, 10])
    return Head(classifier, np.float32([[1, 0], [0, 1]]), estimators, weights, gain)


def test_estimators_get_features_category_probabilities_and_cosines(head):
    x = np.float32([[3, 0], [0, 0], [1, 1]])
    prepared = head.prepare(x)
    np.testing.assert_array_equal(prepared.features, x)
    np.testing.assert_allclose(prepared.category_probabilities, softmax(np.float64(x)), rtol=1e-6)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(prepared.similarities, [[1, 0], [0, 0], [half, half]], rtol=1e-6)


def test_prompts_are_compared_by_as_many_features_as_prototypes_have(head):
    narrow = replace(head, prototypes=np.float32([[1], [-1]]))
    prepared = narrow.prepare(np.float32([[3, 4], [-2, 5]]))
    np.testing.assert_allclose(prepared.similarities, [[1, -1], [-1, 1]], rtol=1e-6)
    np.testing.assert_array_equal(prepared.features, [[3, 4], [-2, 5]])


def test_positions_of_each_estimator_are_multiplied_by_the_gain(head):
    positions = head.estimator_positions(inputs([[5, 1]], [[0, 1]], [[1, 0]]))
    np.testing.assert_allclose(positions, [[[6, -20]], [[2, 10]]])


def test_no_prompt_has_no_position(head):
    assert head.estimator_positions(head.prepare(np.zeros((0, 2), np.float32))).shape == (2, 0, 2)


# Categories


def test_probabilities_are_a_softmax_of_a_linear_function():
    classifier = CategoryClassifier(("a", "b"), np.float32([[1, 0]]), np.float32([0, np.log(3)]))
    np.testing.assert_allclose(
        classifier.probabilities(np.float32([[0.0], [np.log(3)]])), [[0.25, 0.75], [0.5, 0.5]]
    )


def test_known_categories_are_one_hot_and_none_is_the_unnamed_one():
    classifier = CategoryClassifier(
        (UNNAMED_CATEGORY, "law", "music"), np.zeros((1, 3)), np.zeros(3)
    )
    np.testing.assert_array_equal(
        classifier.one_hot(["music", None, UNNAMED_CATEGORY]), [[0, 0, 1], [1, 0, 0], [1, 0, 0]]
    )


# Estimators


def test_the_zero_estimator_is_zero_for_every_prompt():
    found = ZeroEstimator(3)(inputs(features=np.ones((2, 5))))
    np.testing.assert_array_equal(found, np.zeros((2, 3)))


def test_category_means_are_weighted_by_probability():
    means = CategoryMeans(np.float32([[1, 0], [3, -2]]))
    positions = means(inputs(categories=[[1, 0], [0.25, 0.75]]))
    np.testing.assert_allclose(positions, [[1, 0], [2.5, -1.5]])


def test_a_ridge_regression_is_linear_in_features_and_categories():
    ridge = RidgeRegression(np.float32([[2, 0]]), np.float32([[0, 5], [0, 7]]), np.float32([1, 1]))
    positions = ridge(inputs(features=[[3], [0]], categories=[[1, 0], [0, 1]]))
    np.testing.assert_allclose(positions, [[7, 6], [1, 8]])


POSITIONS = np.float32([[1, 0], [2, 2], [6, -2]])


def kernel(bandwidth, shrinkage=0.0, counts=(1, 1, 1), base=None):
    return KernelRegression(POSITIONS, np.float32(counts), bandwidth, shrinkage, base)


def test_with_a_huge_bandwidth_a_kernel_regression_is_the_mean():
    near = inputs(similarities=[[0.1, 0.9, -0.5]])
    np.testing.assert_allclose(kernel(1e6)(near), [[3, 0]], atol=1e-4)


def test_with_a_tiny_bandwidth_a_kernel_regression_is_the_nearest_prompt():
    near = inputs(similarities=[[0.1, 0.9, -0.5], [0.3, 0.2, 0.31]])
    np.testing.assert_allclose(kernel(1e-4)(near), POSITIONS[[1, 2]])


def test_a_prototype_counts_as_often_as_the_prompts_that_it_stands_for():
    near = inputs(similarities=[[0.5, 0.5, 0.5]])
    weighted = kernel(0.05, counts=(2, 1, 1))(near)
    np.testing.assert_allclose(
        weighted, [(2 * POSITIONS[0] + POSITIONS[1] + POSITIONS[2]) / 4], rtol=1e-6
    )


def test_a_kernel_regression_shrinks_by_the_effective_number_of_neighbors():
    alike = inputs(similarities=[[0.5, 0.5, 0.5]])
    np.testing.assert_allclose(
        kernel(0.05, shrinkage=3.0)(alike), POSITIONS.mean(0)[None] * 3 / (3 + 3), rtol=1e-6
    )
    alone = inputs(similarities=[[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        kernel(0.01, shrinkage=3.0)(alone), POSITIONS[:1] / (1 + 3), rtol=1e-6
    )


def test_distant_neighbors_count_as_less_than_one():
    half = -0.1 * np.log(2)  # weights of 1, 1/2 and about 0
    near = inputs(similarities=[[0.0, half, -9.0]])
    effective = 1.5**2 / (1 + 0.25)
    mean = (POSITIONS[0] + POSITIONS[1] / 2) / 1.5
    np.testing.assert_allclose(
        kernel(0.1, shrinkage=3.0)(near), mean[None] * effective / (effective + 3), rtol=1e-5
    )


def test_a_kernel_regression_of_residuals_adds_the_prediction_of_the_categories():
    base = CategoryMeans(np.float32([[10, 0], [0, 10]]))
    given = inputs(categories=[[0, 1]], similarities=[[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(kernel(1e-3, base=base)(given), [[1, 10]])


# Helpers


def test_unit_rows_have_length_one_and_zeros_stay_zero():
    np.testing.assert_allclose(l2_normalize(np.float32([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])


def test_softmax_survives_large_and_infinite_logits():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4, -np.inf]])), [[0.5, 0.5, 0]])


@pytest.mark.parametrize("batch", [1, 70])
def test_kernel_regressions_in_one_pass_are_those_alone(batch):
    rng = np.random.default_rng(3)
    n_prototypes, rank = 900, 3
    counts = rng.integers(1, 9, n_prototypes).astype(np.float32)
    base = CategoryMeans(rng.random((1, rank), np.float32))
    kernels = [
        KernelRegression(rng.random((n_prototypes, rank), np.float32), counts, *settings)
        for settings in [(0.03, 2.0), (0.08, 2.0), (0.05, 40.0, base)]
    ]
    estimators = (kernels[0], ZeroEstimator(rank), *kernels[1:])
    classifier = CategoryClassifier(("",), np.zeros((2, 1), np.float32), np.zeros(1))
    prototypes = np.zeros((n_prototypes, 2), np.float32)
    head = Head(classifier, prototypes, estimators, np.float32([0.25] * 4), np.ones(rank))
    given = inputs(
        np.zeros((batch, 2)), np.ones((batch, 1)), rng.random((batch, n_prototypes), np.float32)
    )
    together = head.estimator_positions(given)
    for estimator, positions in zip(estimators, together, strict=True):
        np.testing.assert_allclose(positions, estimator(given), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_regressions_in_one_product_are_those_alone(batch):
    rng = np.random.default_rng(4)
    regressions = {
        i: RidgeRegression(*(rng.random(shape, np.float32) for shape in [(4, 2), (3, 2), 2]))
        for i in (1, 3, 5)
    }
    given = inputs(rng.random((batch, 4)), rng.random((batch, 3)))
    together = StackedRegressions(regressions)(given)
    assert list(together) == [1, 3, 5]
    for i, regression in regressions.items():
        np.testing.assert_allclose(together[i], regression(given), rtol=1e-6)
