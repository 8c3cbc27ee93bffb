"""Rows of many tables under many names are joined into models, and no two models into one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "benchmarks" / "model_facts"


@pytest.fixture
def scripts(monkeypatch):
    """Return the scripts as modules."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make
    import tables

    yield make, tables
    for name in ("choose", "groups", "make", "tables"):
        del sys.modules[name]


@pytest.fixture
def row(scripts):
    def make_row(model, provider="openai", *names, price=1.0, **facts):
        facts = {"input_price": price, "output_price": 4 * price, **facts}
        return scripts[1].Row(model, provider, "models.dev", "2026-11-01", facts, names)

    return make_row


@pytest.fixture
def snapshot(scripts):
    def build(*rows):
        return scripts[0].make_snapshot(rows, dict.fromkeys(scripts[1].SOURCES, "2026-11-01"))

    return build


def test_thinking_names_a_model_of_its_own_only_if_it_came_later(snapshot, row):
    data = snapshot(
        row("kimi-k2", "moonshotai", released="2025-07-11"),
        row("kimi-k2-thinking", "moonshotai", released="2025-11-06"),
        row("grok-4-fast", "xai", released="2025-09-19"),
        row("grok-4-fast-reasoning", "xai", released="2025-09-19"),
    )
    assert set(data["models"]) == {"kimi-k2", "kimi-k2-thinking", "grok-4-fast"}


@pytest.mark.parametrize("name", ["auto", "small", "claude", "router"])
def test_a_name_that_means_no_single_model_is_left_out(snapshot, row, name):
    hosts = ("openrouter", "groq", "together", "anthropic")
    assert snapshot(*(row(name, host, price=1.0) for host in hosts))["models"] == {}


def test_a_title_of_the_maker_is_another_name_of_the_model(snapshot, row):
    data = snapshot(
        row("mistral-large-2512", "mistral", "Mistral Large 3"),
        row("mistralai/Mistral-Large-3-675B-Instruct-2512", "together", "Mistral Large 3"),
        row("mistral-large-2411", "mistral", "Mistral Large 2.1"),
    )
    assert set(data["models"]) == {"mistral-large-2512", "mistral-large-2411"}
    assert data["aliases"]["mistral-large-3"] == "mistral-large-2512"
    assert data["aliases"]["mistral-large-2-1"] == "mistral-large-2411"


def test_a_title_that_moves_or_that_two_models_have_is_no_name(snapshot, row):
    data = snapshot(
        row("devstral-medium-latest", "mistral", "Devstral 2 (latest)"),
        row("sonar-2603", "perplexity", "Sonar 4"),
        row("sonar-2604", "perplexity", "Sonar 4"),
    )
    assert data["aliases"] == {}


def test_the_name_that_a_host_states_for_its_model_joins_them_only_if_no_word_differs(
    snapshot, row
):
    data = snapshot(
        row("nemotron-3-super-120b-a12b", "nvidia"),
        row("nemotron-3-super", "together", "", "nvidia/nemotron-3-super-120b-a12b"),
        row("claude-sonnet-4-5", "anthropic"),
        row("claude-sonnet-4", "venice", "", "anthropic/claude-sonnet-4-5"),
        row("claude-sonnet-4-5-fast", "venice", "", "anthropic/claude-sonnet-4-5"),
    )
    assert set(data["models"]) == {
        *("nemotron-3-super-120b-a12b", "claude-sonnet-4-5", "claude-sonnet-4"),
        "claude-sonnet-4-5-fast",
    }


def test_a_mixture_is_one_model_with_and_without_its_active_parameters(snapshot, row):
    data = snapshot(row("qwen3-235b-a22b", "alibaba"), row("qwen-3-235b", "cerebras"))
    assert list(data["models"]) == ["qwen3-235b-a22b"]


def test_a_price_for_batches_is_no_model(snapshot, row):
    assert list(snapshot(row("gpt-5"), row("gpt-5-batch", price=0.5))["models"]) == ["gpt-5"]
