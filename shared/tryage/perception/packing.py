"""Nested dataclasses of arrays as named arrays and JSON, and back: no pickle, no code in files."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Arrays = dict[str, NDArray[Any]]


def pack(value: object, name: str, arrays: Arrays) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` as JSON, its arrays moved to `arrays`; a shared array is stored once."""
    if isinstance(value, np.ndarray):
        for key, known in arrays.items():
            if known is value:
                return {"array": key}
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value):
        inner = {
            f.name: pack(getattr(value, f.name), f"{name}.{f.name}", arrays) for f in fields(value)
        }
        return {"kind": type(value).__name__, **inner}
    if isinstance(value, tuple):
        return [pack(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    return value


def unpack(packed: Any, arrays: Mapping[str, NDArray[Any]], kinds: Iterable[type]) -> Any:  # noqa: ANN401 - the inverse of pack
    """Build what `pack` took apart; only dataclasses among `kinds` are built.

    Raises:
        PersistenceError: an array or a kind is missing, or nothing was packed.
    """
    known = {kind.__name__: kind for kind in kinds}

    def build(part: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(part, list):
            return tuple(build(item) for item in part)
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return arrays[part["array"]]
        return known[part["kind"]](**{key: build(v) for key, v in part.items() if key != "kind"})

    if not isinstance(packed, dict):
        raise PersistenceError(f"the saved perception is damaged: a part of it is {packed!r:.40}")
    try:
        return build(packed)
    except (KeyError, TypeError) as error:
        raise PersistenceError(f"the saved perception is damaged: {error} is missing") from error
