"""Streams of requests: their order, their times and what is known of each answer."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.request import ConversationContext
from tryage.core.simulated_answer import SimulatedAnswer
from tryage.errors import InputError, QTableError
from tryage.scoring.qtable import QTable
from tryage.simulation.stream import DAY, FIRST_DAY, stream_of_table

NAN = float("nan")


def make_table(**fields) -> QTable:
    losses = [[0.0, 0.0], [1.0, NAN], [NAN, NAN], [1.0, 0.5]]
    costs = [[1.0, 9.0], [1.0, NAN], [NAN, NAN], [NAN, 9.0]]
    return QTable(("easy", "hard", "nobody", "fair"), ("a", "b"), losses, costs=costs, **fields)


def test_prompts_that_nobody_answered_are_left_out():
    assert stream_of_table(make_table()).prompts == ("easy", "hard", "fair")
    with pytest.raises(QTableError, match="No prompt"):
        stream_of_table(QTable(("p",), ("a",), [[NAN]]))


@pytest.mark.parametrize(
    ("order", "expected"),
    [("easy first", ("easy", "fair", "hard")), ("hard first", ("hard", "fair", "easy"))],
)
def test_a_sorted_stream_keeps_the_times_and_moves_everything_else(order, expected):
    contexts = [ConversationContext(keys={"user_id": name}) for name in ("e", "h", "n", "f")]
    stream = stream_of_table(make_table(), contexts=contexts)
    moved = stream.ordered(order)
    assert moved.prompts == expected
    assert [one.keys["user_id"] for one in moved.contexts] == [name[0] for name in expected]
    assert moved.answer(expected.index("fair"), "b").loss == 0.5
    assert moved.times.tolist() == stream.times.tolist()


def test_a_shuffle_is_repeatable_and_an_unknown_order_is_refused():
    stream = stream_of_table(make_table())
    assert stream.ordered("shuffled", 3).prompts == stream.ordered("shuffled", 3).prompts
    assert stream.ordered("given") is stream
    with pytest.raises(InputError, match="expected one of given, shuffled"):
        stream.ordered("sorted")


def test_a_table_is_one_day_unless_said_otherwise():
    times = stream_of_table(make_table()).times
    assert times[0] == FIRST_DAY
    assert times[-1] < FIRST_DAY + DAY
    slow = stream_of_table(make_table(), requests_per_day=1).times
    assert slow.tolist() == [FIRST_DAY, FIRST_DAY + DAY, FIRST_DAY + 2 * DAY]
    with pytest.raises(InputError, match="above 0"):
        stream_of_table(make_table(), requests_per_day=0)


def test_what_is_not_known_of_an_answer_is_none():
    evidence = np.full((4, 2), NAN)
    evidence[0, 1] = 0.75
    stream = stream_of_table(make_table(), evidence=evidence)
    assert stream.answer(0, "b") == SimulatedAnswer("b", 0.0, 9.0, evidence=0.75, called=("b",))
    assert stream.answer(1, "b") == SimulatedAnswer("b", None, None, called=("b",))
    assert stream.answer(0, "stranger") == SimulatedAnswer(
        "stranger", None, None, called=("stranger",)
    )


def test_unknown_costs_are_filled_and_losses_are_marked_as_estimated():
    stream = stream_of_table(make_table())
    predicted = np.full((3, 2), 0.25), np.full((3, 2), 2.0)
    assert stream.filled(None, predicted[1]).answer(2, "a").cost == 2.0
    filled = stream.filled(*predicted)
    assert (filled.answer(1, "b").loss, filled.answer(1, "b").estimated) == (0.25, True)
    assert (filled.answer(1, "a").loss, filled.answer(1, "a").estimated) == (1.0, False)


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(InputError, match="evidence has the shape"):
        stream_of_table(make_table(), evidence=np.zeros((4, 3)))
    with pytest.raises(InputError, match="expected a ConversationContext"):
        stream_of_table(make_table(), contexts=["user"] * 4)
    with pytest.raises(InputError, match="contexts has another length"):
        stream_of_table(make_table(), contexts=[ConversationContext()])
