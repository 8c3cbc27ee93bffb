"""The words of names: makers that stand before their models, and words that are no effort."""

from __future__ import annotations

import pytest

from tryage.models.name_words import AGENT_PREFIX, MAKER_PREFIX, OLLAMA_SIZES, STATUS_WORDS
from tryage.models.names import parse_model_name


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("meta-llama-3.1-8b", "llama-3.1-8b"),
        ("googlegemini-3.1-pro", "gemini-3.1-pro"),
        ("amazon-nova-pro", "nova-pro"),
        ("xiaomi mimo v2", "mimo v2"),
        ("minimaxminimax-m3", "minimax-m3"),
    ],
)
def test_a_maker_before_its_model_is_found(text, rest):
    assert text[MAKER_PREFIX.match(text).end() :] == rest


@pytest.mark.parametrize("text", ["minimax-m3", "qwen3-8b", "deepseek-v3", "llama-3", "mistral-7b"])
def test_a_model_that_is_called_like_its_maker_keeps_its_name(text):
    assert MAKER_PREFIX.match(text) is None


def test_an_agent_is_found_only_before_an_underscore():
    assert AGENT_PREFIX.match("droid_gpt-5")
    assert AGENT_PREFIX.match("aligner-2b_claude-3-opus") is None


def test_the_names_of_ollama_lead_to_models_with_a_size():
    for name, size in OLLAMA_SIZES.items():
        assert parse_model_name(f"ollama:{name}").model == f"{name}-{size}"


def test_no_status_word_is_a_tier():
    assert STATUS_WORDS.isdisjoint({"mini", "nano", "lite", "pro", "max", "turbo", "plus"})
