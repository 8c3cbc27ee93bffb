"""The database: URLs, transactions, forks, and errors without passwords."""

from __future__ import annotations

import sqlite3

import pytest

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


def test_a_child_of_a_fork_connects_anew(log, decision, finishes_in_child):
    log.record_decision(decision("d1"))
    log.flush()

    def record():
        log.record_decision(decision("d2"))
        assert log.flush(5)

    assert finishes_in_child(record)
    assert [one.id for one, *_ in log.decisions()] == ["d1", "d2"]
