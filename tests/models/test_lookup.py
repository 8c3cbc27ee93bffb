"""All sources together: a local server is free, genai-prices fills in, unknown stays unknown."""

from __future__ import annotations

import datetime

import pytest

from tryage.models import lookup
from tryage.models.lookup import canonical_name, look_up, to_expert
from tryage.models.snapshot import ModelFact, ModelSnapshot


@pytest.fixture
def snapshot(small, monkeypatch):
    monkeypatch.setattr(lookup, "genai_prices", lambda _name, _spelling: {})
    return ModelSnapshot(small)


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("ollama:gemma3", None),
        ("gemma-3-4b", "http://127.0.0.1:11434"),
        ("hosted_vllm/gemma-3-4b-it", "http://localhost:8000/v1"),
        ("ollama:a-model-of-mine:7b", None),
    ],
)
def test_a_model_on_this_machine_costs_nothing(snapshot, name, base_url):
    model = look_up(name, base_url=base_url, snapshot=snapshot)
    assert model.value("input_price") == model.value("output_price") == 0
    assert model.facts["input_price"].source == "served by this machine"


@pytest.mark.parametrize("name", ["openai:gpt-5.4-mini", "claude-opus-99"])
def test_a_closed_model_behind_a_gateway_on_this_machine_is_not_free(snapshot, name):
    model = look_up(name, base_url="http://localhost:4000", snapshot=snapshot)
    assert model is None or model.value("output_price") == 4.5


def test_ollama_elsewhere_is_not_free(snapshot):
    model = look_up("ollama:gemma3", base_url="https://ollama.example.com", snapshot=snapshot)
    assert model.value("output_price") == 0.08


def test_an_unknown_model_that_is_not_local_is_none(snapshot):
    assert look_up("gpt-9", snapshot=snapshot) is None
    assert look_up("", snapshot=snapshot) is None


def test_prices_of_genai_prices_fill_in_and_replace_only_if_refreshed(snapshot, monkeypatch):
    fact = ModelFact(9.0, "genai-prices", None, 0.97)
    monkeypatch.setattr(lookup, "genai_prices", lambda _name, _spelling: {"input_price": fact})
    assert look_up("zephyr-7b", snapshot=snapshot).value("input_price") == 9
    assert look_up("gpt-4o", snapshot=snapshot).value("input_price") == 2.5
    refreshed = ModelFact(9.0, "genai-prices", "2026-11-28", 0.97)
    monkeypatch.setattr(lookup, "genai_prices", lambda _name, _spelling: {"input_price": refreshed})
    assert look_up("gpt-4o", snapshot=snapshot).value("input_price") == 9


def test_an_expert_has_the_known_facts_with_their_sources(snapshot):
    expert = to_expert(look_up("openai:gpt-5.4-mini", snapshot=snapshot), "mini")
    assert expert.name == "mini"
    assert (expert.input_price, expert.output_price, expert.cached_input_price) == (
        0.75,
        4.5,
        0.075,
    )
    assert expert.context_length == 400000
    assert expert.released == datetime.date(2026, 3, 17)
    assert expert.capabilities == {"tools", "vision"}
    assert expert.metadata["sources"]["input_price"] == "table"


def test_what_is_unknown_of_a_model_stays_unknown_of_its_expert(snapshot):
    expert = to_expert(look_up("zephyr-7b", snapshot=snapshot))
    assert expert.to_dict().keys() == {"name", "metadata"}
    assert expert.metadata.keys() == {"results"}


def test_a_month_is_no_date_of_release(small):
    small["models"]["gpt-4o"]["released"] = ["2024-05", "table", None, 0.9]
    assert to_expert(look_up("gpt-4o", snapshot=ModelSnapshot(small))).released is None


def test_ollama_on_another_machine_by_its_variable_is_not_free(snapshot, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "https://ollama.example.com")
    assert look_up("ollama:gemma3", snapshot=snapshot).value("output_price") == 0.08


@pytest.mark.parametrize(
    "names",
    [
        ("gpt-5.4-mini", "openai:gpt-5.4-mini-2026-03-17@high", "openrouter/openai/gpt-5.4-mini"),
        ("HuggingFaceH4/zephyr-7b-beta-GGUF", "zephyr-7b-beta", "zephyr:7b-beta-q4_K_M"),
        ("Qwen/Qwen2.5-Nonesuch-9B-Instruct", "qwen-2-5-nonesuch-9b", "qwen2.5-nonesuch-9b:free"),
    ],
)
def test_spellings_of_a_model_have_one_canonical_name_known_or_not(snapshot, names):
    assert len({canonical_name(name, snapshot=snapshot) for name in names}) == 1
    assert canonical_name(names[0], snapshot=snapshot) is not None


def test_a_known_model_has_the_name_that_its_maker_writes(snapshot):
    assert canonical_name("gpt-5-4-mini", snapshot=snapshot) == "gpt-5.4-mini"


@pytest.mark.parametrize("text", ["my-own", "auto", "", "::", "the best one"])
def test_a_text_that_tells_no_model_has_no_canonical_name(snapshot, text):
    assert canonical_name(text, snapshot=snapshot) is None


def test_the_price_of_writing_to_a_cache_goes_with_the_expert():
    model = look_up("anthropic:claude-sonnet-4-5")
    assert to_expert(model).metadata["cache_write_price"] == 3.75


def test_ollama_serves_on_this_machine_what_tables_call_closed_but_not_what_is_in_its_cloud():
    assert look_up("ollama:qwen3:30b-a3b").value("output_price") == 0
    assert look_up("ollama:gpt-oss:120b-cloud").value("output_price") > 0
