"""A name tells the family, the generation and the tier of its model."""

from __future__ import annotations

import pytest

from tryage.models.names import parse_model_name


@pytest.mark.parametrize(
    ("name", "family", "generation", "tier"),
    [
        ("openai:gpt-5.4-mini@high", "gpt", (5, 4), ("mini",)),
        ("chatgpt-4o-latest", "gpt", (4,), ()),
        ("gpt-3.5-turbo-0125", "gpt", (3, 5), ("turbo",)),
        ("gpt-oss:120b", "gpt-oss", (), ()),
        ("o3-mini", "o", (3,), ("mini",)),
        ("claude-3-5-sonnet-20241022", "claude", (3, 5), ("sonnet",)),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "claude", (4, 5), ("opus",)),
        ("gemini-2.5-flash-lite-preview-06-17", "gemini", (2, 5), ("flash", "lite")),
        ("gemini-exp-1206", "gemini", (), ()),
        ("grok-4.20-0309", "grok", (4, 20), ()),
        ("deepseek-v3.1", "deepseek", (3, 1), ()),
        ("deepseek-r1", "deepseek-r", (1,), ()),
        ("moonshotai/Kimi-K2.5", "kimi", (2, 5), ()),
        ("Qwen/Qwen3-30B-A3B", "qwen", (3,), ()),
        ("qwen-2-5-vl-32b", "qwen", (2, 5), ()),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", "llama", (4,), ("maverick",)),
        ("llama3:8b", "llama", (3,), ()),
        ("gemma-3n-e4b-it", "gemma", (3,), ()),
        ("glm-4v", "glm", (4,), ()),
        ("mistral-large-2411", "mistral", (), ("large",)),
        ("Mistral-7B-Instruct-v0.3", "mistral", (0, 3), ()),
        ("mixtral-8x7b", "mixtral", (), ()),
        ("phi-3-medium-4k-instruct", "phi", (3,), ("medium",)),
        ("yield-curve-2", None, (), ()),
    ],
)
def test_a_name_tells_family_generation_and_tier(name, family, generation, tier):
    parsed = parse_model_name(name)
    assert (parsed.family, parsed.generation, parsed.tier) == (family, generation, tier)


def test_a_name_tells_the_size_of_its_model():
    assert parse_model_name("qwen3:30b-a3b-q4_K_M").size == 30e9
    assert parse_model_name("gpt-5.4-mini").size is None
