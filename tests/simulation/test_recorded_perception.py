"""A perception that returns recorded predictions."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Router
from tryage.errors import InputError, PerceptionError
from tryage.simulation import RecordedPerception

NAN = float("nan")


def make(**tables) -> RecordedPerception:
    losses = np.array([[0.1, 0.2], [0.2, NAN]])
    return RecordedPerception(("a", "b"), ("p", "q"), losses, **tables)


def test_a_router_decides_by_what_was_recorded_and_leaves_out_what_was_not():
    router = Router(make(costs=np.array([[0.5, 0.25], [0.5, NAN]])))
    first, second = router.decide_batch(["p", "q"])
    assert first.expert.name == "b"  # dollars count
    assert [one.cost for one in first.ranking] == [0.25, 0.5]
    assert [one.name for one in second.ranking] == ["a"]


def test_a_prompt_that_was_not_recorded_is_an_error():
    with pytest.raises(PerceptionError, match="'new'"):
        make().predict(["p", "new"])


def test_of_equal_prompts_the_first_counts():
    perception = RecordedPerception(("a",), ("p", "p"), np.array([[0.1], [0.9]]))
    assert perception.predict(["p"]).losses == pytest.approx(0.1)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(InputError, match="std has the shape"):
        make(std=np.zeros((2, 3)))
