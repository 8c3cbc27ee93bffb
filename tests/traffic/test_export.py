"""The log as JSON lines."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sqlalchemy")

from tryage.traffic.spending import Charge, Purse


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_decision_is_a_line_with_all_that_belongs_to_it(
    log, decision, outcome, feedback, tmp_path
):
    log.record_decision(decision("d1", 1.0, tags=("größer",)))
    log.record_outcome(outcome("d1"))
    log.add_feedback(feedback("f1", "d1"))
    log.record_decision(decision("d2", 2.0))
    log.add_event("alarm", {"p": 0.01}, "a")
    assert log.export(tmp_path / "log.jsonl") == 2
    first, second, event = lines(tmp_path / "log.jsonl")
    assert first["decision"]["position"] == [0.5, -1.0, 3.25]
    assert first["decision"]["tags"] == ["größer"]
    assert first["decision"]["prompt"] is None
    assert (first["outcome"]["cost"], first["feedback"][0]["score"]) == (0.01, 1.0)
    assert (second["decision"]["id"], second["outcome"], second["feedback"]) == ("d2", None, [])
    assert event["event"]["values"] == {"p": 0.01}


def test_only_what_belongs_to_a_key_is_written_on_demand(log, decision, tmp_path):
    log.record_decision(decision("d1", key="ann"))
    log.record_decision(decision("d2", key="bob"))
    log.add_event("alarm", {})
    assert log.export(tmp_path / "log.jsonl", key="ann") == 1
    assert [line["decision"]["id"] for line in lines(tmp_path / "log.jsonl")] == ["d1"]


def test_what_budgets_hold_of_a_key_is_written_too(log, tmp_path):
    for key in ("ann", "bob"):
        purse = Purse("day", key, 0.0, 86_400.0)
        log.spending._store.apply([Charge(purse, f"d-{key}", 10.0, 2.0, 1.5, (4.0,))], [])
    assert log.export(tmp_path / "log.jsonl", key="ann") == 0
    purse, charge = lines(tmp_path / "log.jsonl")
    assert {name: purse["purse"][name] for name in ("key", "end", "spent")} == {
        "key": "ann",
        "end": 86_400.0,
        "spent": 2.0,
    }
    assert purse["purse"]["content"]["costs"] == [4.0]
    assert (charge["charge"]["decision_id"], charge["charge"]["usd"]) == ("d-ann", None)


def test_many_events_come_page_by_page(log, tmp_path, monkeypatch):
    for _ in range(5):
        log.add_event("alarm", {})
    original = type(log).events_after
    monkeypatch.setattr(type(log), "events_after", lambda self, last: original(self, last, 2))
    log.export(tmp_path / "log.jsonl")
    assert [line["event"]["sequence"] for line in lines(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5]
