"""`tryage traffic`: what show, export, prune and feedback print and change."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

pytest.importorskip("sqlalchemy")

from tryage.cli import app
from tryage.traffic.records import DecisionRecord
from tryage.traffic.traffic import Traffic


@pytest.fixture
def url(tmp_path):
    """The URL of a log with an old decision and a new one."""
    url = f"sqlite:///{tmp_path}/tryage.db"
    with Traffic(url) as log:
        log.record_decision(DecisionRecord("old", 1e9, "r", "a", key="ann"))
        log.record_decision(DecisionRecord("new", time.time(), "r", "a", key="bob"))
    return url


def run(*words):
    return CliRunner().invoke(app, ["traffic", *words])


def test_show_prints_how_much_the_log_holds(url):
    result = run("show", "--traffic", url)
    assert result.exit_code == 0, result.output
    assert "2  decisions" in result.output
    assert "Decisions from 2001-09-09 01:46 UTC to" in result.output
    assert "waits" not in result.output
    run("feedback", "unknown", "1", "--traffic", url)
    assert "1  feedback whose decision is not there" in run("show", "--traffic", url).output
    assert "the oldest since 20" in run("show", "--traffic", url).output
    assert json.loads(run("show", "--traffic", url, "--json").output)["decisions"] == 2


def test_export_writes_json_lines(url, tmp_path):
    result = run("export", str(tmp_path / "out.jsonl"), "--traffic", url, "--key", "ann")
    assert "1 decisions written" in result.output
    assert json.loads((tmp_path / "out.jsonl").read_text())["decision"]["id"] == "old"


def test_prune_deletes_what_is_old(url):
    assert "Deleted: 1 decisions." in run("prune", "--days", "30", "--traffic", url).output
    assert "Deleted: nothing." in run("prune", "--days", "30", "--traffic", url).output


def test_feedback_is_noted_once(url):
    words = ("feedback", "new", "1", "--traffic", url, "--id", "f1", "--comment", "good")
    assert run(*words).output == "Noted.\n"
    assert "already" in run(*words).output
    assert "counts when" in run("feedback", "unknown", "0.5", "--traffic", url).output
    with Traffic(url) as log:
        assert [one.feedback.comment for one in log.feedback_after(0)] == ["good"]


def test_a_log_that_is_not_there_is_an_error_and_no_file(tmp_path):
    result = run("show", "--traffic", f"sqlite:///{tmp_path}/none.db")
    assert result.exit_code == 2
    assert "There is no log of traffic" in result.stderr
    assert list(tmp_path.iterdir()) == []
