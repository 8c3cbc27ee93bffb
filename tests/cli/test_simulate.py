"""`tryage simulate`: on a table and on a log, as a table, as JSON and as a picture."""

from __future__ import annotations

import json

import pytest

from tryage import Router
from tryage.traffic.traffic import Traffic

pytest.importorskip("pyarrow")

THRESHOLD = "threshold strong=chat-70b weak=tiny-1b share=0.5"


@pytest.fixture
def outcomes(table, tmp_path):
    path = tmp_path / "outcomes.jsonl"
    table.write(path)
    return path


def test_a_table_shows_every_way_to_answer_and_draws_it(tryage, saved, outcomes, tmp_path):
    picture, figures = tmp_path / "picture.png", tmp_path / "figures.json"
    done = tryage(
        "simulate", outcomes, "--router", saved, "-p", THRESHOLD, "-p", "quality-gap gap=0.2",
        "--plot", picture, "--json", figures,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for name in (THRESHOLD, "quality-gap", "plain routing", "code-7b", "random", "oracle"):
        assert name in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    content = json.loads(figures.read_text())
    assert [one["name"] for one in content["policies"]] == [THRESHOLD, "quality-gap gap=0.2"]
    assert content["best_single"] == "chat-70b"


def test_what_learns_from_answers_is_run_on_other_prompts(tryage, saved, outcomes):
    done = tryage(
        "simulate", outcomes, "--router", saved, "--evidence", 0.9, "--answer-value", 0.01,
        "-p", "cascade steps=tiny-1b,chat-70b",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "Calibrated on 20 prompts, and run on 20 others." in done.stdout


def test_a_log_is_simulated_as_well(tryage, saved, tmp_path):
    url = f"sqlite:///{tmp_path}/log.db"
    with Traffic(url) as traffic:
        Router.from_pretrained(saved, traffic=traffic).route("sum paris")
    done = tryage("simulate", "--traffic", url, "--router", saved, "-p", "quality-gap")
    assert done.exit_code == 0, done.stderr
    assert "Only one expert answered each request" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "No policy is given"),
        (["-p", "hedge"], "Give a Q-table, or a log"),
        (["-p", "hedge", "--traffic", "sqlite:///none.db", "table.jsonl"], "not both"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tryage, saved, options, message):
    done = tryage("simulate", "--router", saved, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_log_has_no_evidence(tryage, saved, tmp_path):
    url = f"sqlite:///{tmp_path}/log.db"
    Traffic(url).close()
    words = ("simulate", "--traffic", url, "--router", saved, "-p", "hedge")
    done = tryage(*words, "--requests-per-day", 5)
    assert done.exit_code == 2
    assert "are for a table" in done.stderr
    done = tryage(*words, "--evidence", 0.8)
    assert done.exit_code == 2
    assert "--evidence is for a Q-table" in done.stderr
