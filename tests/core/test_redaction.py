"""What counts as a credential, and texts and settings without them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tryage.core.redaction import describe_error, is_secret, redact, without_secrets


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-api03-abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "Bearer abc.def-ghi",
        "api_key=abcdef",
        '"api-key": "abcdef"',
        "https://me:hunter2@host/v1",
        "https://host/v1?key=abcdef&x=1",
        "0123456789abcdef0123456789abcdef",
        "AIzaSyA1234567890abcdefghi",
    ],
)
def test_text_that_looks_like_a_credential_is_replaced(secret):
    text = redact(f"The server said {secret} and stopped")
    assert "***" in text
    assert not {"abcdef", "hunter2", "abc.def", "1234567890"} & {
        word for word in ("abcdef", "hunter2", "abc.def", "1234567890") if word in text
    }
    assert text.startswith("The server said ")
    assert text.endswith("and stopped")


def test_text_about_tokens_is_not_a_credential():
    assert redact("tokens per minute: the tokenization failed") == (
        "tokens per minute: the tokenization failed"
    )


def test_an_error_is_described_in_one_short_line():
    assert describe_error(ValueError("a\n b" + "x" * 1_000)) == "ValueError: a b" + "x" * 297
    assert describe_error(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "anything"),
        ("openai_api_key", "x"),
        ("hf_token", "x"),
        ("apiKey", "x"),
        ("x-api-key", "x"),
        ("Authorization", "Bearer x"),
        ("aws_credentials", {"a": 1}),
        ("whatever", SecretStr("x")),
        ("api_base", "https://user:word@host/v1"),
        ("note", "sk-abcdefgh"),
    ],
)
def test_a_credential_is_recognised_by_its_name_its_type_or_its_form(name, value):
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("tokenizer", "gpt2"),
        ("eos_token_id", 2),
        ("api_key", None),
        ("api_base", "https://host/v1"),
        ("model", "gpt-4o"),
    ],
)
def test_other_settings_are_not_credentials(name, value):
    assert not is_secret(name, value)


def test_credentials_are_removed_at_any_depth():
    given = {"a": {"Authorization": "x", "b": ["sk-abcdefgh", "kept"]}, "c": ({"token": "x"},)}
    assert without_secrets(given) == {"a": {"b": ["kept"]}, "c": ({},)}
