"""The `tryage` command as a whole: its help and its version."""

from __future__ import annotations

import tryage as package


def test_the_help_lists_every_command(tryage):
    listed = tryage("--help").stdout
    for name in (
        "route", "explain", "pareto", "score", "train", "evaluate", "cotrain", "experts",
        "onboard", "tools", "train-tools", "hub", "plot",
    ):  # fmt: skip
        assert f"\n  {name} " in listed


def test_the_version_is_that_of_the_package(tryage):
    assert tryage("--version").stdout == f"tryage {package.__version__}\n"
