"""Each view of a prompt's place, against a hand-worked case or scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from tryage.learning.training.estimators import RIDGES, fit_category_means, fit_ridge
from tryage.perception.head import (
    CategoryMeans,
    EstimatorInputs,
    KernelRegression,
    RidgeRegression,
    ZeroEstimator,
    l2_normalize,
)


def seen(features=None, categories=None, nearness=None):
    rows = next(len(x) for x in (features, categories, nearness) if x is not None)
    blank = np.zeros((rows, 1), np.float32)
    return EstimatorInputs(
        *(blank if x is None else np.float32(x) for x in (features, categories, nearness))
    )


def test_the_middle_is_zero_for_every_prompt():
    np.testing.assert_array_equal(
        ZeroEstimator(3)(seen(features=np.ones((2, 5)))), np.zeros((2, 3))
    )


def test_the_category_table_mixes_by_probability():
    table = CategoryMeans(np.float32([[1, 0], [3, -2]]))
    places = table(seen(categories=[[1, 0], [0.25, 0.75]]))
    np.testing.assert_allclose(places, [[1, 0], [2.5, -1.5]])


def test_a_category_of_few_prompts_shrinks_to_the_middle():
    one_hot = np.float32([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    places = np.array([[2.0], [4.0], [6.0]])
    table = fit_category_means(places, one_hot, shrinkage=2.0)
    np.testing.assert_allclose(table.positions, [[(2 + 4) / (2 + 2)], [6 / (1 + 2)], [0]])


PLACES = np.float32([[1, 0], [2, 2], [6, -2]])


def neighbourhood(bandwidth, shrinkage=0.0, counts=(1, 1, 1), base=None):
    return KernelRegression(PLACES, np.float32(counts), bandwidth, shrinkage, base)


def test_with_a_huge_bandwidth_a_neighbourhood_is_the_mean():
    near = seen(nearness=[[0.1, 0.9, -0.5]])
    np.testing.assert_allclose(neighbourhood(1e6)(near), [[3, 0]], atol=1e-4)


def test_with_a_tiny_bandwidth_a_neighbourhood_is_the_nearest_prompt():
    near = seen(nearness=[[0.1, 0.9, -0.5], [0.3, 0.2, 0.31]])
    np.testing.assert_allclose(neighbourhood(1e-4)(near), PLACES[[1, 2]])


def test_a_prototype_counts_as_often_as_prompts_it_stands_for():
    near = seen(nearness=[[0.5, 0.5, 0.5]])
    weighted = neighbourhood(0.05, counts=(2, 1, 1))(near)
    np.testing.assert_allclose(weighted, [(2 * PLACES[0] + PLACES[1] + PLACES[2]) / 4], rtol=1e-6)


def test_a_neighbourhood_shrinks_by_the_effective_number_of_neighbours():
    alike = seen(nearness=[[0.5, 0.5, 0.5]])
    np.testing.assert_allclose(
        neighbourhood(0.05, shrinkage=3.0)(alike), PLACES.mean(0)[None] * 3 / (3 + 3), rtol=1e-6
    )
    alone = seen(nearness=[[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        neighbourhood(0.01, shrinkage=3.0)(alone), PLACES[:1] / (1 + 3), rtol=1e-6
    )


def test_distant_neighbours_count_as_less_than_one():
    half = -0.1 * np.log(2)  # weights of 1, 1/2 and about 0
    near = seen(nearness=[[0.0, half, -9.0]])
    effective = 1.5**2 / (1 + 0.25)
    mean = (PLACES[0] + PLACES[1] / 2) / 1.5
    np.testing.assert_allclose(
        neighbourhood(0.1, shrinkage=3.0)(near), mean[None] * effective / (effective + 3), rtol=1e-5
    )


def test_a_neighbourhood_of_residuals_adds_what_the_categories_say():
    base = CategoryMeans(np.float32([[10, 0], [0, 10]]))
    given = seen(categories=[[0, 1]], nearness=[[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(neighbourhood(1e-3, base=base)(given), [[1, 10]])


@pytest.fixture
def linear():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)).astype(np.float32)
    one_hot = np.eye(3, dtype=np.float32)[rng.integers(3, size=80)]
    y = np.stack([x[:, 0] - 2 * x[:, 1] + rng.normal(0, 0.5, 80), rng.normal(size=80)], axis=1)
    return x, one_hot, y + np.array([3, -1])


def test_a_line_equals_a_ridge_regression_on_features_and_scaled_categories(linear):
    x, one_hot, y = linear
    line = fit_ridge(x, one_hot, y, category_scale=2.0, ridges=(5.0,))
    inputs = np.concatenate([x, 2 * one_hot], axis=1)
    expected = Ridge(alpha=5.0).fit(inputs, y).predict(inputs)
    np.testing.assert_allclose(line(seen(x, one_hot)), expected, atol=1e-4)


def test_a_line_chooses_the_ridge_of_the_least_generalised_cross_validation_error(linear):
    x, one_hot, y = linear
    line = fit_ridge(x, one_hot, y, category_scale=0.0)
    inner = np.float64(x - x.mean(0))
    for column in range(2):
        target = y[:, column] - y[:, column].mean()
        errors = []
        for ridge in RIDGES:
            hat = inner @ np.linalg.solve(inner.T @ inner + ridge * np.eye(6), inner.T)
            freedom = np.trace(hat) + 1
            errors.append(np.mean((target - hat @ target) ** 2) / (1 - freedom / len(x)) ** 2)
        best = RIDGES[int(np.argmin(errors))]
        expected = Ridge(alpha=best).fit(x, y[:, column]).predict(x)
        np.testing.assert_allclose(line(seen(x, one_hot))[:, column], expected, atol=1e-4)


def test_a_line_predicts_about_as_well_as_leave_one_out_would(linear):
    x, one_hot, y = linear
    ours = fit_ridge(x, one_hot, y, category_scale=0.0)(seen(x, one_hot))[:, 0]
    theirs = RidgeCV(alphas=RIDGES).fit(x, y[:, 0]).predict(x)
    assert np.abs(ours - theirs).max() < 0.1


def test_where_features_say_nothing_a_line_predicts_the_middle(linear):
    x, one_hot, y = linear
    line = fit_ridge(x, one_hot, y, category_scale=0.0)
    said = line(seen(x, one_hot))
    assert said[:, 1].std() < 0.1 * y[:, 1].std()
    assert said[:, 0].std() > 0.8 * y[:, 0].std()


def test_a_line_of_scale_zero_does_not_look_at_the_category(linear):
    x, one_hot, y = linear
    line = fit_ridge(x, one_hot, y, category_scale=0.0)
    np.testing.assert_array_equal(line.category_slope, 0)


def test_features_that_never_vary_do_not_break_a_line():
    x, one_hot = np.ones((20, 3), np.float32), np.ones((20, 1), np.float32)
    y = np.arange(20.0)[:, None]
    line = fit_ridge(x, one_hot, y, category_scale=2.0)
    assert isinstance(line, RidgeRegression)
    np.testing.assert_allclose(line(seen(x, one_hot)), 9.5, atol=1e-4)


def test_unit_rows_have_length_one_and_zeros_stay_zero():
    np.testing.assert_allclose(l2_normalize(np.float32([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])
