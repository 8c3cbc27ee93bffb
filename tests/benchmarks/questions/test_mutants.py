"""Wrong programs differ from the right one in one place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[3] / "benchmarks" / "questions"


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCES))
    import mutants

    yield mutants.mutants
    sys.modules.pop("mutants")


def test_each_operator_number_and_returned_value_is_changed_once(mutants):
    programs = set(mutants("def f(x):\n    return x + 1 if x < 2 else x"))
    assert programs == {
        "def f(x):\n    return None",
        "def f(x):\n    return x - 1 if x < 2 else x",
        "def f(x):\n    return x + 2 if x < 2 else x",
        "def f(x):\n    return x + 1 if x <= 2 else x",
        "def f(x):\n    return x + 1 if x < 3 else x",
    }
