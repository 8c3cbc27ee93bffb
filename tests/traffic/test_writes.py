"""What is written: numbers without gaps, whoever writes at the same time."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("sqlalchemy")

N_WRITERS, N_EACH = 4, 10


def test_numbers_have_no_gaps_where_several_write_at_once(open_log, url, decision, feedback):
    logs = [open_log(url) for _ in range(N_WRITERS)]

    def write(log, writer):
        for i in range(N_EACH):
            name = f"{writer}-{i}"
            log.record_decision(decision(name))
            log.add_feedback(feedback(name, name))
            log.add_event("alarm", {}, event_id=name)

    threads = [
        threading.Thread(target=write, args=one) for one in zip(logs, range(N_WRITERS), strict=True)
    ]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):  # a reader that is always there
        seen += logs[0].log_after(seen[-1].sequence if seen else 0)
    for thread in threads:
        thread.join()
    seen += logs[0].log_after(seen[-1].sequence if seen else 0)
    assert [entry.sequence for entry in seen] == list(range(1, 2 * N_WRITERS * N_EACH + 1))


def test_a_row_that_does_not_fit_is_lost_alone(log, decision):
    for i in range(5):
        log.record_decision(decision(f"d{i}", float(i)))
    log._writer.put(("decisions", (None,) * 9))
    assert log.flush()
    assert len(list(log.decisions())) == 5
    assert log.lost == {"decisions": 1}


@pytest.mark.parametrize("version", [(3, 24, 0), (3, 40, 1)])
def test_statements_have_no_more_values_than_sqlite_takes(version, log, decision, monkeypatch):
    monkeypatch.setattr("tryage.traffic.writes.sqlite3.sqlite_version_info", version)
    for i in range(700):
        log.record_decision(decision(f"d{i}"))
    assert log.flush()
    assert len(list(log.decisions())) == 700


def test_a_decision_that_is_written_twice_is_there_once(log, decision):
    log.record_decision(decision("d1", chosen="a"))
    log.record_decision(decision("d1", chosen="b"))
    assert log.flush()
    assert [one.chosen for one, *_ in log.decisions()] == ["a"]


def test_a_later_outcome_replaces_the_one_before(log, decision, outcome):
    log.record_decision(decision())
    log.record_outcome(outcome(error="TimeoutError", served_by=None))
    log.record_outcome(outcome(served_by="b"))
    assert [one.served_by for _, one, _ in log.decisions()] == ["b"]
