"""Known models by the names that people and providers give them, in the bundled library."""

from __future__ import annotations

import json

import pytest

from tryage import Library
from tryage.chat import resolve_model_name
from tryage.perception.pretrained import BUNDLED_FOLDER


@pytest.fixture(scope="module")
def known():
    return Library.from_dicts(
        json.loads((BUNDLED_FOLDER / "router.json").read_text("utf-8"))["library"]
    )


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openai:gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("azure_openai:gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openrouter/openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-11-20", "gpt-4o-2024-08-06"),
        ("gpt-4-0613", "gpt-4-0314"),
        ("anthropic/claude-3-5-sonnet", "claude-3-5-sonnet-20241022"),
        ("anthropic:claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20240620"),
        ("google_vertexai:claude-3-5-sonnet@20240620", "claude-3-5-sonnet-20240620"),
        (
            "bedrock_converse:us.anthropic.claude-3-5-sonnet-20241022-v2:0",
            "claude-3-5-sonnet-20241022",
        ),
        ("google_genai:models/gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("huggingface:Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("openrouter:qwen/qwen-2.5-7b-instruct:free", "Qwen/Qwen2.5-7B-Instruct"),
        ("ollama:llama3:8b", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("  GPT-4O  ", "gpt-4o-2024-08-06"),
    ],
)
def test_a_known_model_is_recognised(known, spec, name):
    assert resolve_model_name(known, spec).name == name


@pytest.mark.parametrize(
    "spec",
    ["", ":", "/", "openai", "gpt-4o-nano", "openai:gpt", "gpt-5", "llama3:1b", "my-own", "客户"],
)
def test_another_model_is_not_taken_for_a_known_one(known, spec):
    assert resolve_model_name(known, spec) is None


def test_every_name_and_alias_means_its_own_expert(known):
    for expert in known:
        for name in (expert.name, *expert.aliases):
            assert resolve_model_name(known, name).name == expert.name
            assert resolve_model_name(known, f"someone:{name}").name == expert.name
