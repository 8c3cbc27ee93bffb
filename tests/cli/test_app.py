"""The `tryage` command as a whole: its help, completion, exit codes and errors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import tryage as package
from tryage.errors import PersistenceError
from tryage.testing import LocalHub


def test_the_help_lists_every_command(tryage):
    listed = tryage("--help").stdout
    for name in (
        "route", "explain", "pareto", "score", "train", "evaluate", "cotrain", "experts",
        "onboard", "tools", "train-tools", "hub", "plot",
    ):  # fmt: skip
        assert f"\n  {name} " in listed


def test_the_version_is_that_of_the_package(tryage):
    assert tryage("--version").stdout == f"tryage {package.__version__}\n"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "tryage", "--version"], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"tryage {package.__version__}\n"
    assert done.returncode == 0


@pytest.mark.parametrize(("shell", "mark"), [("bash", "complete -o default"), ("zsh", "#compdef")])
def test_completion_can_be_shown_for_a_shell(shell, mark):
    done = run_completion({"_TRYAGE_COMPLETE": f"source_{shell}"})
    assert mark in done.stdout
    assert "_TRYAGE_COMPLETE" in done.stdout


def test_completion_knows_commands_and_options():
    words = {"COMP_WORDS": "tryage rou", "COMP_CWORD": "1"}
    assert run_completion({"_TRYAGE_COMPLETE": "complete_bash", **words}).stdout.split() == [
        "route"
    ]
    words = {"COMP_WORDS": "tryage route --str", "COMP_CWORD": "2"}
    assert run_completion({"_TRYAGE_COMPLETE": "complete_bash", **words}).stdout.split() == [
        "--strict"
    ]


def run_completion(variables):
    code = "from tryage.cli import app; app(prog_name='tryage')"
    environment = {**os.environ, **variables}
    return subprocess.run(  # noqa: S603 - the command itself
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )


def test_no_expert_that_meets_the_requirements_is_exit_code_3_and_one_line(tryage, saved):
    for words in (["route", "hi"], ["explain", "hi"], ["pareto", "hi"]):
        done = tryage(*words, "--router", saved, "--require", "license=gpl")
        assert done.exit_code == 3
        assert done.stdout == ""
        assert done.stderr.startswith("tryage: None of the 3 experts is eligible.")
        assert done.stderr.count("\n") == 1


def test_strict_refuses_flags_that_leave_nobody(tryage, saved):
    words = ("route", "sum oslo [Flag: size<1]", "--router", saved, "--flags")
    done = tryage(*words)
    assert done.exit_code == 0
    assert done.stderr.startswith("tryage: ")
    assert done.stderr.count("\n") == 1
    assert tryage(*words, "--strict").exit_code != 0


def test_a_router_from_the_hub_leaves_no_progress_bars_in_a_log(saved, tmp_path):
    with LocalHub() as hub:
        hub.add("org/router", saved)
        environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "tryage", "route", "sum oslo", "--router", "org/router"],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""


def test_ctrl_c_is_one_line_and_exit_code_130(tryage, saved, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tryage.router.Router.route_batch", stop)
    done = tryage("route", "hi", "--router", saved)
    assert (done.exit_code, done.stderr) == (130, "tryage: Stopped.\n")


def test_debug_shows_where_an_error_comes_from(tryage, tmp_path):
    words = ("route", "hi", "--router", tmp_path)
    assert isinstance(tryage(*words).exception, SystemExit)
    assert isinstance(tryage("--debug", *words).exception, PersistenceError)


def test_the_help_lists_the_exit_codes(tryage):
    text = " ".join(tryage("--help").stdout.split())
    assert "3 no expert meets the requirements" in text
