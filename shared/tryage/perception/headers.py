"""The JSON that heads a saved router or perception: read, or refused in one sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Fields = Mapping[str, type | tuple[type, ...]]

_ABSENT = object()  # None is a value of its own


def read_header(path: Path, what: str, newest: int, fields: Fields) -> dict[str, Any]:
    """Read the header of `what`, a router or a perception, and check its `fields`.

    Raises:
        PersistenceError: it is missing, no JSON, of a format above `newest`, or lacks a field.
    """
    try:
        header = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PersistenceError(f"{path.parent} holds no readable {what}: {error}") from error
    found = header if isinstance(header, dict) else {}
    version = found.get("format")
    if isinstance(version, int) and version > newest:
        raise PersistenceError(
            f"{path} is of a newer format than {newest}: upgrade with pip install -U tryage"
        )
    for name, kind in fields.items():
        if not isinstance(found.get(name, _ABSENT), kind):
            raise PersistenceError(f"{path} is damaged: it has no {name!r}; save the {what} again")
    return found
