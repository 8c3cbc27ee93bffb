"""Settings are read and checked as a whole."""

from __future__ import annotations

import contextlib
import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.config.load import load_config
from tryage.config.write import to_toml
from tryage.errors import ConfigError, InputError

WRONG = """polices = 1
[[models]]
model = "openai:gpt-5.6"
input_price = "1.25"
output_price = -2
[[models]]
name = "small"
input_price = -1
context_length = -3
[[policies]]
kind = "Budget"
usd_per_day = -5
[[policies]]
kind = "Cascade"
steps = ["a", "b"]
verify = {kind = "Agreement", samples = 1}
[[rules]]
time = "25:00-26:00"
ban = "x"
[exploration]
budget = 3
[traffic]
url = "${NOPE}"
queue_size = "a"
"""


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_their_lines(problems):
    found = [one.split(": ")[0] for one in problems(WRONG)]
    assert found == [
        "1 polices",
        "4 models[0].input_price",
        "5 models[0].output_price",
        "8 models[1].input_price",
        "9 models[1].context_length",
        "12 policies[0].usd_per_day",
        "13 policies[1]",
        "18 rules[0].time",
        "21 exploration.budget",
        "23 traffic.url",
        "24 traffic.queue_size",
    ]


def test_the_error_lists_each_problem_with_file_and_line(write):
    path = write('[[models]]\nname = 1\n[router]\nstrict = "yes"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith("2 problems in the settings:\n")
    assert f"{path}:2: models[0].name: " in str(caught.value)
    assert f"{path}:4: router.strict: " in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("input_price = 1", "needs model"),
        ('model = "openai:a"\nclient = "a:b"', "client and model are both given"),
        ('name = "a@low"\nefforts = ["high"]', "the name ends with one"),
        ('name = "a"\neffort = "low"\nefforts = ["high"]', "effort and efforts are both given"),
    ],
)
def test_a_model_says_in_one_way_what_it_is(problems, table, message):
    (found,) = problems(f"[[models]]\n{table}\n")
    assert message in found


def test_two_models_of_one_name_are_told_with_both_lines(problems):
    (found,) = problems('[[models]]\nname = "a"\n[[models]]\nmodel = "A"\n')
    assert found.startswith('3 models[1].name: another model is called "A"')
    assert "tryage.toml:1" in found


def test_a_variable_that_is_not_set_is_a_problem_with_its_line(problems, write):
    text = '[traffic]\nurl = "${TRYAGE_DATABASE}"\n'
    assert problems(text) == [
        "2 traffic.url: the variable TRYAGE_DATABASE is not set in the environment; set it."
    ]
    loaded = load_config(write(text), environment={"TRYAGE_DATABASE": "sqlite:///x.db"})
    assert loaded.config.traffic.url == "${TRYAGE_DATABASE}"
    assert loaded.expanded("traffic", "url", text=loaded.config.traffic.url) == "sqlite:///x.db"


def test_models_and_rules_of_other_files_are_added(write):
    write('[[models]]\nname = "b"\n[[rules]]\nban = "b"\n', "more/models.toml")
    path = write('include = ["more/models.toml"]\n[[models]]\nname = "a"\n')
    loaded = load_config(path)
    assert [one.name for one in loaded.config.models] == ["a", "b"]
    assert loaded.config.rules[0].ban == "b"
    problem = loaded.problem(("models", 1, "name"), "wrong")
    assert (problem.file, problem.line) == (str(path.parent / "more/models.toml"), 2)
    assert path.parent / "more/models.toml" in loaded.files


def test_a_problem_of_an_included_file_names_that_file(write):
    other = write("[[models]]\nname = 1\n[router]\n", "models.toml")
    with pytest.raises(ConfigError) as caught:
        load_config(write('include = ["models.toml", "no.toml"]'))
    found = {(one.file, one.line, one.key) for one in caught.value.problems}
    assert (str(other), 2, "models[0].name") in found
    assert (str(other), 3, "router") in found
    assert (str(other.with_name("tryage.toml")), 1, "include[1]") in found


def test_a_project_file_holds_the_settings_in_a_table(write):
    text = '[project]\nname = "x"\n[tool.tryage.router]\nstrict = 1\n'
    with pytest.raises(ConfigError) as caught:
        load_config(write(text, "pyproject.toml"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (4, "router.strict")


def test_an_empty_file_says_nothing_and_is_valid(write):
    config = load_config(write("")).config
    assert config.models == []
    assert config.traffic is None


TABLES = (
    "models",
    "preferences",
    "router",
    "rules",
    "policies",
    "exploration",
    "traffic",
    "chat",
    "server",
    "include",
)
KEYS = st.sampled_from(
    ["name", "model", "kind", "efforts", "base_url", "released", "weights", "requirements",
     "field", "op", "value", "only", "ban", "require", "time", "weekday", "timezone", "since",
     "key", "gap", "strong", "weak", "share", "usd_per_day", "by", "steps", "verify", "budget",
     "url", "sticky", "port", "path", "max_cost", "preset"]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        "Budget",
        "QualityGap",
        "Threshold",
        "Cascade",
        "Rules",
        "low",
        "cost",
        "<=",
        "${A}",
        "\0",
        "../x",
        "25:00-26:00",
        "2025-02-30",
    ]
)
ODD = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.dictionaries(
        st.sampled_from(TABLES),
        ODD | st.lists(st.dictionaries(KEYS, ODD, max_size=6), max_size=2),
        max_size=4,
    )
)
def test_any_tables_are_settings_or_refused_in_words(write, tables):
    path = write(json.dumps(tables), "tryage.json")
    try:
        loaded = load_config(path, environment={"A": "x"})
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - what is not refused is tested, too
        return
    again = load_config(write(to_toml(loaded.config)), environment={"A": "x"})
    assert again.config == loaded.config


@pytest.mark.parametrize("text", ['include = ["NAME"]', 'router.path = "NAME"'])
def test_a_name_that_is_too_long_for_a_file_raises_nothing_of_the_system(write, text):
    path = write(text.replace("NAME", "x" * 5_000))
    with contextlib.suppress(ConfigError):
        assert load_config(path).router_stamp is None
