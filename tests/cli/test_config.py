"""`tryage config`, and `--config` of the commands that decide."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pydantic")

from tryage.config.schema_file import json_schema

POOL = """
[[models]]
name = "gpt-5.4"
[[models]]
name = "gpt-5.4-nano"
"""

RIGHT = f"""{POOL}
[preferences]
only = ["gpt-5.4-nano"]
answer_value = 0.05
[preferences.weights]
latency = 0.2
[router]
default = "gpt-5.4"
[[policies]]
kind = "Budget"
usd_per_day = 5
"""

WRONG = '[[models]]\nname = 3\n[router]\ndefalt = "a"\n'


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRYAGE_CONFIG", raising=False)
    (tmp_path / "tryage.toml").write_text(RIGHT)
    return tmp_path


def test_check_finds_the_file_and_says_what_it_means(tryage):
    done = tryage("config", "check")
    assert done.exit_code == 0
    assert "tryage.toml is valid." in done.stdout
    assert "gpt-5.4, gpt-5.4-nano" in done.stdout
    assert "Budget(usd_per_day=5)" in done.stdout
    assert "answer_value=0.05, latency=0.2, name in gpt-5.4-nano" in done.stdout


@pytest.mark.parametrize("said", ["", 'only = ["gpt-5.4"]'])
def test_check_says_which_preferences_hold_where_nothing_is_said_of_costs(tryage, workplace, said):
    (workplace / "tryage.toml").write_text(f"{POOL}[preferences]\n{said}\n")
    assert (
        "  balanced, as nothing is said of what an answer may cost"
        in tryage("config", "check").stdout
    )


def test_check_lists_all_problems_with_their_lines(tryage, workplace):
    (workplace / "other.toml").write_text(WRONG)
    done = tryage("config", "check", "other.toml")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines] == [
        "other.toml:2",
        "other.toml:4",
    ]
    assert "Did you mean default" in lines[1]
    rows = tryage("config", "check", "other.toml", "--json").stdout.splitlines()
    assert [json.loads(row)["line"] for row in rows] == [2, 4]


def test_check_finds_what_does_not_fit_the_models(tryage, workplace):
    (workplace / "tryage.toml").write_text(RIGHT.replace('default = "gpt-5.4"', 'default = "no"'))
    done = tryage("config", "check")
    assert done.exit_code == 2
    assert "tryage.toml:13: router.default" in done.stderr


def test_check_imports_the_code_that_the_file_names(tryage, workplace):
    (workplace / "tryage.toml").write_text(f'{RIGHT}[[models]]\nclient = "no_such:thing"\n')
    done = tryage("config", "check")
    assert done.exit_code == 2
    assert "models[2].client: no_such:thing cannot be imported" in done.stderr


def test_schema_prints_or_writes_it(tryage, workplace):
    assert tryage("config", "schema").stdout == json_schema()
    done = tryage("config", "schema", "-o", "tryage.schema.json")
    assert (workplace / "tryage.schema.json").read_text() == json_schema()
    assert "#:schema ./tryage.schema.json" in done.stdout


@pytest.mark.parametrize("command", ["route", "explain"])
def test_a_prompt_is_decided_as_the_file_says(tryage, command):
    done = tryage(command, "Prove it.", "--config", "tryage.toml")
    assert done.exit_code == 0
    assert done.stdout.startswith("gpt-5.4-nano")


def test_options_replace_what_the_file_says(tryage):
    flags = "Prove it. [Flag: only-this-is-wrong]"
    strict = tryage("route", flags, "--config", "tryage.toml", "--flags", "--strict")
    assert strict.exit_code == 2
    assert tryage("route", flags, "--config", "tryage.toml").exit_code == 0


def test_wrong_settings_fail_every_command(tryage, workplace):
    (workplace / "other.toml").write_text(WRONG)
    done = tryage("route", "hi", "--config", "other.toml")
    assert done.exit_code == 2
    assert "other.toml:2: models[0].name" in done.stderr


def test_simulate_runs_the_policies_of_the_file(tryage, workplace):
    pytest.importorskip("pyarrow")
    rows = [
        {"prompt": f"prompt {i}", "expert": name, "loss": 0.2, "cost": 0.01}
        for i in range(8)
        for name in ("gpt-5.4", "gpt-5.4-nano")
    ]
    (workplace / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = tryage("simulate", "table.jsonl", "--config", "tryage.toml")
    assert done.exit_code == 0, done.stderr
    assert "tryage.toml" in done.stdout
