"""Whose answer is preferred: measured comparisons where there are some, else the adequate loss."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Library
from tryage.perception.preferred import MEASURE, preferred_losses
from tryage.perception.wrappers import AlignedPerception, DeduplicatedPerception

NAN = np.nan


def test_of_two_answers_that_are_good_enough_the_one_that_wins_comparisons_is_preferred():
    adequate = np.float32([[0.02, 0.02]])
    losses = preferred_losses(adequate, np.float32([[0.6, 0.2]]))
    assert losses[0, 1] < losses[0, 0]


def test_of_two_that_win_as_often_the_one_that_fails_here_is_not_preferred():
    losses = preferred_losses(np.float32([[0.1, 0.7]]), np.float32([[0.4, 0.4]]))
    assert losses[0].tolist() == pytest.approx([0.4 - 0.15, 0.4 + 0.15])


def test_an_expert_that_was_never_compared_is_placed_by_its_adequate_loss():
    adequate = np.float32([[0.1, 0.3, 0.5, 0.2]])
    losses = preferred_losses(adequate, np.float32([[0.2, 0.4, 0.6, NAN]]))
    assert losses[0, 0] < losses[0, 3] < losses[0, 1]


def test_without_any_comparison_nothing_changes():
    adequate = np.float32([[0.1, 0.3]])
    np.testing.assert_array_equal(preferred_losses(adequate, np.float32([[NAN, NAN]])), adequate)


def test_losses_stay_between_zero_and_one():
    losses = preferred_losses(np.float32([[0.0, 1.0]]), np.float32([[0.01, 0.99]]))
    assert (losses >= 0).all()
    assert (losses <= 1).all()


@pytest.fixture
def perception(learned):
    n = len(learned.head.category_classifier.names)
    compared = np.linspace(0.9, 0.1, len(learned.experts), dtype=np.float32)
    return learned.replace(forecasts={MEASURE: np.tile(compared, (n, 1))})


def test_a_perception_predicts_preference_from_its_table_and_adequacy_as_before(
    perception, learned
):
    prompts = ["Write a poem about the sea.", "2 + 2?"]
    adequate = learned.predict(prompts).losses
    compared = np.tile(perception.forecasts[MEASURE][:1], (2, 1))
    expected = preferred_losses(adequate, compared)
    np.testing.assert_allclose(perception.predict_preferred(prompts).losses, expected, atol=1e-5)
    np.testing.assert_array_equal(
        perception.predict(prompts).losses, learned.predict(prompts).losses
    )
    np.testing.assert_array_equal(
        learned.predict_preferred(prompts).losses, learned.predict(prompts).losses
    )


def test_preference_reaches_the_columns_of_a_library_also_with_an_unmeasured_expert(perception):
    names = list(perception.experts)
    known = Library([Expert(name) for name in reversed(names)])
    mixed = Library([*known, Expert("new")])
    expected = perception.predict_preferred(["2 + 2?"]).losses
    aligned = AlignedPerception(perception, known).predict_preferred(["2 + 2?"]).losses
    np.testing.assert_allclose(aligned, expected[:, ::-1], atol=1e-6)
    wider = AlignedPerception(perception, mixed).predict_preferred(["2 + 2?"]).losses
    assert wider.shape == (1, len(names) + 1)
    assert np.isfinite(wider).all()
    np.testing.assert_allclose(wider[:, :-1].argsort(axis=1), aligned.argsort(axis=1))


def test_two_providers_of_one_model_are_preferred_alike(perception):
    library = Library([Expert(name) for name in perception.experts])
    shared = DeduplicatedPerception(perception, library, {"again": perception.experts[0]})
    losses = shared.predict_preferred(["2 + 2?"]).losses
    assert losses[0, 0] == losses[0, -1]
