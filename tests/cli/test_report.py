"""`tryage report`: where it reads and writes, which period it is about, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tryage.cli import report as command

pytest.importorskip("sqlalchemy")


@pytest.fixture(scope="module")
def url(simulate_traffic, tmp_path_factory):
    """Return the address of a log of 500 decisions, some of them rated."""
    from tryage.traffic.traffic import Traffic

    rows, events = simulate_traffic(500)
    url = f"sqlite:///{tmp_path_factory.mktemp('log')}/traffic.db"
    with Traffic(url) as traffic:
        for record, outcome, _ in rows:
            traffic.record_decision(record)
            traffic.record_outcome(outcome)
        for given in [one for _, _, all_given in rows for one in all_given][:40]:
            traffic.add_feedback(given)
        for event in events:
            traffic.add_event(event.kind, event.values, event.expert)
    return url


def test_it_prints_the_report_as_text(tryage, url):
    done = tryage("report", "--traffic", url)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("# Tryage: report of the traffic\n")
    assert "2023-11-15 00:01 to 2023-11-15 23:58 UTC: 500 requests." in done.stdout
    assert "| large" in done.stdout


@pytest.mark.parametrize(
    ("name", "begins"), [("r.html", "<!DOCTYPE html>"), ("r.md", "# Tryage"), ("r.txt", "# Tryage")]
)
def test_the_suffix_of_the_output_sets_its_format(tryage, url, tmp_path, name, begins):
    if name == "r.html":
        pytest.importorskip("matplotlib")
    path = tmp_path / name
    done = tryage("report", "--traffic", url, "-o", path)
    assert done.stdout == f"Written to {path}\n"
    assert path.read_text("utf-8").startswith(begins)


def test_the_format_can_be_another_than_the_suffix_says(tryage, url, tmp_path):
    path = tmp_path / "report"
    assert tryage("report", "--traffic", url, "--format", "markdown", "-o", path).exit_code == 0
    assert path.read_text("utf-8").startswith("# Tryage")


def test_the_numbers_are_there_for_programs(tryage, url, tmp_path):
    path = tmp_path / "r.json"
    assert tryage("report", "--traffic", url, "--json", path).exit_code == 0
    found = json.loads(path.read_text())
    assert found["decisions"] == 500
    assert sum(found["ratings"].values()) + sum(found["signals"].values()) == 40


def test_a_period_counts_its_own_decisions_alone(tryage, url):
    period = ("--since", "2023-11-15T06:00", "--until", "2023-11-15 12:00")
    done = tryage("report", "--traffic", url, *period)
    assert "2023-11-15 06:01 to 2023-11-15 11:58 UTC: 125 requests." in done.stdout
    last_hours = tryage("report", "--traffic", url, "--days", ".25", "--until", "2023-11-16")
    assert "2023-11-15 18:01 to 2023-11-15 23:58 UTC: 125 requests." in last_hours.stdout


def test_only_feedback_of_one_kind_counts_if_it_is_named(tryage, url):
    done = tryage("report", "--traffic", url, "--kind", "judge")
    assert "No answer has been rated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--days", "7"), "no decision in this period"),
        (("--days", "7", "--since", "2023-01-01"), "--days and --since both say"),
        (("--since", "2023-11-16", "--until", "2023-11-15"), "is not before --until"),
    ],
)
def test_a_period_without_decisions_is_refused_in_one_line(tryage, url, arguments, said):
    done = tryage("report", "--traffic", url, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_log_is_not_made(tryage, tmp_path):
    done = tryage("report", "--traffic", f"sqlite:///{tmp_path}/none.db")
    assert done.exit_code == 2
    assert "There is no log of traffic at" in done.stderr
    assert (
        "Name another one, or let a router or a chat model write it, with traffic=" in done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_an_address_of_no_database_is_refused(tryage):
    done = tryage("report", "--traffic", "http://localhost/log")
    assert done.exit_code == 2
    assert "sqlite:///tryage.db" in done.stderr


def test_a_terminal_shows_tables_without_markup_or_control_characters(
    tryage, url, monkeypatch, capsys
):
    pytest.importorskip("rich")
    monkeypatch.setattr(command, "_is_rich_terminal", lambda: True)
    done = tryage("report", "--traffic", url)
    assert done.exit_code == 0, done.stderr
    assert "large" in done.stdout
    assert "| large" not in done.stdout
    command._print_with_rich("a \x1b[2J b\u202e")
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert r"\u202e" in printed
