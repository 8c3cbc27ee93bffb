"""The Python and the TOML of the page: run, and parsed, they choose the same model."""

from __future__ import annotations

import contextlib
import datetime
import io
from dataclasses import replace

import pytest

from tryage import Expert, Preferences, Router
from tryage_playground.files import FileStore
from tryage_playground.page import make_results
from tryage_playground.policy_choice import PolicyChoice
from tryage_playground.snippets import SnippetParts, python_snippet, toml_snippet
from tryage_playground.state import PageState, Side

MODELS = ("gpt-5.4-nano", "gpt-5.4", "claude-opus-4-8", "gemini-3.1-pro")
STATE = PageState(prompt="Prove that 'pi' is \"irrational\".\n\\o/", models=MODELS)


def run_python(text):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        variables = {}
        exec(text, variables)  # noqa: S102 - the program that the page offers
    assert variables["decision"].expert.name in printed.getvalue()
    return variables["decision"]


def run_toml(text, prompt, tmp_path):
    path = tmp_path / "tryage.toml"
    path.write_text(text, "utf-8")
    return Router.from_config(path).route(prompt)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first": Side(None, 0.0)},
        {"first": Side(0.001, None, {"recency": 0.3, "verbosity": 0.1})},
        {"first": Side(policy=PolicyChoice("quality_gap", 0.08))},
        {"first": Side(policy=PolicyChoice("budget", 0.0002))},
        {"first": Side(policy=PolicyChoice("threshold", 0.5, "gpt-5.4", "gpt-5.4-nano"))},
        {"requirements": "cost<0.01, since=2026-03, model=gpt-5.4|gpt-5.4-nano"},
        {"prompt": "Prove it. [Flag: cheapest]"},
        {"models": (), "uses_all_models": True, "first": Side(0.05)},
    ],
    ids=lambda changes: ",".join(changes) or "default",
)
def test_python_and_toml_choose_the_model_of_the_page(pool, changes, tmp_path):
    state = replace(STATE, **changes)
    side = make_results(state, pool, FileStore()).sides[0]
    for decision in (run_python(side.python), run_toml(side.toml, state.prompt, tmp_path)):
        assert decision.expert.name == side.decision.expert.name
        assert decision.chosen.total == pytest.approx(side.decision.chosen.total)


def test_what_a_library_says_is_in_both(pool, tmp_path):
    files = FileStore()
    text = "name,input_price,output_price,released,about_as_good_as,capabilities\n"
    text += "mine,0.001,0.001,2026-01-02,gpt-5.4,tools|vision\ngpt-5.4,,,,,\n"
    library = files.load("library", "own.csv", text.encode())
    state = replace(STATE, models=library.names, library=library.id)
    side = make_results(state, pool, files).sides[0]
    assert side.decision.expert.name == "mine"
    assert run_python(side.python).expert.name == "mine"
    assert run_toml(side.toml, state.prompt, tmp_path).expert.name == "mine"


def test_a_router_of_ones_own_and_a_log_are_named():
    parts = SnippetParts(
        ("a", "b"),
        Preferences(),
        experts={"a": Expert("a", released=datetime.date(2026, 1, 2))},
        router="my/router",
        traffic="sqlite:///log.db",
    )
    python, toml = python_snippet(parts, "x"), toml_snippet(parts)
    compile(python, "python", "exec")
    assert python.startswith("import datetime\n")
    assert "router=Router.from_pretrained('my/router')" in python
    assert "traffic='sqlite:///log.db'" in python
    assert 'path = "my/router"' in toml
    assert 'url = "sqlite:///log.db"' in toml
