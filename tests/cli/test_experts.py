"""`tryage experts`, `tools` and `train-tools`: what they read, write and print."""

from __future__ import annotations

import json

import pytest


def test_experts_prints_facts_and_a_dash_for_unknown_ones(tryage, saved):
    lines = tryage("experts", "--router", saved).stdout.splitlines()
    assert lines[1].split() == ["tiny-1b", "1B", "2025-01-01", "mit", "-", "-", "-", "-", "-"]
    assert lines[-1] == "3 of 3 experts; - is unknown."


def test_experts_can_be_filtered_and_written_as_json(tryage, saved, library):
    done = tryage("experts", "--router", saved, "--require", "size<10B", "--json")
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert names == ["tiny-1b", "code-7b"]
    assert json.loads(done.stdout.splitlines()[0]) == library["tiny-1b"].to_dict()


@pytest.fixture
def pool(tmp_path):
    """Write three tools as a JSON list of schemas."""
    rows = [
        {"name": "weather", "description": "Current weather of a city", "latency": 0.3},
        {"name": "stocks", "description": "Price of a share", "cost": 0.01},
        {"name": "mail", "description": "Send an e-mail", "risk": 0.8},
    ]
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(rows), "utf-8")
    return path


def test_tools_picks_at_most_k_tools_as_json_or_as_an_explanation(tryage, pool):
    done = tryage("tools", pool, "How is the weather in Rome?", "--k", 1, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["tools"] == ["weather"]
    assert "weather" in tryage("tools", pool, "How is the weather in Rome?").stdout


def test_a_requirement_reads_the_latency_beside_a_schema(tryage, pool):
    words = ("tools", pool, "Send an e-mail about the weather", "--json")
    assert "mail" in json.loads(tryage(*words).stdout)["tools"]
    restricted = tryage(*words, "--require", "latency<0.5")
    assert json.loads(restricted.stdout)["tools"] == ["weather"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "expected a JSON list of tools"),
        ('["name"]', "A tool is a JSON object"),
        ('[{"description": "nameless"}]', "name"),
    ],
)
def test_tools_refuses_files_that_hold_no_tools(tryage, tmp_path, text, message):
    (tmp_path / "tools.json").write_text(text, "utf-8")
    done = tryage("tools", tmp_path / "tools.json", "query")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_train_tools_refuses_a_row_without_tools(tryage, tmp_path):
    (tmp_path / "used.jsonl").write_text('{"query": "a", "useful": ["b"]}', "utf-8")
    done = tryage("train-tools", tmp_path / "used.jsonl", "-o", tmp_path / "mine")
    assert done.exit_code == 2
    assert "or --tools for all rows" in done.stderr
