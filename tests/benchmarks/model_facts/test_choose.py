"""Of many tables one value is chosen: that on which most agree, of the maker before hosts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "benchmarks" / "model_facts"


@pytest.fixture
def scripts(monkeypatch):
    """Return the scripts as modules."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import choose
    import make
    import tables

    yield choose, make, tables
    for name in ("choose", "groups", "make", "tables"):
        del sys.modules[name]


@pytest.fixture
def row(scripts):
    def make_row(model, provider="openai", source="models.dev", price=None, **facts):
        prices = {} if price is None else {"input_price": price, "output_price": 4 * price}
        return scripts[2].Row(model, provider, source, "2026-11-01", {**prices, **facts})

    return make_row


@pytest.fixture
def snapshot(scripts):
    def build(*rows):
        return scripts[1].make_snapshot(rows, dict.fromkeys(scripts[2].SOURCES, "2026-11-01"))

    return build


def test_the_price_on_which_most_tables_agree_is_chosen(snapshot, row):
    data = snapshot(
        row("gpt-5", source="models.dev", price=1.0),
        row("gpt-5", source="litellm", price=1.005),
        row("gpt-5", source="genai-prices", price=9.0),
    )
    value, _, _, confidence = data["models"]["gpt-5"]["input_price"]
    assert value == pytest.approx(1, rel=0.01)
    assert confidence == 0.97


def test_a_price_against_which_another_table_stands_is_doubted(snapshot, row):
    data = snapshot(
        row("gpt-5", source="models.dev", price=1.0), row("gpt-5", source="litellm", price=2.0)
    )
    assert data["models"]["gpt-5"]["input_price"] == [2.0, "litellm", "2026-11-01", 0.7]


def test_the_maker_decides_and_hosts_keep_their_own_price(snapshot, row):
    data = snapshot(
        row("gpt-5", price=1.0), row("openai/gpt-5", "openrouter", price=3.0),
        row("gpt-5", "azure", price=1.0),
    )  # fmt: skip
    assert data["models"]["gpt-5"]["output_price"][0] == 4.0
    assert list(data["hosts"]["gpt-5"]) == ["openrouter"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_variant_without_reasoning_does_not_speak_for_the_model(snapshot, row, order):
    rows = [
        row("gpt-5", tools=True, context_length=400_000),
        row("gpt-5-chat-latest", tools=False, context_length=128_000),
    ]
    facts = snapshot(*rows[::order])["models"]["gpt-5"]
    assert (facts["tools"][0], facts["context_length"][0]) == (True, 400_000)


def test_a_variant_speaks_for_a_model_that_has_no_other_name(snapshot, row):
    assert snapshot(row("gpt-5-chat", tools=False))["models"]["gpt-5"]["tools"][0] is False


def test_without_a_maker_the_host_in_the_middle_decides_with_little_confidence(snapshot, row):
    hosts = {"groq": 1.0, "deepinfra": 2.0, "together": 9.0}
    data = snapshot(*(row("llama-3.3-70b", host, price=price) for host, price in hosts.items()))
    assert data["models"]["llama-3.3-70b"]["input_price"] == [2.0, "models.dev", "2026-11-01", 0.6]


def test_a_price_of_zero_is_that_of_a_subscription_and_unknown(snapshot, row):
    assert "input_price" not in snapshot(row("gpt-5", price=0.0))["models"]["gpt-5"]


def test_a_build_with_another_price_keeps_it(snapshot, row):
    data = snapshot(row("gpt-4o", price=2.5), row("gpt-4o-2024-05-13", price=5.0))
    assert list(data["models"]) == ["gpt-4o"]
    assert data["builds"]["gpt-4o"]["2024-05-13"]["input_price"][0] == 5.0


def test_of_two_prices_told_equally_often_that_of_the_plain_name_counts(snapshot, row):
    data = snapshot(
        row("sonar-2", "perplexity", "models.dev", price=1.0),
        row("perplexity/sonar-2", "perplexity", "genai-prices", price=9.0),
    )
    assert data["models"]["sonar-2"]["input_price"][0] == 1.0


def test_a_release_agrees_with_the_date_in_the_name(snapshot, row):
    data = snapshot(
        row("mistral-large-2512", "mistral", price=1.0, released="2024-11-01"),
        row("mistral-large-2512", "openrouter", price=1.0, released="2025-12-02"),
    )
    assert data["models"]["mistral-large-2512"]["released"][0] == "2025-12-02"


def test_the_first_listing_of_a_price_is_a_release_only_if_nothing_else_is_told(snapshot, row):
    listed = row("qwen3-30b-a3b", "alibaba", "model-prices", price=1.0, released="2026-01-16")
    days = ("2025-02-27", "2025-04-29", "2025-06-01")
    told = [row("qwen3-30b-a3b", host, released=day) for host, day in zip("abc", days, strict=True)]
    assert snapshot(listed, *told)["models"]["qwen3-30b-a3b"]["released"][0] == "2025-04-29"
    assert snapshot(listed)["models"]["qwen3-30b-a3b"]["released"][0] == "2026-01-16"


def test_a_month_is_completed_by_a_day_that_a_host_tells(snapshot, row):
    data = snapshot(
        row("qwen3-8b", "alibaba", released="2025-04"),
        row("qwen3-8b", "openrouter", released="2025-04-28"),
        row("qwen3-8b", "novita", released="2024-01-01"),
    )
    assert data["models"]["qwen3-8b"]["released"][0] == "2025-04-28"


@pytest.mark.parametrize(
    ("model", "answers", "is_open"),
    [
        ("qwen3-30b-a3b", (False, False, True, True), True),
        ("qwen3-max", (False, True), False),
        ("glm-5.1", (False, True, True), True),
        ("gpt-5", (False,), False),
    ],
)
def test_weights_are_open_if_most_hosts_say_so_or_if_a_size_tells_it(
    snapshot, row, model, answers, is_open
):
    rows = [row(model, f"host-{i}", open_weights=one) for i, one in enumerate(answers)]
    assert snapshot(*rows)["models"][model]["open_weights"][0] is is_open
