"""`tryage train-tools` trains a ranker that `tryage tools` reads."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

TOPICS = {
    "alpha": ("invoice", "tax", "ledger", "salary", "budget"),
    "beta": ("goat", "sheep", "horse", "chicken", "cattle"),
    "gamma": ("guitar", "violin", "drum", "piano", "flute"),
}
VERBS = ("show", "count", "list", "sort", "print", "open")


def test_train_tools_writes_a_ranker_that_tools_selects_with(tryage, tmp_path):
    rows = [
        {"query": f"{verb} every {thing} of number {i}", "useful": [name]}
        for name, things in TOPICS.items()
        for thing in things
        for i, verb in enumerate(VERBS)
    ]
    episodes, tools, ranker = (tmp_path / name for name in ("used.jsonl", "tools.json", "mine"))
    episodes.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    schemas = [{"name": name, "description": "internal", "cost": 0.1} for name in TOPICS]
    tools.write_text(json.dumps(schemas), "utf-8")
    done = tryage("train-tools", episodes, "--output", ranker, "--tools", tools)
    assert done.exit_code == 0, done.output
    assert f"learned from {len(rows)} queries" in done.stdout
    words = ("tools", tools, "sort every guitar", "--ranker", ranker, "--json", "--k", 1)
    assert json.loads(tryage(*words).stdout)["tools"] == ["gamma"]


def test_tools_of_one_name_are_listed_under_their_server_or_position(tryage, tmp_path):
    tools = tmp_path / "tools.json"
    schemas = [
        {"name": "search", "description": "Find songs", "server": "music"},
        {"name": "search", "description": "Find flights", "server": "travel"},
        {"name": "Search", "description": ""},
    ]
    tools.write_text(json.dumps(schemas), "utf-8")
    done = tryage("tools", tools, "find me a flight", "--json")
    assert json.loads(done.stdout)["tools"][0] == "travel/search"


def test_an_empty_list_of_tools_is_refused_in_the_words_of_tools(tryage, tmp_path):
    (tmp_path / "tools.json").write_text("[]", "utf-8")
    done = tryage("tools", tmp_path / "tools.json", "find me a flight")
    assert done.exit_code != 0
    assert "list of tools is empty; give at least one tool" in done.stderr
