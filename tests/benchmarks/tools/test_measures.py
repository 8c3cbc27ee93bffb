"""Recall, F1 and AUROC equal what is computed by hand."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[3] / "benchmarks" / "tools"


@pytest.fixture
def measures(monkeypatch):
    if not TOOLS.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("measures")


def test_recall_is_the_share_of_the_useful_tools(measures):
    assert measures.recall(["a", "b", "c"], {"a", "c"}, 2) == 0.5


def test_f1_of_two_sets_is_one_if_both_are_empty(measures):
    assert measures.set_f1({"a", "b"}, {"a"}) == pytest.approx(2 / 3)
    assert measures.set_f1(set(), set()) == 1


def test_a_tie_counts_half_in_the_auroc(measures):
    assert measures.auroc(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(3.5 / 4)
