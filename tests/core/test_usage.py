"""Reports of tokens in the words of each provider, as their documentation shows them."""

from __future__ import annotations

import math

import pytest

from tryage.core.usage import NO_TOKENS, TokenUsage, add_usages, read_usage

# Input, output, cached, written to the cache, written for an hour.
REPORTS = {
    "OpenAI's chat completions": (
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
         "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
         "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0}},
        (19, 10, 4),
    ),
    "OpenAI's responses": (
        {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 6}, "output_tokens": 87,
         "output_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 123},
        (36, 87, 6),
    ),
    "OpenAI's writes to the cache": (
        {"prompt_tokens": 100, "completion_tokens": 1,
         "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 60}},
        (100, 1, 40, 60),
    ),
    "Anthropic": (
        {"input_tokens": 5, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 60,
         "output_tokens": 9},
        (95, 9, 60, 30),
    ),
    "Anthropic's cache for an hour": (
        {"input_tokens": 5, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 0,
         "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
         "output_tokens": 9},
        (35, 9, 0, 10, 20),
    ),
    "Google": (
        {"prompt_token_count": 50, "candidates_token_count": 7, "thoughts_token_count": 11,
         "total_token_count": 68, "cached_content_token_count": None},
        (50, 18),
    ),
    "Google's own tools": (
        {"prompt_token_count": 50, "tool_use_prompt_token_count": 30, "candidates_token_count": 7,
         "total_token_count": 87},
        (80, 7),
    ),
    "Google without a total": (
        {"prompt_token_count": 50, "candidates_token_count": 7, "thoughts_token_count": 11},
        (50, 18),
    ),
    "xAI, which counts reasoning in the total alone": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45,
         "completion_tokens_details": {"reasoning_tokens": 30}},
        (10, 35),
    ),
    "DeepSeek": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
         "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        (10, 5, 8),
    ),
    "Bedrock": (
        {"inputTokens": 10, "outputTokens": 5, "totalTokens": 75, "cacheReadInputTokens": 40,
         "cacheWriteInputTokens": 20},
        (70, 5, 40, 20),
    ),
    "LiteLLM, of Anthropic's cache": (
        {"prompt_tokens": 1100, "completion_tokens": 50, "total_tokens": 1150,
         "prompt_tokens_details": {"cached_tokens": 700, "cache_creation_tokens": 300},
         "cache_creation_input_tokens": 300, "cache_read_input_tokens": 700},
        (1100, 50, 700, 300),
    ),
    "Ollama": ({"prompt_eval_count": 26, "eval_count": 298}, (26, 298)),
    "LangChain, of Anthropic's cache": (
        {"input_tokens": 95, "output_tokens": 9, "total_tokens": 104,
         "input_token_details": {"cache_read": 60, "cache_creation": 0,
                                 "ephemeral_5m_input_tokens": 10,
                                 "ephemeral_1h_input_tokens": 20}},
        (95, 9, 60, 10, 20),
    ),
}  # fmt: skip


@pytest.mark.parametrize("provider", REPORTS)
def test_the_tokens_of_every_provider_are_read_in_its_own_words(provider):
    report, tokens = REPORTS[provider]
    assert read_usage(report) == TokenUsage(*tokens)


@pytest.mark.parametrize(
    "report",
    [
        None, "text", 3, [], {}, {"prompt_tokens": 3}, {"completion_tokens": 3},
        {"prompt_tokens": None, "completion_tokens": 3}, {"prompt_tokens": "3"},
        {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": math.nan, "completion_tokens": 3},
        {"prompt_tokens": -1, "completion_tokens": 3}, TokenUsage, object(),
    ],
)  # fmt: skip
def test_a_report_that_does_not_count_both_is_unknown(report):
    assert read_usage(report) is None


def test_a_report_without_any_input_is_not_complete():
    assert read_usage({"input_tokens": 0, "output_tokens": 60, "total_tokens": 60}) is None


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"audio_tokens": 3}},
        {"completion_tokens_details": {"audio_tokens": 3}},
        {"input_token_details": {"flex_cache_read": 0, "flex": 5}},
        {"output_token_details": {"priority": 5}},
        {"service_tier": "priority"},
    ],
)
def test_tokens_with_rates_of_their_own_are_marked(details):
    usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5, **details})
    assert usage.has_other_rates


def test_a_standard_tier_and_no_sound_are_no_rates_of_their_own():
    details = {"prompt_tokens_details": {"audio_tokens": 0}, "service_tier": "standard"}
    usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5, **details})
    assert not usage.has_other_rates


def test_tokens_add_up_and_are_divided_by_their_rate():
    usage = TokenUsage(100, 10, 40, 20, 5) + TokenUsage(1, 1, has_other_rates=True)
    assert usage == TokenUsage(101, 11, 40, 20, 5, has_other_rates=True)
    assert usage.by_rate == (36, 40, 20, 5, 11)
    assert TokenUsage(10, 1, 40).by_rate == (0, 40, 0, 0, 1)  # never below zero


def test_one_unknown_answer_leaves_all_together_unknown():
    assert add_usages([TokenUsage(1, 2), TokenUsage(3, 4)]) == TokenUsage(4, 6)
    assert add_usages([TokenUsage(1, 2), None]) is None
    assert add_usages([]) is None
    assert add_usages([NO_TOKENS]) == NO_TOKENS
