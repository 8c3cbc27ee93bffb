"""A name tells the family, the generation and the tier of its model."""

from __future__ import annotations

import pytest

from tryage.models.families import family_of, may_tell_family
from tryage.models.names import parse_model_name
from tryage.models.refresh import current_snapshot


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


def test_every_known_name_can_tell_the_family_that_it_tells():
    families = {name: parse_model_name(name).family for name in current_snapshot()}
    assert [
        name
        for name, family in families.items()
        if family is not None and not may_tell_family(name, family)
    ] == []


@pytest.mark.parametrize(
    ("name", "family"),
    [("chatgpt-4o", "gpt"), ("chatglm-3", "glm"), ("deepseekr1", "deepseek-r"), ("o3-mini", "o")],
)
def test_a_name_can_tell_a_family_in_other_words_than_its_own(name, family):
    assert family_of(name) == family
    assert may_tell_family(name, family)


def test_most_names_cannot_tell_a_family():
    snapshot = current_snapshot()
    for family in ("claude", "o", "deepseek-r", "grok"):
        able = [name for name in snapshot if may_tell_family(name, family)]
        assert 0 < len(able) < len(snapshot) / 10, family
