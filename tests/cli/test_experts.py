"""`tryage experts`, `onboard`, `tools` and `train-tools`: what they read, write and print."""

from __future__ import annotations

import json

import pytest

from tryage import Router


def test_experts_prints_facts_and_a_dash_for_unknown_ones(tryage, saved):
    lines = tryage("experts", "--router", saved).stdout.splitlines()
    assert lines[1].split() == ["tiny-1b", "1B", "2025-01-01", "mit", "-", "-", "-", "-", "-"]
    assert lines[-1] == "3 of 3 experts; - is unknown."


def test_experts_can_be_filtered_and_written_as_json(tryage, saved, library):
    done = tryage("experts", "--router", saved, "--require", "size<10B", "--json")
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert names == ["tiny-1b", "code-7b"]
    assert json.loads(done.stdout.splitlines()[0]) == library["tiny-1b"].to_dict()


def write_losses(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_onboard_teaches_a_new_expert_from_losses_and_scores(tryage, saved, tmp_path):
    places = ("paris", "tokyo", "lima", "oslo", "accra", "quito", "delhi", "cairo")
    rows = [{"prompt": f"poem {place}", "score": 1.0} for place in places]
    rows += [{"prompt": f"law {place}", "loss": 0.0} for place in places]
    out = tmp_path / "taught"
    file = write_losses(tmp_path / "losses.jsonl", rows)
    done = tryage("onboard", saved, "newcomer", file, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert "newcomer learned from 16 prompts, 4 experts" in done.stdout
    assert "newcomer" in Router.from_pretrained(out).library


def test_onboard_reads_a_high_score_as_a_low_loss(tryage, saved, tmp_path):
    predicted = {}
    for score in (0.0, 1.0):
        rows = [{"prompt": f"law {place}", "score": score} for place in ("oslo", "lima", "paris")]
        out = tmp_path / f"taught-{score}"
        file = write_losses(tmp_path / "losses.jsonl", rows)
        tryage("onboard", saved, "newcomer", file, "-o", out)
        ranking = Router.from_pretrained(out).route("law oslo").ranking
        predicted[score] = ranking.entry("newcomer").predicted_loss
    assert predicted[1.0] < predicted[0.0]


def test_onboard_reads_facts_about_the_expert_from_a_file(tryage, saved, tmp_path):
    facts = tmp_path / "newcomer.json"
    facts.write_text(json.dumps({"name": "newcomer", "parameters": 3e9}))
    file = write_losses(tmp_path / "losses.jsonl", [{"prompt": "law oslo", "loss": 0.3}])
    out = tmp_path / "taught"
    assert tryage("onboard", saved, facts, file, "-o", out).exit_code == 0
    assert Router.from_pretrained(out).library["newcomer"].parameters == 3e9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}', "expected"),
        ('{"loss": 1}', "expected"),
        ("[1]", "is not a JSON object"),
        ("{", "line 1 is not JSON"),
        ("", "No loss"),
    ],
)
def test_onboard_refuses_unreadable_losses_in_one_line(tryage, saved, tmp_path, content, message):
    path = tmp_path / "losses.jsonl"
    path.write_text(content)
    done = tryage("onboard", saved, "newcomer", path, "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_onboard_refuses_a_missing_file_of_losses(tryage, saved, tmp_path):
    done = tryage("onboard", saved, "newcomer", tmp_path / "no.jsonl", "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize("content", ["{", '{"name": 3}', "[]"])
def test_onboard_refuses_a_file_that_holds_no_expert(tryage, saved, tmp_path, content):
    facts = tmp_path / "newcomer.json"
    facts.write_text(content)
    file = write_losses(tmp_path / "losses.jsonl", [{"prompt": "law oslo", "loss": 0.3}])
    done = tryage("onboard", saved, facts, file, "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


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
