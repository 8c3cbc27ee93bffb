"""Published results of a model in any spelling: by category, with source and effort."""

from __future__ import annotations

import pytest

from tryage.models.lookup import look_up, to_expert
from tryage.models.results import (
    INDEX,
    PRIOR_CATEGORIES,
    RESULTS_FILE,
    find_results,
    prior_results,
    published_results,
    result_sources,
)

SHIPPABLE = {"CC BY 4.0", "MIT", "Apache-2.0"}


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-5.5", "openai:gpt-5.5", "openrouter/openai/gpt-5.5", "azure/gpt-5.5"),
        *("claude-opus-5", "gemini-3.5-flash", "qwen3-32b", "ollama:gemma3", "deepseek-v4-pro"),
    ],
)
def test_models_of_today_have_results_in_any_spelling(name):
    assert {INDEX, "overall", "coding"} <= published_results(name).keys()


def test_spellings_of_one_model_have_the_same_results():
    assert published_results("openrouter/openai/gpt-5.5") == published_results("gpt-5.5")


@pytest.mark.parametrize("name", ["gpt-99", "my-own-model", "", "🙂", "x" * 1_000])
def test_a_model_that_no_table_knows_has_no_results(name):
    assert published_results(name) == {}


@pytest.mark.parametrize(
    ("strong", "weak"),
    [
        *(("gpt-5", "gpt-4o-mini"), ("claude-opus-4-5", "claude-haiku-4-5")),
        *(("gemini-2.5-pro", "gemini-2.5-flash"), ("gpt-5.6-sol", "gpt-4.1-nano")),
        *(("deepseek-v4-pro", "deepseek-v3"), ("gemma-3-27b", "gemma-3-4b")),
    ],
)
def test_the_index_tells_the_strong_model_from_the_weak_one(strong, weak):
    assert published_results(strong)[INDEX] > published_results(weak)[INDEX] + 0.2


def test_a_result_of_the_named_effort_comes_before_those_of_others():
    high = {one.category: one for one in find_results("gpt-5.2@high")}
    assert high["overall"].effort == "high"
    assert published_results("gpt-5.2@high")["overall"] != published_results("gpt-5.2")["overall"]


def test_a_category_that_the_effort_lacks_comes_from_the_nearest_effort():
    assert published_results("gpt-5.2@low").keys() == published_results("gpt-5.2").keys()


def test_every_source_has_an_address_a_date_and_a_licence_that_lets_it_ship():
    sources = result_sources()
    assert {one.source for one in find_results("gpt-5")} <= sources.keys()
    assert {about["licence"] for about in sources.values()} <= SHIPPABLE
    assert all(about["date"] for about in sources.values())
    assert "livebench" not in sources


def test_an_expert_from_public_tables_carries_the_results_that_a_router_reads():
    model = look_up("anthropic:claude-sonnet-4-5")
    expert = to_expert(model)
    assert expert.metadata["results"] == prior_results("claude-sonnet-4-5")
    assert set(expert.metadata["results"]) <= set(PRIOR_CATEGORIES)


def test_the_results_of_an_expert_are_those_of_its_effort():
    low, high = (to_expert(look_up(f"gpt-5.4@{effort}")) for effort in ("none", "high"))
    assert low.metadata["results"] != high.metadata["results"]


def test_the_file_is_small():
    assert RESULTS_FILE.stat().st_size < 150_000
