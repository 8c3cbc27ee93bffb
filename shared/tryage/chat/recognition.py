"""Known models by the names that people and providers give them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tryage.memo import remember

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.experts import Expert, Library

# -2024-08-06, -20241022, -2407, -0125, -24-09-07, -001, -latest.
_VERSION = re.compile(
    r"(?:-(?:\d{4}-\d{2}-\d{2}|\d{2}-\d{2}-\d{2}|\d{2}-\d{4}|\d{8}|\d{3,4}|latest))+$"
)
# OpenRouter's variants and Bedrock's revisions; "llama3:8b" is another model than "llama3:70b".
_VARIANT = re.compile(r":(?:free|nitro|floor|online|extended|thinking|beta|\d+)$")
_BEDROCK = re.compile(r"^(?:(?:us|eu|apac|global|us-gov)\.)?[a-z0-9]+\.(?=[a-z])")
_REVISION = re.compile(r"-v\d+$")


def recognise(library: Library, spec: str) -> Expert | None:
    """Return the expert that a model name means; None if the library knows none.

    Understood are names and aliases, with or without the provider ("openai:gpt-4o-mini",
    "anthropic/claude-3-5-sonnet-latest", "openrouter/qwen/qwen-2.5-7b-instruct:free",
    "us.anthropic.claude-3-5-sonnet-20241022-v2:0"). A name without a date, or with a date that is
    not in the library, means the newest of that name that is.
    """
    names = list(dict.fromkeys(_spellings(spec)))
    for name in names:
        if name in library:
            return library[name]
    undated = remember(library, "undated", lambda: _undated(library))
    for name in names:
        if (i := undated.get(_stem(name))) is not None:
            return library[i]
    return None


def _spellings(spec: str) -> Iterator[str]:
    """Yield the name as given, then with ever more of what providers put around it taken off."""
    spec = spec.strip()
    for whole in (spec, spec.replace(":", "/", 1), spec.partition(":")[2]):
        for name in (whole, _VARIANT.sub("", whole)):
            parts = name.split("/")
            for i in range(len(parts)):
                yield from _plain("/".join(parts[i:]))


def _plain(name: str) -> Iterator[str]:
    """Yield a name, and how Vertex and Bedrock spell it."""
    if not name:
        return
    yield name
    yield name.replace("@", "-")
    if (short := _BEDROCK.sub("", name)) != name:
        yield short
        yield _REVISION.sub("", short)


def _stem(name: str) -> str:
    return _VERSION.sub("", name.casefold())


def _undated(library: Library) -> dict[str, int]:
    """Map every name without its date to the newest expert that has it."""
    released = library.column("released")
    found: dict[str, int] = {}
    for i, expert in enumerate(library):
        for name in (expert.name, *expert.aliases):
            held = found.setdefault(_stem(name), i)
            if held != i and released[i] > released[held]:
                found[_stem(name)] = i
    return found
