"""What is read: each reader sees one state of the log."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")

from tryage.traffic import reads


def test_a_reader_does_not_see_what_is_written_meanwhile(log, open_log, url):
    log.add_event("alarm", {})
    with log._database.read() as connection:
        assert reads.last_sequence(connection) == 1
        open_log(url).add_event("alarm", {})
        assert len(reads.events_after(connection, 0, 10)) == 1
    assert log.last_sequence() == 2


def test_feedback_whose_decision_is_gone_has_none(log, decision, feedback):
    from tryage.traffic.schema import DECISIONS

    log.record_decision(decision())
    log.add_feedback(feedback())
    with log._database.write(is_durable=True) as connection:
        connection.execute(DECISIONS.delete())
    assert [entry.decision for entry in log.feedback_after(0)] == [None]
