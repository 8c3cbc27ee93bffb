"""Categories are predicted as by a logistic regression; one that was never seen gets about zero."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tryage.learning.training.estimators import fit_category_classifier

NAMES = ("", "law", "maths", "music")


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    labels = np.repeat(["law", "maths", "music"], 40)
    centers = {"law": [2, 0, 0], "maths": [0, 2, 0], "music": [0, 0, 2]}
    x = np.array([centers[name] for name in labels]) + rng.normal(0, 0.7, (120, 3))
    return x.astype(np.float32), labels.tolist()


@pytest.mark.parametrize("present", [("law", "maths"), ("law", "maths", "music")])
def test_probabilities_are_those_of_a_logistic_regression(clouds, present):
    x, labels = clouds
    rows = [i for i, name in enumerate(labels) if name in present]
    picked, names = x[rows], [labels[i] for i in rows]
    ours = fit_category_classifier(picked, names, NAMES).probabilities(x)
    model = LogisticRegression(C=10.0, max_iter=60, tol=1e-3).fit(picked, names)
    columns = [NAMES.index(name) for name in model.classes_]
    np.testing.assert_allclose(ours[:, columns], model.predict_proba(x), atol=1e-5)


def test_probabilities_sum_to_one_and_that_of_an_unseen_category_is_about_zero(clouds):
    x, labels = clouds
    probabilities = fit_category_classifier(x, labels, NAMES).probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities[:, NAMES.index("")].max() < 1e-6


def test_with_a_single_category_every_prompt_belongs_to_it(clouds):
    x, _ = clouds
    probabilities = fit_category_classifier(x, ["law"] * len(x), NAMES).probabilities(x)
    np.testing.assert_allclose(probabilities[:, NAMES.index("law")], 1)
