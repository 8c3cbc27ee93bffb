"""What must not be written down: settings that are credentials, by their names and their looks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tryage.chat.failures import redacted

_WORDS = ("key", "token", "secret", "password", "credential", "credentials", "authorization")
_READ = 10_000  # signs of a value that are looked at, as many as `redacted` returns
_PARTS = re.compile(r"[^a-z]+")


def is_secret(name: str, value: object) -> bool:
    """Tell whether a setting is a credential: by its type, its name, or what it looks like."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr
        return True
    if value is None or isinstance(value, (bool, int, float)):  # max_tokens, eos_token_id
        return False
    named = any(part.endswith(_WORDS) for part in _PARTS.split(name.casefold()))
    return named or (isinstance(value, str) and redacted(value) != value[:_READ])


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that are credentials, at any depth."""
    return {
        name: _cleaned(value) for name, value in settings.items() if not is_secret(str(name), value)
    }


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - settings are of any type
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, (list, tuple)):
        kept = [_cleaned(inner) for inner in value if not is_secret("", inner)]
        return tuple(kept) if isinstance(value, tuple) else kept
    return value
