"""A note in a checkpoint that says of what it is: other work does not go on from there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


def write_note(path: Path, key: str, name: str, fact: Any) -> None:  # noqa: ANN401 - what JSON holds
    """Write one fact, and the key of the work that it belongs to."""
    path.write_text(json.dumps({"key": key, name: fact}) + "\n", "utf-8")


def read_note(path: Path, key: str, name: str, made: Callable[[Any], T], otherwise: str) -> T:
    """Return what is `made` of the fact in a note with this key.

    Raises:
        PersistenceError: it is damaged, or has another key; `otherwise` says what is there then.
    """
    try:
        note = json.loads(path.read_text("utf-8"))
        same, fact = note["key"] == key, made(note[name])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise PersistenceError(f"{path.parent} is damaged: delete it. {error}") from error
    if not same:
        raise PersistenceError(f"{path.parent} holds {otherwise}: delete it, or train elsewhere.")
    return fact
