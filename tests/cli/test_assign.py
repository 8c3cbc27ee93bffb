"""`tryage assign`: a file of prompts, each with an expert within the limits."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("scipy")

PROMPTS = ("law oslo", "code paris", "sum lima")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": text, "id": i} for i, text in enumerate(PROMPTS)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return path


def test_each_line_gets_an_expert_within_the_capacities(tryage, saved, file, tmp_path):
    output = tmp_path / "out.jsonl"
    done = tryage("assign", file, "--router", saved, "--capacity", "chat-70b=1", "-o", output)
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2]
    assert [row["expert"] for row in rows].count("chat-70b") <= 1
    assert all(0 <= row["predicted_loss"] <= 1 for row in rows)
    assert "3 prompts for" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--capacity", "chat-70b"), "expected NAME=NUMBER"),
        (("--capacity", "chat70=1"), "Did you mean chat-70b"),
        (("--budget", "-1"), "budget must be"),
    ],
)
def test_wrong_limits_are_one_line(tryage, saved, file, tmp_path, options, message):
    done = tryage("assign", file, "--router", saved, "-o", tmp_path / "out.jsonl", *options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_line_without_a_prompt_is_named(tryage, saved, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "hi"}\n{"text": "hi"}\n', "utf-8")
    done = tryage("assign", path, "--router", saved, "-o", tmp_path / "out.jsonl")
    assert done.exit_code == 2
    assert "object 2" in done.stderr
