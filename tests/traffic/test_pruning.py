"""Deleting from the log: what is old, or what belongs to one key, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from tryage.errors import InputError
from tryage.traffic.schema import FEEDBACK
from tryage.traffic.spending import Charge, Purse

DAY = 86_400.0
NOW = time.time()


@pytest.fixture
def filled(log, decision, outcome, feedback):
    """A log of an old decision and a new one of each of two keys, with all that belongs to them."""
    for age, when in (("old", NOW - 100 * DAY), ("new", NOW - 1 * DAY)):
        for key in ("ann", "bob"):
            name = f"{age} {key}"
            log.record_decision(decision(name, when, key=key))
            log.record_outcome(outcome(name, when))
            log.add_feedback(feedback(name, name, when))
    return log


def ids(log):
    return [one.id for one, *_ in log.decisions()]


def test_what_is_old_goes_with_all_that_belongs_to_it(filled):
    deleted = filled.prune(days=30)
    assert deleted == {"decisions": 2, "outcomes": 2, "feedback": 2}
    assert sorted(ids(filled)) == ["new ann", "new bob"]
    assert [entry.feedback.id for entry in filled.feedback_after(0)] == ["new ann", "new bob"]


def test_one_key_can_be_forgotten_at_once(filled):
    assert filled.prune(days=0, key="ann") == {"decisions": 2, "outcomes": 2, "feedback": 2}
    assert sorted(ids(filled)) == ["new bob", "old bob"]


def test_numbers_are_not_given_again(filled, decision, feedback):
    last = filled.last_sequence()
    filled.prune(days=0)
    filled.record_decision(decision("later", NOW))
    filled.add_feedback(feedback("later", "later", NOW))
    assert [entry.sequence for entry in filled.feedback_after(0)] == [last + 1]


def test_many_decisions_go_part_by_part(log, decision, monkeypatch):
    monkeypatch.setattr("tryage.traffic.pruning._PART", 10)
    monkeypatch.setattr("tryage.traffic.pruning._MAX_IDS", 3)
    for i in range(35):
        log.record_decision(decision(f"d{i}", NOW - 10 * DAY))
    assert log.prune(days=5)["decisions"] == 35
    assert ids(log) == []


def test_what_came_of_lost_decisions_goes_too(log, outcome, feedback):
    log.record_outcome(outcome("lost", NOW - 10 * DAY))
    log.add_feedback(feedback("f1", "lost", NOW - 10 * DAY))
    log.add_feedback(feedback("f2", "to come", NOW))
    deleted = log.prune(days=5)
    assert (deleted["outcomes"], deleted["feedback"]) == (1, 1)
    with log._database.read() as connection:
        assert [row.id for row in connection.execute(FEEDBACK.select())] == ["f2"]


def test_the_last_snapshot_of_each_router_stays(log, monkeypatch):
    monkeypatch.setattr("tryage.traffic.traffic.clock.time", lambda: NOW - 10 * DAY)
    for router, sequence in (("r", 1), ("r", 2), ("s", 1)):
        log.save_snapshot(router, sequence, b"state")
    monkeypatch.undo()
    assert log.prune(days=5)["snapshots"] == 1
    assert log.latest_snapshot("r").sequence == 2
    assert log.latest_snapshot("s").sequence == 1


def test_deleted_texts_are_in_no_file(open_log, url, decision):
    log = open_log(url, keep_prompts=True)
    for i in range(200):
        log.record_decision(decision(f"d{i}", NOW - 10 * DAY, prompt=f"a very secret wish {i}"))
    log.flush()
    file = Path(url.removeprefix("sqlite:///"))
    files = [file, Path(f"{file}-wal")]
    assert any(b"very secret wish" in one.read_bytes() for one in files)
    log.prune(days=5)
    assert not any(b"very secret wish" in one.read_bytes() for one in files)


@pytest.mark.parametrize("days", [-1, float("nan"), "30"])
def test_days_are_a_number_of_at_least_0(log, days):
    with pytest.raises(InputError):
        log.prune(days)


def test_what_a_budget_without_periods_knows_of_a_key_goes_with_its_last_request(log, tmp_path):
    for key in ("ann", "bob"):
        charges = [Charge(Purse("mean", key, 0.0), f"{key}{age}", NOW - age * DAY, 1.0, 1.0)
                   for age in (100, 1)]  # fmt: skip
        log.spending._store.apply(charges, [])
    assert log.prune(days=30, key="ann") == {"charges": 1}
    assert log.prune(days=0, key="ann") == {"charges": 1, "purses": 1}
    log.export(tmp_path / "log.jsonl")
    assert "ann" not in (tmp_path / "log.jsonl").read_text("utf-8")
