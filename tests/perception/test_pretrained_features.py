"""What a pretrained router knows of a prompt: its categories, and its place in its space."""

import numpy as np
import pytest

from tryage.perception.head import (
    CategoryClassifier,
    CategoryMeans,
    Head,
    KernelRegression,
    RidgeRegression,
    ZeroEstimator,
)
from tryage.perception.pretrained_features import pretrained_features

NONE = np.zeros(0, np.intp)


@pytest.fixture
def head():
    """Two features, two categories, two dimensions; one estimator of each kind."""
    classifier = CategoryClassifier(
        ("a", "b"), np.float32([[2, -2], [0, 1]]), np.float32([0.5, -0.5])
    )
    means = CategoryMeans(np.float32([[1, 0], [0, 1]]))
    ridge = RidgeRegression(
        np.float32([[1, 2], [3, 4]]), np.float32([[0.1, 0.2], [0.3, 0.4]]), np.float32([5, 6])
    )
    neighbors = KernelRegression(np.float32([[9, 9]]), np.float32([1]), 0.1, 1.0)
    weights = np.float32([0.2, 0.1, 0.4, 0.3])
    estimators = (ZeroEstimator(2), means, neighbors, ridge)
    return Head(classifier, np.float32([[1, 0]]), estimators, weights, np.float32([1, 2]))


def test_the_features_are_the_weighted_mean_of_linear_estimators_and_the_categories(head):
    x = np.float32([[0.3, -0.2], [1, 1]])
    features = pretrained_features(head, NONE).transform(x)
    inputs = head.prepare(x)
    by_estimator = head.estimator_positions(inputs)
    expected = (0.1 * by_estimator[1] + 0.3 * by_estimator[3]) / (0.2 + 0.1 + 0.3)
    np.testing.assert_allclose(features[:, :2], expected, rtol=1e-5)
    np.testing.assert_allclose(features[:, 2:], 0.3 * inputs.category_probabilities, rtol=1e-5)


def test_an_ignored_feature_changes_nothing(head):
    known = pretrained_features(head, np.array([1]))
    one, two = known.transform(np.float32([[0.3, -0.2], [0.3, 7]]))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(head.estimators[3].slope[1], [3, 4])  # the head keeps its own


def test_only_the_positions_are_scaled(head):
    known, x = pretrained_features(head, NONE), np.float32([[0.3, -0.2]])
    plain, scaled = known.transform(x), known.scaled(3.0).transform(x)
    np.testing.assert_allclose(scaled[:, :2], 3 * plain[:, :2], rtol=1e-5)
    np.testing.assert_array_equal(scaled[:, 2:], plain[:, 2:])
    assert (known.input_width, known.width) == (2, 4)


def test_a_head_that_places_all_prompts_in_the_middle_tells_the_categories_alone(head):
    bare = Head(
        head.category_classifier, head.prototypes, head.estimators[:1], np.ones(1), head.gain
    )
    features = pretrained_features(bare, NONE).transform(np.float32([[0.3, -0.2]]))
    np.testing.assert_array_equal(features[:, :2], 0)
