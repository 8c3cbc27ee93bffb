"""One host has one name, and only this machine is free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.models.hosts import host_of, is_local, maker_host


@pytest.mark.parametrize(
    ("provider", "host"),
    [
        ("together_ai", "together"),
        ("together", "together"),
        ("openrouter/anthropic", "openrouter"),
        ("bedrock/us-east-1", "aws"),
        ("bedrock/us", "aws"),
        ("bedrock/eu", "aws/eu"),
        ("accounts/fireworks/models", "fireworks"),
        ("google_genai", "google"),
        ("azure_openai", "azure"),
        ("something-new", "something-new"),
        (None, None),
        ("", None),
    ],
)
def test_every_spelling_of_a_host_has_one_name(provider, host):
    assert host_of(provider) == host


@pytest.mark.parametrize(
    ("model", "host"),
    [
        ("gpt-5.4-mini", "openai"),
        ("o3", "openai"),
        ("gpt-oss-20b", None),
        ("claude-opus-5-5", "anthropic"),
        ("gemini-3.5-flash", "google"),
        ("llama-3.1-8b", None),
        ("unheard-of-1", None),
    ],
)
def test_the_maker_serves_its_own_models_unless_it_gives_their_weights_away(model, host):
    assert maker_host(model) == host


@pytest.mark.parametrize(
    ("provider", "base_url", "expected"),
    [
        ("ollama", None, True),
        ("lm_studio", None, True),
        ("hosted_vllm", "http://localhost:8000/v1", True),
        ("openai", "http://127.0.0.1:8080", True),
        ("openai", "http://[::1]:8080", True),
        ("openai", "127.0.0.1:8080", True),
        ("ollama", "0.0.0.0:11434", True),
        ("openai", "http://host.docker.internal:8000/v1", True),
        ("vllm", None, False),
        ("ollama", "https://ollama.com", False),
        ("openai", "http://192.168.0.4:8000", False),
        ("openai", "http://localhost.example.com", False),
        ("openai", "http://[broken", False),
        ("openai", None, False),
        (None, None, False),
    ],
)
def test_a_server_is_local_on_a_loopback_address_or_where_its_client_defaults_to_one(
    provider, base_url, expected
):
    assert is_local(provider, base_url) is expected


@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            ["http://", "[", "]", ":", "@", "localhost", "127.0.0.1", "%", "/", "\u2100"]
        ),
        max_size=6,
    ).map("".join)
)
def test_any_text_is_an_address_or_is_not_of_this_machine(text):
    assert is_local(None, text) in (True, False)
    assert host_of(text) is None or isinstance(host_of(text), str)
