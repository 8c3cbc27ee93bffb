"""The database: URLs, transactions, forks, and errors without passwords."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.errors import InputError, TrafficError

pytest.importorskip("sqlalchemy")

from tryage.traffic.database import describe_url, parse_url

SECRET = "hunter2-long-enough"  # noqa: S105 - of no account


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_the_same_driver(scheme):
    pytest.importorskip("psycopg")
    assert parse_url(f"{scheme}://user@host/base").drivername == "postgresql+psycopg"


def test_the_path_of_a_file_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_url("sqlite:///tryage.db").database == str(tmp_path / "tryage.db")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tryage.db", "sqlite:///"),
        ("mysql://host/base", "mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////no/such/folder/tryage.db", "/no/such/folder"),
        (3, "int"),
    ],
)
def test_another_url_is_an_error_that_says_what_to_write(url, words):
    with pytest.raises(InputError, match=words):
        parse_url(url)


@pytest.mark.parametrize("authority", ["me:pass@{}@host", "me:{}@host:port"])
def test_a_malformed_url_is_an_error_that_does_not_show_its_password(authority):
    pytest.importorskip("psycopg")
    with pytest.raises(InputError) as caught:
        parse_url(f"postgresql://{authority.format(SECRET)}/base")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_is_shown_nowhere(open_log, caplog):
    pytest.importorskip("psycopg")
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/base?password={SECRET}"
    log = open_log(url, timeout=1.0)  # nobody listens there, which is no error yet
    with pytest.raises(TrafficError) as caught:
        log.last_sequence()
    assert SECRET not in repr(log) + str(caught.value) + repr(caught.value) + caplog.text
    assert caught.value.__cause__ is None
    assert "me:***@127.0.0.1" in repr(log)


def test_a_url_is_described_without_its_options():
    pytest.importorskip("psycopg")
    assert SECRET not in describe_url(parse_url(f"postgresql://u@h/b?password={SECRET}"))


def test_a_file_is_opened_with_a_write_ahead_log_that_others_can_read(log, url, decision):
    log.record_decision(decision())
    assert log.flush()
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file.execute("SELECT id FROM tryage_decisions").fetchall() == [("d1",)]
    file.close()


def test_a_file_that_was_deleted_is_made_again(log, url, decision):
    log.record_decision(decision("d1"))
    log.flush()
    for suffix in ("", "-wal", "-shm"):
        Path(url.removeprefix("sqlite:///") + suffix).unlink(missing_ok=True)
    log.record_decision(decision("d2"))
    assert log.flush()
    assert [one.id for one, *_ in log.decisions()] == ["d2"]


def test_a_full_disk_fails_no_call_and_what_waits_is_written_when_there_is_space(
    open_log, url, decision, feedback
):
    import sqlalchemy as sa

    log = open_log(url, queue_size=50)
    pages = iter([100])

    def limit_pages(connection, *_):
        connection.execute(f"PRAGMA max_page_count={next(pages, 1_000_000)}").fetchall()

    log._database.close()
    sa.event.listen(log._database._open(), "connect", limit_pages)
    log._database._engine.dispose()
    for i in range(60):
        log.record_decision(decision(f"d{i}", prompt=None, tags=("t" * 8_000 + str(i),)))
    assert not log.flush(5)
    with pytest.raises(TrafficError, match="full; make room on its disk"):
        log.add_feedback(feedback("f1", "d1", comment="c" * 600_000))
    log._database._engine.dispose()  # the next connection has space
    assert log.flush(5)
    assert log.counts()["decisions"] == 50
    assert log.lost == {"decisions": 10}


def test_a_log_in_a_folder_that_cannot_be_written_says_what_to_do(open_log, url, decision):
    log = open_log(url)
    log.record_decision(decision())
    log.close()

    def fail(*_, **__):
        raise sqlite3.OperationalError("unable to open database file")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqlite3.dbapi2.connect", fail)
        with pytest.raises(TrafficError, match="copy the file to a folder that can be written"):
            open_log(url, create=False).counts()


def test_a_lock_of_another_program_fails_no_call(open_log, url, decision, feedback):
    log = open_log(url, timeout=0.05)
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.record_decision(decision())
    assert not log.flush(5)
    with pytest.raises(TrafficError, match="locked"):
        log.add_feedback(feedback())
    other.execute("ROLLBACK")
    other.close()
    assert log.flush(5)
    assert len(list(log.decisions())) == 1


def test_a_child_of_a_fork_connects_anew(log, decision, finishes_in_child):
    log.record_decision(decision("d1"))
    log.flush()

    def record():
        log.record_decision(decision("d2"))
        assert log.flush(5)

    assert finishes_in_child(record)
    assert [one.id for one, *_ in log.decisions()] == ["d1", "d2"]


def _record_and_end(log, decision):
    log.record_decision(decision("of the child"))


def test_a_process_of_multiprocessing_writes_what_is_queued_when_it_ends(log, decision):
    log.record_decision(decision("of the parent"))
    log.flush()
    child = multiprocessing.get_context("fork").Process(
        target=_record_and_end, args=(log, decision)
    )
    child.start()
    child.join(30)
    assert {one.id for one, *_ in log.decisions()} == {"of the parent", "of the child"}


def _make(url, start):
    from tryage.traffic.records import DecisionRecord
    from tryage.traffic.traffic import Traffic

    start.wait(30)
    with Traffic(url, timeout=30.0) as log:
        log.record_decision(DecisionRecord(str(os.getpid()), 1.0, "r", "a"))


def test_ten_processes_that_open_an_empty_file_make_its_tables_once(url, open_log):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(10)
    children = [context.Process(target=_make, args=(url, start)) for _ in range(10)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 10
    assert open_log(url).counts()["decisions"] == 10


_KILLED = """
import os, signal, sys
from tryage.traffic.records import DecisionRecord, Feedback
from tryage.traffic.traffic import Traffic

log = Traffic(sys.argv[1], flush_interval=0.0)
for i in range(300):
    log.record_decision(DecisionRecord(str(i), 1.0, "r", "a"))
    if i % 100 == 0:
        log.add_feedback(Feedback(str(i), str(i), 1.0, 1.0))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_damages_nothing_and_loses_no_feedback(url, open_log):
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", _KILLED, url], check=False
    )
    assert done.returncode == -9
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()
    assert [entry.feedback.id for entry in open_log(url).feedback_after(0)] == ["0", "100", "200"]


PIECES = st.sampled_from(
    ["sqlite", "postgresql", "://", ":///", "/", "@", ":", "?", "#", "a", "%", "[", "]", "user",
     "5432", "+psycopg", "\0", "~", "=", "&", "\ud800", ".db"]
)  # fmt: skip


@given(st.text(max_size=20) | st.lists(PIECES, max_size=9).map("".join))
def test_any_text_is_a_url_or_is_refused_in_words(text):
    try:
        url = parse_url(text)
    except InputError:
        return
    assert describe_url(url)
