"""The base class of a perception: only `predict` is required, everything else is optional."""

from __future__ import annotations

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


def test_a_prediction_of_the_wrong_shape_is_refused():
    class Wrong(Constant):
        experts = ("a", "b")

    with pytest.raises(PerceptionError, match=r"\(1, 4\).*expected \(batch, experts\) = \(1, 2\)"):
        Wrong().predict_columns(["x"], np.array([0]))


def test_a_part_of_a_prediction_keeps_its_output_tokens():
    losses = np.arange(6, dtype=np.float32).reshape(2, 3)
    part = Prediction(losses, losses, losses * 10).select(np.s_[1, 1:])
    assert (part.losses.tolist(), part.output_tokens.tolist()) == ([4, 5], [40, 50])
    assert Prediction(losses, losses).select(0).output_tokens is None
