"""The ridge regression of positions is scikit-learn's, with the ridge of the least GCV error."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from tryage.learning.training.estimators import RIDGES, fit_ridge
from tryage.perception.head import EstimatorInputs, RidgeRegression


def inputs(features, categories):
    return EstimatorInputs(features, categories, np.zeros((len(features), 1), np.float32))


@pytest.fixture
def linear():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)).astype(np.float32)
    one_hot = np.eye(3, dtype=np.float32)[rng.integers(3, size=80)]
    y = np.stack([x[:, 0] - 2 * x[:, 1] + rng.normal(0, 0.5, 80), rng.normal(size=80)], axis=1)
    return x, one_hot, y + np.array([3, -1])


def test_it_equals_a_ridge_regression_on_features_and_scaled_categories(linear):
    x, one_hot, y = linear
    ridge = fit_ridge(x, one_hot, y, category_scale=2.0, ridges=(5.0,))
    both = np.concatenate([x, 2 * one_hot], axis=1)
    expected = Ridge(alpha=5.0).fit(both, y).predict(both)
    np.testing.assert_allclose(ridge(inputs(x, one_hot)), expected, atol=1e-4)


def test_it_chooses_the_ridge_of_the_least_generalized_cross_validation_error(linear):
    x, one_hot, y = linear
    fitted = fit_ridge(x, one_hot, y, category_scale=0.0)
    centered = np.float64(x - x.mean(0))
    for column in range(2):
        target = y[:, column] - y[:, column].mean()
        errors = []
        for ridge in RIDGES:
            gram = centered.T @ centered + ridge * np.eye(6)
            hat = centered @ np.linalg.solve(gram, centered.T)
            freedom = np.trace(hat) + 1
            errors.append(np.mean((target - hat @ target) ** 2) / (1 - freedom / len(x)) ** 2)
        best = RIDGES[int(np.argmin(errors))]
        expected = Ridge(alpha=best).fit(x, y[:, column]).predict(x)
        np.testing.assert_allclose(fitted(inputs(x, one_hot))[:, column], expected, atol=1e-4)


def test_it_predicts_about_as_well_as_with_leave_one_out(linear):
    x, one_hot, y = linear
    ours = fit_ridge(x, one_hot, y, category_scale=0.0)(inputs(x, one_hot))[:, 0]
    theirs = RidgeCV(alphas=RIDGES).fit(x, y[:, 0]).predict(x)
    assert np.abs(ours - theirs).max() < 0.1


def test_where_features_say_nothing_it_predicts_the_mean(linear):
    x, one_hot, y = linear
    predicted = fit_ridge(x, one_hot, y, category_scale=0.0)(inputs(x, one_hot))
    assert predicted[:, 1].std() < 0.1 * y[:, 1].std()
    assert predicted[:, 0].std() > 0.8 * y[:, 0].std()


def test_with_a_category_scale_of_zero_the_category_plays_no_part(linear):
    x, one_hot, y = linear
    ridge = fit_ridge(x, one_hot, y, category_scale=0.0)
    np.testing.assert_array_equal(ridge.category_slope, 0)


def test_features_that_never_vary_are_ignored():
    x, one_hot = np.ones((20, 3), np.float32), np.ones((20, 1), np.float32)
    y = np.arange(20.0)[:, None]
    ridge = fit_ridge(x, one_hot, y, category_scale=2.0)
    assert isinstance(ridge, RidgeRegression)
    np.testing.assert_allclose(ridge(inputs(x, one_hot)), 9.5, atol=1e-4)
