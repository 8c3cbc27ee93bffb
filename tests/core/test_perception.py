"""The base class of a perception: only `predict` is required, everything else is optional."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tryage import Expert, Library, Router
from tryage.core.perception import Perception, Prediction
from tryage.errors import PerceptionError


class Constant(Perception):
    """Predicts the same losses for every prompt."""

    experts = ("a", "b", "c", "d")

    def predict(self, prompts):
        losses = np.tile(np.float32([0.4, 0.3, 0.2, 0.1]), (len(prompts), 1))
        return Prediction(losses, np.full_like(losses, 0.1))


def test_a_perception_without_predict_cannot_be_built():
    class Empty(Perception):
        pass

    with pytest.raises(TypeError, match="predict"):
        Empty()


def test_a_perception_that_only_predicts_offers_nothing_else():
    perception = Constant()
    assert perception.count_tokens(["a"]) is None
    assert perception.prior() is None
    assert perception.for_library(Library(["a"])) is None
    with pytest.raises(PerceptionError, match=r"Constant cannot learn: it has no onboard\(\)"):
        perception.observe("x", "a", 0.5)
    with pytest.raises(PerceptionError, match="Constant cannot learn"):
        perception.onboard(Expert("e"), {"x": 0.5})


def test_a_perception_that_only_predicts_can_route():
    router = Router(Constant())
    assert router.subset(["a", "c"]).route("x").expert.name == "c"
    with pytest.raises(PerceptionError, match="Constant cannot learn"):
        router.observe(router.route("x"), 0.5)
    with pytest.raises(PerceptionError, match="Constant cannot learn"):
        router.onboard(Expert("e"), {"x": 0.5})


def test_some_columns_are_those_of_the_whole_prediction():
    part = Constant().predict_columns(["x", "y"], np.array([3, 0]))
    np.testing.assert_allclose(part.losses, [[0.1, 0.4]] * 2)
    assert part.std.shape == (2, 2)


def pending(calls):
    """Return a prediction whose std is a function that notes its calls."""
    losses = np.float32([[0.4, 0.3], [0.2, 0.1]])
    return Prediction(losses, lambda: calls.append("called") or losses / 10)


def test_a_std_that_is_a_function_is_called_once_when_it_is_read():
    calls = []
    prediction = pending(calls)
    rows, columns = prediction.select(np.array([1])), prediction.select(np.s_[:, np.array([1])])
    merged = prediction.with_rows(np.array([0]), rows)
    assert prediction.has_shape((2, 2))
    assert not calls
    np.testing.assert_allclose(merged.std, [[0.02, 0.01], [0.02, 0.01]])
    np.testing.assert_allclose(columns.std, [[0.03], [0.01]])
    np.testing.assert_allclose(prediction.std, [[0.04, 0.03], [0.02, 0.01]])
    assert calls == ["called"]


def test_a_pickle_of_a_prediction_has_the_std_in_place_of_the_function():
    again = pickle.loads(pickle.dumps(pending([])))  # noqa: S301 - our own bytes
    np.testing.assert_allclose(again.std, again.losses / 10)


def test_a_prediction_needs_a_std():
    with pytest.raises(TypeError, match="std"):
        Prediction(np.zeros((1, 2)))


def test_a_prediction_of_the_wrong_shape_is_refused():
    class Wrong(Constant):
        experts = ("a", "b")

    with pytest.raises(PerceptionError, match=r"\(1, 4\).*expected \(batch, experts\) = \(1, 2\)"):
        Wrong().predict_columns(["x"], np.array([0]))


def test_a_std_of_the_wrong_shape_is_refused():
    class Wrong(Constant):
        def predict(self, prompts):
            return Prediction(super().predict(prompts).losses, np.zeros((1, 3), np.float32))

    with pytest.raises(PerceptionError, match=r"std of shape \(1, 3\)"):
        Wrong().predict_columns(["x"], np.array([0]))


def test_a_part_of_a_prediction_keeps_its_output_tokens():
    losses = np.arange(6, dtype=np.float32).reshape(2, 3)
    part = Prediction(losses, losses, losses * 10).select(np.s_[1, 1:])
    assert (part.losses.tolist(), part.output_tokens.tolist()) == ([4, 5], [40, 50])
    assert Prediction(losses, losses).select(0).output_tokens is None
