"""The head joins all views of a prompt; many training prompts become a few prototypes."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training import estimators
from tryage.learning.training.estimators import fit_head

NAMES = ("", "a", "b")


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=120)
    x = np.where(kind[:, None], [1.0, 0, 0, 0], [0, 1.0, 0, 0]) + rng.normal(0, 0.1, (120, 4))
    places = np.where(kind[:, None], [1.0, -1.0], [-1.0, 1.0])
    return x.astype(np.float32), [NAMES[1 + k] for k in kind], places


def test_every_estimator_but_the_middle_finds_what_is_plain(clouds):
    x, labels, places = clouds
    head = fit_head(x, labels, NAMES, places, seed=0)
    views = head.estimator_positions(head.prepare(x))
    assert views.shape == (len(head.estimators), 120, 2)
    np.testing.assert_array_equal(views[0], 0)
    for view in views[1:]:
        assert (np.sign(view) == np.sign(places)).all()


def test_weights_begin_equal_and_nothing_is_stretched(clouds):
    x, labels, places = clouds
    head = fit_head(x, labels, NAMES, places, seed=0)
    assert head.weights.sum() == pytest.approx(1)
    assert np.ptp(head.weights) == 0
    np.testing.assert_array_equal(head.gain, 1)


def test_few_prompts_are_their_own_prototypes(clouds):
    x, labels, places = clouds
    head = fit_head(x, labels, NAMES, places, seed=0)
    np.testing.assert_allclose(head.prototypes, x / np.linalg.norm(x, axis=1)[:, None], atol=1e-6)


def test_many_prompts_become_prototypes_that_stand_for_all_of_them(clouds, monkeypatch):
    x, labels, places = clouds
    monkeypatch.setattr(estimators, "N_PROTOTYPES", 10)
    one, two = (fit_head(x, labels, NAMES, places, seed=0) for _ in range(2))
    assert len(one.prototypes) <= 10
    near = one.estimators[2]
    assert near.counts.sum() == 120
    np.testing.assert_allclose(near.counts @ near.positions, places.sum(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(one.prototypes, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        one.estimator_positions(one.prepare(x)), two.estimator_positions(two.prepare(x))
    )
    assert (np.sign(one.estimator_positions(one.prepare(x))[2]) == np.sign(places)).all()


def test_no_prompt_has_no_place(clouds):
    x, labels, places = clouds
    head = fit_head(x, labels, NAMES, places, seed=0)
    assert head.estimator_positions(head.prepare(x[:0])).shape == (len(head.estimators), 0, 2)
