"""Texts and settings without credentials, for records, messages and pickles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SECRET_PATTERN = re.compile(
    r"""(?ix)
    \b(?:(?:sk|pk|rk|gsk|hf|xai|pplx|nvapi|r8)[-_]|AIza)[\w*.-]{4,}    # keys by their prefix
    | \bbearer\s+[^\s"',;]+
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)                                  # user:password in an address
    | (?<=[?&])(?:key|api[-_]?key|token|access_token|sig|signature)=[^&\s"']+
    | \b(?:api[-_ ]?key|token|secret|password|authorization)\b["']?\s*[:=]\s*["']?[^\s"',;}]+
    | \b[0-9a-f]{32,}\b
    """
)
_SECRET_WORDS = ("key", "token", "secret", "password", "credential", "credentials", "authorization")
_NON_LETTERS = re.compile(r"[^a-z]+")
_MAX_REDACTED_CHARS = 10_000  # `redact` drops the rest of a longer text
_MAX_MESSAGE_CHARS = 300


def describe_error(error: BaseException) -> str:
    """Return an error in one line without secrets: its class and the start of its message."""
    name = type(error).__name__
    message = " ".join(redact(str(error)).split())[:_MAX_MESSAGE_CHARS]
    return f"{name}: {message}" if message else name


def redact(text: str) -> str:
    """Return the first 10,000 characters with `***` for all that looks like a credential."""
    return _SECRET_PATTERN.sub("***", text[:_MAX_REDACTED_CHARS])


def is_secret(name: str, value: object) -> bool:
    """Return whether a setting is a credential, judged by its type, its name and its value."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr
        return True
    if value is None or isinstance(value, (bool, int, float)):  # max_tokens, eos_token_id
        return False
    named = any(part.endswith(_SECRET_WORDS) for part in _NON_LETTERS.split(name.casefold()))
    return named or (isinstance(value, str) and redact(value) != value[:_MAX_REDACTED_CHARS])


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without credentials, at any depth."""
    return {
        name: _without_nested_secrets(value)
        for name, value in settings.items()
        if not is_secret(str(name), value)
    }


def _without_nested_secrets(value: Any) -> Any:  # noqa: ANN401 - a setting may have any type
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, (list, tuple)):
        kept = [_without_nested_secrets(inner) for inner in value if not is_secret("", inner)]
        return tuple(kept) if isinstance(value, tuple) else kept
    return value
