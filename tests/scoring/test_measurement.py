"""Prompts, measurements and the budget: what they accept, and what the budget allows."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError
from tryage.scoring.measurement import (
    Budget,
    Measurement,
    MeasurerIdentity,
    Prompt,
    unique_prompts,
)


def test_a_prompt_is_read_from_a_row_of_json():
    row = {"prompt": "2 + 2", "reference": [4, "four"], "choices": ["3", "4"], "prompt_id": 7}
    row |= {"category": "sums", "source": "mine"}
    assert Prompt.from_dict(row) == Prompt(
        "2 + 2", ("4", "four"), ("3", "4"), category="sums", source="mine", id="7"
    )
    assert Prompt.from_dict({"prompt": "x", "reference": 4}).references == ("4",)


def test_the_content_of_a_prompt_decides_its_id():
    plain = Prompt("x")
    assert plain.id == Prompt("x", category="other").id
    assert len({plain.id, Prompt("y").id, Prompt("x", ("a",)).id, Prompt("x", (), ("a",)).id}) == 4


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("one", "give a list"),
        ([], "no prompt"),
        ([3], "must be a string"),
        ([{"text": "x"}], "needs"),
        (["\ud800"], "not Unicode"),
        ([{"prompt": "x", "reference": {}}], "text or a number"),
        ([{"prompt": "x", "choices": [3]}], "One of the choices"),
        ([Prompt("a", id="1"), Prompt("b", id="1")], "own"),
    ],
)
def test_wrong_prompts_are_rejected(prompts, message):
    with pytest.raises(InputError, match=message):
        unique_prompts(prompts)


def test_the_same_prompt_twice_counts_once():
    assert unique_prompts(["a", "b", {"prompt": "a"}]) == [Prompt("a"), Prompt("b")]


def test_numbers_of_numpy_are_numbers_and_others_are_rejected():
    found = Measurement(np.float32(2.5), output_tokens=np.int64(3))
    assert (found.loss, found.output_tokens) == (2.5, 3.0)
    for wrong in (float("nan"), float("inf"), "3", True):
        with pytest.raises(InputError, match="A measured loss"):
            Measurement(wrong)


def test_a_row_holds_the_prompt_the_expert_and_every_measured_value():
    identity = MeasurerIdentity(Expert("a"), "length")
    row = Measurement(1.0, cost=0.5, output="x").to_row(Prompt("p", id="1"), identity)
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {
        "prompt_id": "1",
        "prompt": "p",
        "expert": "a",
        "method": "length",
        "loss": 1.0,
        "cost": 0.5,
        "output": "x",
    }
    assert "error" not in row


def test_without_a_limit_everything_is_allowed_and_an_unknown_cost_is_fine():
    budget = Budget()
    budget.charge("a", None)
    assert all(budget.allows("a", running) for running in range(9))
    assert budget.spent == 0.0


def test_the_first_request_of_an_expert_runs_alone():
    budget = Budget(10.0)
    assert budget.allows("a")
    assert not budget.allows("a", running=1)
    budget.charge("a", 1.0)
    assert budget.allows("a", running=1)


def test_as_many_requests_run_as_fit_at_the_highest_price_so_far():
    budget = Budget(10.0)
    for usd in (3.0, 1.0):
        budget.charge("a", usd)
    assert budget.max_price("a") == 3.0
    assert [budget.allows("a", running) for running in (0, 1, 2)] == [True, True, False]
    assert not budget.exhausted
    for _ in range(2):
        assert budget.allows("a")
        budget.charge("a", 3.0)
    assert not budget.allows("a")
    assert budget.exhausted


def test_earlier_runs_count_and_show_no_price():
    budget = Budget(1.0)
    budget.add_previous_cost(1.0)
    assert budget.max_price("a") is None
    assert not budget.allows("a")
    assert budget.exhausted


def test_an_unknown_cost_is_rejected_when_there_is_a_limit():
    with pytest.raises(MeasurementError, match="input_price"):
        Budget(1.0).charge("a", None)
    for wrong in (-1.0, float("nan"), "1"):
        with pytest.raises(InputError, match="budget in USD"):
            Budget(wrong)


def test_a_stopped_budget_allows_nothing_and_ends_every_wait():
    budget = Budget()
    assert budget.sleep(0.0)
    threading.Timer(0.05, budget.stop).start()
    start = time.monotonic()
    assert not budget.sleep(30.0)
    assert time.monotonic() - start < 20
    assert budget.stopped
    assert not budget.allows("a")
