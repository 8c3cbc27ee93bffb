"""The fake perceptions predict what a test says, and the demo library suits the demo perception."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Router
from tryage.core.perception import Perception
from tryage.errors import PerceptionError
from tryage.testing import (
    FailingPerception,
    FixedPerception,
    FunctionPerception,
    LearningPerception,
    demo_library,
    demo_perception,
)


def test_a_fixed_perception_predicts_its_losses_and_those_of_single_prompts():
    perception = FixedPerception({"a": 0.1, "b": 0.5}, {"code": {"b": 0.0}}, std=0.2)
    predicted = perception.predict(["text", "code"])
    np.testing.assert_allclose(predicted.losses, [[0.1, 0.5], [0.1, 0.0]])
    np.testing.assert_allclose(predicted.std, np.full((2, 2), 0.2))
    assert perception.calls == [("text", "code")]
    assert perception.predict([]).losses.shape == (0, 2)


def test_a_function_perception_calls_its_function_on_every_prompt():
    perception = FunctionPerception(["a", "b"], lambda text: [len(text), 1.0])
    assert perception.predict(["xy", "xyz"]).losses.tolist() == [[2.0, 1.0], [3.0, 1.0]]


@pytest.mark.parametrize("error", [None, OSError("disk")])
def test_a_failing_perception_raises_its_error(error):
    perception = FailingPerception(["a"], error)
    with pytest.raises(type(error) if error else PerceptionError):
        perception.predict(["text"])


def test_a_learning_perception_averages_losses_and_moves_half_the_way_to_an_observed_one():
    perception = LearningPerception({"a": 0.2})
    taught = perception.onboard(Expert("b"), {"x": 0.2, "y": 0.4})
    np.testing.assert_allclose(taught.predict(["z"]).losses, [[0.2, 0.3]], rtol=1e-6)
    assert perception.experts == ("a",)
    taught.observe("z", "b", 0.5)
    np.testing.assert_allclose(
        taught.predict(["z", "w"]).losses, [[0.2, 0.4], [0.2, 0.3]], rtol=1e-6
    )
    assert taught.prior() == (0.5, 0.5)
    assert taught.count_tokens(["one two", ""]).tolist() == [2, 0]


def test_all_fakes_are_perceptions():
    fakes = (FixedPerception, FunctionPerception, FailingPerception, LearningPerception)
    assert all(issubclass(fake, Perception) for fake in fakes)


def test_the_demo_perception_prefers_the_most_expensive_expert_except_for_code():
    router = Router(demo_perception(), demo_library())
    assert router.route("hello").expert.name == "frontier"
    assert router.route("def f(x):").expert.name == "code-7b"
    assert demo_library()["newcomer"].parameters is None
