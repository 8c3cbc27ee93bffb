"""Rows of the catalogue as a library: columns, not objects, so that a million take seconds."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import LibraryError
from tryage.experts import Library

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 20_000  # rows turned into columns at a time
NUMBERS = (
    "parameters", "active_parameters", "released", "security", "input_price", "output_price",
    "latency", "context_length", "downloads",
)  # fmt: skip

# A model's declared bases, one a line after its relation; no name has a blank.
BASES = """(SELECT group_concat(IFNULL(relation, '') || ' ' || name, char(10)) FROM (
    SELECT relation, name FROM lineage WHERE child = models.id ORDER BY place))"""


def build(rows: Iterator[tuple[Any, ...]]) -> Library:
    """Return the library of rows of name, license, capabilities, `BASES` and `NUMBERS`.

    Of names that differ only in case, the first is kept.

    Raises:
        LibraryError: there is no row.
    """
    names: list[str] = []
    licenses: list[str | None] = []
    abilities: list[frozenset[str] | None] = []
    facts: list[dict[str, Any] | None] = []
    parts: list[list[np.ndarray[Any, Any]]] = [[] for _ in NUMBERS]
    able, made = _Words(), _Bases()
    while chunk := list(islice(rows, CHUNK)):
        name, license_, ability, bases, *columns = zip(*chunk, strict=True)
        names += name
        licenses += license_
        abilities += map(able.__getitem__, ability)
        facts += map(made.__getitem__, bases)
        for part, column in zip(parts, columns, strict=True):
            part.append(np.array(column, dtype=np.float64))
    if not names:
        raise LibraryError(
            "No model of the catalogue fits. Ask for less, or fill it with: tryage hub sync"
        )
    numbers = {field: np.concatenate(part) for field, part in zip(NUMBERS, parts, strict=True)}
    words = {"license": licenses, "capabilities": abilities, "metadata": facts}
    return _unique(names, {**numbers, **words})


class _Words(dict[str | None, "frozenset[str] | None"]):
    """Words with blanks between as a set; there are few different ones, so each is made once."""

    def __missing__(self, text: str | None) -> frozenset[str] | None:
        made = None if text is None else frozenset(text.split())
        self[text] = made
        return made


class _Bases(dict[str | None, "dict[str, Any] | None"]):
    """Lines of `BASES` as metadata; many models share their bases, so each is made once."""

    def __missing__(self, text: str | None) -> dict[str, Any] | None:
        lines = [] if text is None else [line.partition(" ") for line in text.split("\n")]
        bases = [
            {"name": name, "relation": relation} if relation else {"name": name}
            for relation, _, name in lines
        ]
        made = {"hub": {"bases": bases}} if bases else None
        self[text] = made
        return made


def _unique(names: list[str], columns: dict[str, Any]) -> Library:
    """Build the library; of names that differ only in case, keep the first."""
    if len({name.casefold() for name in names}) == len(names):
        return Library.from_columns(names, **columns)
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        first.setdefault(name.casefold(), i)
    rows = list(first.values())
    kept = {
        field: column[rows] if isinstance(column, np.ndarray) else [column[i] for i in rows]
        for field, column in columns.items()
    }
    return Library.from_columns([names[i] for i in rows], **kept)
