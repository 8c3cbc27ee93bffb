"""Variables of the environment in values, such as `${DATABASE_URL}`, and values that are secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tryage.core.redaction import is_secret, redact
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.config.positions import KeyPath

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USUAL_NAME = re.compile(r"[A-Z][A-Z0-9]{0,7}|_?[A-Z][A-Z0-9]{0,15}(?:_[A-Z0-9]{1,16})+")
_VARIABLE_IN_ADDRESS = re.compile(r":\$\{[^}]*\}(?=@)|\$\{[^}]*\}")  # a password with its colon

# Tables whose keys are words of the user, such as `key` of a rule: their values alone are judged.
_FREE_TABLES = ("rules", "preferences")

_PUBLIC_ENDINGS = ("_env", "_tokens")  # the name of a variable, and a number


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """Return a text with the values of the variables `${NAME}` in it.

    Raises:
        InputError: a variable is not set, or the name is none.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not _NAME.fullmatch(name):
            raise InputError("what stands in ${} is no variable; expected ${NAME}.")
        if name not in environment:
            raise InputError(f"{describe_variable(name)} is not set in the environment; set it.")
        return environment[name]

    return _VARIABLE.sub(value, text)


def describe_variable(name: str) -> str:
    """Return a variable in words; what is no usual name may be the credential itself."""
    return f"the variable {name}" if _USUAL_NAME.fullmatch(name) else "the variable named there"


def find_secrets(tables: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield where values look like credentials, with what to do; no message has the values."""
    for path, value in _leaves(tables, ()):
        words = [part for part in path if isinstance(part, str)]
        name = words[-1] if words else ""
        judged = "" if words[0] in _FREE_TABLES or name.endswith(_PUBLIC_ENDINGS) else name
        if isinstance(value, str) and is_secret(judged, _VARIABLE_IN_ADDRESS.sub("", value)):
            yield path, f"this looks like a credential, which no file may hold. {_advice(path)}"


def shown(value: object) -> str:
    """Return a value for a message, without what looks like a credential."""
    text = f'"{value}"' if isinstance(value, str) else _toml_words(value)
    text = redact(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:  # noqa: ANN401 - what a file has
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _leaves(inner, (*path, i))
    else:
        yield path, value


def _advice(path: KeyPath) -> str:
    if path[0] == "models":
        return 'Name the variable that holds it: api_key_env = "OPENAI_API_KEY".'
    if path[0] == "traffic":
        return 'Name the variable that holds it: url = "${TRYAGE_DATABASE}".'
    return "Keep it in a variable of the environment."


def _toml_words(value: object) -> str:
    """Return a value that is no text in the words of TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"a table with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return str(value)
