"""The file of published results: medians by model, effort and category, and an index of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "benchmarks" / "model_facts"


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import results

    yield results
    for name in ("results", "overall_index"):
        del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("gpt-5-high", ("gpt-5", "high")),
        ("anthropic/claude-sonnet-4.6@reasoning=none", ("claude-sonnet-4-6", "none")),
        ("gpt-5.2-2025-12-11_low", ("gpt-5-2", "low")),
        ("o3 (high) + gpt-4.1", None),
        ("nobody-knows-7", ("nobody-knows-7", "")),
        ("the best model", None),
    ],
)
def test_a_name_of_a_leaderboard_is_a_model_and_its_effort(results, text, identity):
    assert results.identify(text) == identity


def rows_of(results, values):
    return [
        results.Row(model, "", category, value, source, "2026-01-01")
        for model, category, value, source in values
    ]


def test_of_several_results_in_one_category_the_median_counts(results, monkeypatch):
    monkeypatch.setattr(results, "SOURCES", {"epoch": {"url": "", "licence": "CC BY 4.0"}})
    rows = rows_of(results, [("a", "epoch/x", v, "epoch") for v in (0.1, 0.2, 0.9)])
    rows += rows_of(results, [("b", "epoch/x", 0.8, "epoch")])
    content = results.make_results(rows)
    assert content["results"]["a"][""]["epoch/x"] == 0.2
    assert content["categories"]["epoch/x"] == "epoch"


def test_caution_is_not_ability(results):
    assert not results.is_indexed("summarisation/hallucination_rate", "vectara")
    assert not results.is_indexed("bullshit/v2", "bullshit-bench")
    assert results.is_indexed("epoch/gpqa_diamond", "epoch")
    assert results.is_indexed("hard_prompts", results.ARENA)
    assert not results.is_indexed("polish", results.ARENA)
