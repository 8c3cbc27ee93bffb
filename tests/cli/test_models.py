"""`tryage models`: what show, check and update print."""

from __future__ import annotations

import datetime
import json

import pytest
from typer.testing import CliRunner

from tryage.cli import app
from tryage.models.refresh import BUNDLED_SNAPSHOT, describe_age
from tryage.models.snapshot import ModelSnapshot, encode_snapshot

MADE = ModelSnapshot.from_bytes(BUNDLED_SNAPSHOT.read_bytes()).made + datetime.timedelta(days=1)

FACTS = {
    "input_price": [0.75, "table", "2026-10-01", 0.97],
    "output_price": [4.5, "table", "2026-10-01", 0.97],
    "context_length": [400000, "table", None, 0.85],
    "input_modalities": [["image", "text"], "table", None, 0.85],
    "tools": [True, "table", None, 0.85],
    "released": ["2026-03-17", "table", None, 0.85],
}
SNAPSHOT = {
    "format": 1,
    "made": MADE.isoformat(),
    "sources": {"table": {"url": "https://example.com", "licence": "MIT", "date": "2026-10-01"}},
    "models": {"gpt-5.4-mini": FACTS, "half-known-7b": {"input_price": [1, "table", None, 0.6]}},
    "builds": {},
    "hosts": {},
    "aliases": {},
}


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path / "home"))
    path = tmp_path / "snapshot.json.gz"
    path.write_bytes(encode_snapshot(SNAPSHOT))
    return path


@pytest.fixture
def run(snapshot):
    def run(*arguments):
        return CliRunner().invoke(app, ["models", *arguments])

    assert run("update", str(snapshot)).exit_code == 0
    return run


def test_show_prints_every_fact_with_source_date_and_confidence(run):
    result = run("show", "openai:gpt-5.4-mini-2026-03-17-high")
    assert result.exit_code == 0
    assert "provider openai, date 2026-03-17, effort high" in result.stdout
    assert "input price" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("output price"))
    assert line.split() == ["output", "price", "$4.5", "table", "2026-10-01", "97%"]
    assert describe_age(ModelSnapshot(SNAPSHOT)) in result.stdout


def test_show_prints_how_good_a_model_is_with_the_source(run):
    output = run("show", "gpt-5.4-mini").stdout
    index, arena = (
        next(line for line in output.splitlines() if line.startswith(word))
        for word in ("index", "coding")
    )
    assert "Tryage, from all other results" in index
    assert "LMArena" in arena
    record = json.loads(run("show", "gpt-5.4-mini", "--json").stdout)
    assert record["results"][0]["category"] == "index"
    assert len(record["results"]) > 12


def test_show_of_an_unknown_model_tells_as_what_its_name_is_read(run):
    result = run("show", "someone/Nonesuch-9-7B-Instruct-GGUF")
    assert "is read as 'nonesuch-9-7b'" in result.stderr


def test_show_prints_json_for_programs(run):
    record = json.loads(run("show", "gpt-5.4-mini", "--json").stdout)
    assert record["facts"]["tools"] == {
        "value": True,
        "source": "table",
        "date": None,
        "confidence": 0.85,
    }
    assert (record["model"], record["made"]) == ("gpt-5.4-mini", MADE.isoformat())


def test_show_of_a_server_on_this_machine_tells_that_it_is_free(run):
    assert "$0" in run("show", "half-known-7b", "--base-url", "http://localhost:8000").stdout


def test_show_of_an_unknown_name_fails_with_what_is_near_and_how_old_the_facts_are(run):
    result = run("show", "gpt-5.4-mimi")
    assert result.exit_code == 2
    assert "Did you mean 'gpt-5.4-mini'?" in result.stderr
    assert MADE.isoformat() in result.stderr


def test_check_tells_what_is_known_missing_and_assumed_and_the_line_that_mends_it(run):
    result = run("check", "openai:gpt-5.4-mini", "half-known-7b", "mine")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    known = ["openai:gpt-5.4-mini", "gpt-5.4-mini", "0.75", "4.5", "400k", "2026-03-17", "nothing"]
    assert known in rows
    assert "half-known-7b: output price, context length" in result.stdout
    assert "max_cost leaves it out" in result.stdout
    assert "Nothing is known of 'mine'" in result.stdout
    assert "experts=[Expert('mine', input_price=..., output_price=..., " in result.stdout
    assert "experts={'mine': like('gpt-5-mini')}" in result.stdout


def test_the_line_that_check_prints_is_an_expert_once_the_facts_are_filled_in(run):
    from tryage.core.expert import Expert

    output = run("check", "mine").stdout
    line = next(line for line in output.splitlines() if "Tell it" in line)
    code = line.partition("experts=")[2]
    for value in ("1", "2", "3000", "datetime.date(2026, 1, 1)", "['tools']"):
        code = code.replace("...", value, 1)
    (expert,) = eval(code, {"Expert": Expert, "datetime": datetime})  # noqa: S307 - what check printed
    assert (expert.name, expert.input_price, expert.context_length) == ("mine", 1, 3000)


def test_check_prints_json_for_programs(run):
    lines = run("check", "mine", "gpt-5.4-mini", "--json").stdout.splitlines()
    assert json.loads(lines[0])["missing"][0] == "input_price"
    assert json.loads(lines[1]) == {"given": "gpt-5.4-mini", "model": "gpt-5.4-mini", "missing": []}


def test_update_that_fails_tells_how_old_the_facts_are_that_stay(run, tmp_path):
    result = run("update", str(tmp_path / "missing.json.gz"))
    assert result.exit_code == 2
    assert f"unchanged; they are of {MADE}" in result.stderr
    assert run("show", "gpt-5.4-mini").exit_code == 0


def test_update_tells_where_the_facts_are_and_when_nothing_changed(run, snapshot, tmp_path):
    result = run("update", str(snapshot))
    assert result.exit_code == 0
    assert "were already in" in result.stdout
    assert str(tmp_path / "home") in result.stdout.replace("\n", "")


def test_a_name_with_control_characters_cannot_change_the_terminal(run):
    result = run("check", "evil\x1b[2J")
    assert "\x1b" not in result.stdout
