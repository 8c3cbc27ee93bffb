"""Read rules from a TOML file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tryage.core.validation import did_you_mean, preview
from tryage.errors import InputError
from tryage.files import parse_toml, read_text
from tryage.policies.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WORDS = tuple(word for word in Rule.__dataclass_fields__ if word != "when")
"""What a rule in a file may say: all words of `Rule` but `when`, which takes a function."""

_HEADER = re.compile(r"\s*\[\[\s*[\"']?rules[\"']?\s*\]\]")


def read_rules(path: Path) -> list[Rule]:
    """Return the rules of a file, from its tables `[[rules]]`.

    Raises:
        InputError: the file cannot be read, is no TOML, has no rule or a malformed one.
        MissingExtraError: a rule needs the extra `rules`.
    """
    text = read_text(path)
    tables = parse_toml(text, str(path)).get("rules")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path} has no rule; expected tables [[rules]] with only = or ban =.")
    lines = [i for i, line in enumerate(text.splitlines(), start=1) if _HEADER.match(line)]
    # An array that is written in one line has no headers to count.
    places = (
        [f" (line {line})" for line in lines] if len(lines) == len(tables) else [""] * len(tables)
    )
    return [
        _make_rule(table, f"{path}, rule {number}{place}")
        for number, (table, place) in enumerate(zip(tables, places, strict=True), start=1)
    ]


def _make_rule(table: Any, place: str) -> Rule:  # noqa: ANN401 - what the file has
    """Return the rule of a table; an error names its place."""
    if not isinstance(table, dict):
        raise InputError(f"{place} is {preview(table)}; expected a table.")
    _check_words(table, place)
    try:
        return Rule(**table)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _check_words(table: Mapping[str, Any], place: str) -> None:
    for word in table:
        if word not in WORDS:
            near = did_you_mean(word, WORDS) or f" Expected {', '.join(WORDS)}."
            raise InputError(f"{place}: {preview(word)} is no word of a rule.{near}")
