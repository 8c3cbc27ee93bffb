"""Logged traffic as a stream: one answer is measured, the others have the predicted loss."""

from __future__ import annotations

import pytest

from tryage.core.library import Library
from tryage.errors import InputError
from tryage.simulation.logged import read_traffic
from tryage.traffic.records import DecisionRecord, Feedback, Outcome

LIBRARY = Library(["small", "large"])


def row(number: int, *, score: float | None = None, cost: float | None = None, **fields):
    record = DecisionRecord(
        id=f"d{number}",
        time=float(number),
        router="r",
        chosen="large",
        candidates=("large", "gone", "small"),
        losses=(0.1, 0.2, 0.4),
        stds=(None, None, 0.1),
        totals=(0.1, 0.2, 0.4),
        costs=(0.5, None, 0.25),
        **fields,
    )
    outcome = None if cost is None else Outcome(record.id, record.time, "large", cost=cost)
    given = [] if score is None else [Feedback("f", record.id, record.time, score, "judge")]
    return record, outcome, given


def test_only_the_rated_answer_is_measured():
    logged = read_traffic([row(1, score=0.25, cost=0.75, prompt="hello")], LIBRARY)
    large, small = (logged.stream.answer(0, name) for name in ("large", "small"))
    assert (large.loss, large.cost, large.estimated) == (0.75, 0.75, False)
    assert (small.loss, small.cost, small.estimated) == (0.4, 0.25, True)
    assert "100% of the answers have a rating" in logged.notes[0]


def test_an_unrated_answer_has_the_predicted_loss_and_signals_are_no_ratings():
    record, _, _ = row(1, prompt="hello")
    retry = Feedback("f", record.id, 1.0, 0.0, "retry")
    logged = read_traffic([(record, None, [retry])], LIBRARY)
    answer = logged.stream.answer(0, "large")
    assert (answer.loss, answer.estimated) == (0.1, True)


def test_the_perception_predicts_what_the_log_says():
    logged = read_traffic([row(1), row(2)], LIBRARY)
    prediction = logged.perception.predict([logged.stream.prompts[1]])
    assert prediction.losses[0].tolist() == pytest.approx([0.4, 0.1])  # small, large
    assert prediction.costs[0].tolist() == [0.25, 0.5]


def test_a_log_without_prompts_says_so_and_requests_of_a_thread_belong_together():
    logged = read_traffic([row(1, key="t"), row(2), row(3, key="t")], LIBRARY)
    assert any("The log has no prompts" in note for note in logged.notes)
    assert logged.stream.groups.tolist() == [0, 1, 0]
    assert logged.stream.contexts[0].keys == {"thread_id": "t", "user_id": "t"}
    assert logged.stream.contexts[1].keys == {}
    assert logged.stream.times.tolist() == [1.0, 2.0, 3.0]


def test_a_log_of_other_experts_is_refused():
    with pytest.raises(InputError, match="no decision among experts"):
        read_traffic([row(1)], Library(["other"]))
