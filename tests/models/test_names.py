"""A name in any spelling leads to its model, and what stands around it is read, never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.errors import InputError
from tryage.models.names import MAX_LENGTH, name_key, parse_model_name


@pytest.mark.parametrize(
    "text",
    [
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-latest",
        "Claude 3.5 Sonnet",
        "anthropic:claude-3-5-sonnet-latest",
        "anthropic/claude-3.5-sonnet",
        "openrouter/anthropic/claude-3.5-sonnet:beta",
        "us.anthropic.claude-3-5-sonnet-20241022-v2:0",
        "bedrock/us-east-1/anthropic.claude-3-5-sonnet-20240620-v1:0",
        "vertex_ai/claude-3-5-sonnet@20240620",
        "anthropic__claude-sonnet-3-5",
    ],
)
def test_providers_dates_and_the_order_of_words_do_not_tell_models_apart(text):
    assert parse_model_name(text).key == "claude-sonnet-3-5"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("gpt-5", "gpt-5.1"),
        ("gpt-4", "gpt-4o"),
        ("gpt-4.1", "gpt-4.1-mini"),
        ("llama3:8b", "llama3:70b"),
        ("llama3:8b", "llama3.1:8b"),
        ("mistral-large-2411", "mistral-large-2512"),
        ("mistral-large-2411", "mistral-large-latest"),
        ("qwen-max-2025-01-25", "qwen-max"),
        ("deepseek-v3", "deepseek-v3-0324"),
        ("claude-opus-4", "claude-opus-4-1"),
        ("claude-opus-4-5", "claude-sonnet-4-5"),
        ("qwen3-max", "qwen3-plus"),
        ("gemini-exp-1206", "gemini-pro"),
        ("gpt-3.5-turbo-16k", "gpt-3.5-turbo"),
        ("phi-3-medium", "phi-3-mini"),
    ],
)
def test_versions_sizes_and_the_date_of_a_name_without_a_version_tell_models_apart(text, other):
    assert parse_model_name(text).key != parse_model_name(other).key


@pytest.mark.parametrize(
    ("text", "model", "provider", "date", "effort", "quantization"),
    [
        ("openai:gpt-5.2-2025-12-11-high", "gpt-5.2", "openai", "2025-12-11", "high", None),
        ("gpt-5.2 (no reasoning)", "gpt-5.2", None, None, "none", None),
        ("openai/gpt-5.4@reasoning=xhigh", "gpt-5.4", "openai", None, "xhigh", None),
        ("openai/o3@reasoning=default", "o3", "openai", None, None, None),
        ("gpt-5.6-luna:high", "gpt-5.6-luna", None, None, "high", None),
        ("claude-opus-4-5-20251101-thinking-64k-high-effort", "claude-opus-4-5", None,
         "2025-11-01", "high", None),
        ("claude-3-7-sonnet-20250219_16K", "claude-sonnet-3-7", None, "2025-02-19", "16k", None),
        ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro", None, "05-06", None, None),
        ("gemini-2.5-flash-preview-05-20 (no think)", "gemini-2.5-flash", None, "05-20", "none",
         None),
        ("grok-4-fast-non-reasoning", "grok-4-fast", None, None, "none", None),
        ("qwen2.5:7b-instruct-q4_K_M", "qwen2.5-7b", None, None, None, "q4_k_m"),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "llama-4-maverick-17b-128e",
         "meta-llama", None, None, "fp8"),
        ("accounts/fireworks/models/llama-v3p1-70b-instruct", "llama-3.1-70b",
         "accounts/fireworks/models", None, None, None),
        ("mistral-small-2506", "mistral-small-2506", None, "2025-06", None, None),
        ("command-a-03-2025", "command-a-03-2025", None, "2025-03", None, None),
        ("eu.anthropic.claude-sonnet-4-6", "claude-sonnet-4-6", "bedrock/eu", None, None, None),
        ("Claude Opus 4.7 (Adaptive Reasoning, Max Effort)", "claude-opus-4-7", None, None, "max",
         None),
        ("Claude Fable 5 (Adaptive Reasoning, Max Effort, Opus 4.8 Fallback)", "claude-fable-5",
         None, None, "max", None),
        ("GPT-5.5 (Non-reasoning, High Effort)", "gpt-5.5", None, None, "none", None),
        ("claude-4-sonnet-20250514-base", "claude-sonnet-4", None, "2025-05-14", "none", None),
        ("deepseek-v3.2-reasoning-0925", "deepseek-v3.2-0925", None, "09-25", "thinking", None),
        ("Claude 3.5 Sonnet (Oct '24)", "claude-sonnet-3-5", None, "2024-10", None, None),
        ("arn:aws:bedrock:us-east-1:1234:inference-profile/us.anthropic.claude-opus-4-5-20251101-v1:0",
         "claude-opus-4-5", "bedrock/us", "2025-11-01", None, None),
        ("projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro",
         "gemini-2.5-pro", "vertex_ai", None, None, None),
        ("us.deepseek.r1-v1:0", "deepseek-r1", "bedrock/us", None, None, None),
        ("anthropic.claude-v2:1", "claude-2-1", "bedrock", None, None, None),
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b", "bedrock", None, None, None),
        ("nvidia.nemotron-nano-9b-v2", "nemotron-nano-9b-v2", "bedrock", None, None, None),
        ("hf.co/unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL", "qwen3-8b", "hf.co/unsloth", None, None,
         "q4_k_xl"),
        ("C:\\models\\Llama-3.2-3B-Instruct-Q8_0.gguf", "llama-3.2-3b", "c:/models", None, None,
         "q8_0"),
        ("/models/Meta-Llama-3.1-8B-Instruct.Q5_K_M.gguf", "llama-3.1-8b", "models", None, None,
         "q5_k_m"),
        ("Claude 3.7 Sonnet (64k Extended thinking)", "claude-sonnet-3-7", None, None, "64k", None),
        ("gemini-2.5-pro-thinking-budget-32k", "gemini-2.5-pro", None, None, "32k", None),
        ("claude-opus-4-6[1m]", "claude-opus-4-6", None, None, None, None),
        ("openai:gpt-5.2-chat-latest", "gpt-5.2", "openai", None, "none", None),
        ("microsoft/Phi-4-reasoning", "phi-4-reasoning", "microsoft", None, None, None),
        ("anthropic--claude-4.5-sonnet", "claude-sonnet-4-5", "anthropic", None, None, None),
        ("regional.anthropic.claude-sonnet-5-v1:0", "claude-sonnet-5", "bedrock/regional", None,
         None, None),
        ("anthropic/claude-opus-4.6:thinking:low", "claude-opus-4-6", "anthropic", None, "low",
         None),
        ("databricks-meta-llama-3-3-70b-instruct", "llama-3-3-70b", "databricks", None, None, None),
        ("gpt-oss:120b-cloud", "gpt-oss-120b", None, None, None, None),
        ("zai-org/GLM-5.1-TEE", "glm-5.1", "zai-org", None, None, None),
        ("[Claude 3 Opus](https://claude.ai)", "claude-opus-3", None, None, None, None),
    ],
)  # fmt: skip
def test_a_name_tells_provider_date_effort_and_quantization(
    text, model, provider, date, effort, quantization
):
    name = parse_model_name(text)
    found = (name.model, name.provider, name.date, name.effort, name.quantization)
    assert found == (model, provider, date, effort, quantization)


def test_a_colon_after_a_provider_is_not_a_tag_of_ollama():
    assert parse_model_name("mistral:mistral-large-latest").model == "mistral-large"
    assert parse_model_name("mistral:7b").model == "mistral-7b"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("openai:chatgpt-4o-latest", "chatgpt-4o"),
        ("openrouter:minimax-m2.5", "minimax-m2.5"),
        ("openai:text-davinci-003", "text-davinci-003"),
        ("mistral:mistral-small-latest", "mistral-small"),
        ("mistral:instruct", "mistral"),
    ],
)
def test_what_follows_a_provider_is_a_name_even_if_it_begins_like_a_tag(text, model):
    assert parse_model_name(text).model == model


def test_a_name_without_a_size_means_the_size_that_ollama_serves():
    assert parse_model_name("ollama:gemma3").key == "gemma-3-4b"
    assert parse_model_name("ollama/mistral").key == "mistral-7b"
    assert parse_model_name("mistral").key == "mistral"


def test_a_word_of_a_known_model_is_no_effort():
    known = {"kimi-k2-thinking"}
    assert parse_model_name("moonshotai/Kimi-K2-Thinking", known).key == "kimi-k2-thinking"
    assert parse_model_name("moonshotai/Kimi-K2-Thinking").effort == "thinking"


@pytest.mark.parametrize("text", ["", "  ", "123", "::", "()", "a" * (MAX_LENGTH + 1)])
def test_what_cannot_be_a_name_is_none(text):
    assert parse_model_name(text) is None


@pytest.mark.parametrize(
    "text",
    ["high", "latest", "openai:", "/", "x/", "@high", "gpt-", "-(high)", "(a", "é-4", "a:b:c"],
)
def test_odd_names_raise_nothing(text):
    name = parse_model_name(text)
    assert name is None or name.model


@pytest.mark.parametrize("text", [None, 5, b"gpt-5", ["gpt-5"]])
def test_what_is_no_string_is_refused(text):
    with pytest.raises(InputError, match="must be a string"):
        parse_model_name(text)


def test_a_long_note_is_read_without_trying_every_division():
    assert parse_model_name(f"gpt-5 ({'a' * 200}!)") is not None
    assert parse_model_name(f"gpt-5 ({'high ' * 40})").effort == "high"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("openai-gpt-54-mini", "gpt-5-4-mini"),
        ("claude-35-sonnet", "claude-sonnet-3-5"),
        ("haiku35", "claude-haiku-3-5"),
        ("sonnet-4.5", "claude-sonnet-4-5"),
        ("minimax-m25", "minimax-m2-5"),
        ("qwen25-vl-72b", "qwen-2-5-vl-72b"),
        ("Nemotron-Super-3-120B", "nemotron-3-super-120b"),
        ("deepseek-fireworks-v3-0324", "deepseek-v3-0324"),
        ("llama4-scout-instruct-basic", "llama-4-scout"),
        ("llama-4-scout-17b-16e-instruct-maas", "llama-4-scout-17b-16e"),
        ("CommandR7B", "command-r7b"),
        ("DeepSeek R1 05/28", "deepseek-r1-0528"),
        ("open-mixtral-8x7b", "mixtral-8x7b"),
    ],
)
def test_digits_without_a_point_and_hosts_within_a_name_are_read(text, key):
    assert parse_model_name(text).key == key


@pytest.mark.parametrize(
    "text", ["gpt-10", "qwen-14b", "glm-130b", "snowflake-arctic", "llama3-70b"]
)
def test_digits_that_are_no_version_stay(text):
    assert parse_model_name(text).model == text


def test_a_size_keeps_its_point_so_that_it_is_no_version():
    assert name_key("qwen3-1.7b") != name_key("qwen3.1-7b")


def test_spellings_of_a_version_have_one_key():
    assert name_key("qwen2.5-72b") == name_key("qwen-2-5-72b") == name_key("Qwen_2.5-72B")


PIECES = st.sampled_from(
    ["gpt", "-5.4", "claude", "sonnet", "@", "high", "(", ")", ":", "/", "-", "_", ".", "7b",
     "20241022", "v2:0", "[a]", "q4_k_m", "us.", "arn:aws:", "~", "instruct", "\u0130", "\ufb01",
     " ", "\ud800"]
)  # fmt: skip


@settings(max_examples=60)
@given(st.text(max_size=40) | st.lists(PIECES, max_size=10).map("".join))
def test_any_text_is_read_as_a_name_or_is_none(text):
    name = parse_model_name(text)
    assert parse_model_name(f"  {text}\n") == name
    if name is not None:
        parts = (name.key, name.undated_key, name.family, name.generation, name.tier, name.size)
        assert name.model
        assert parts == (
            name.key,
            name.undated_key,
            name.family,
            name.generation,
            name.tier,
            name.size,
        )
