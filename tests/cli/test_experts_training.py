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
