"""Saved files: dataclasses as JSON, their arrays as safetensors, and the header of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import InputError, PersistenceError

if TYPE_CHECKING:
    from pathlib import Path

ArrayDict: TypeAlias = dict[str, NDArray[Any]]

FieldTypes: TypeAlias = Mapping[str, type | tuple[type, ...]]

_MISSING = object()  # not None, which a header may hold as a value


def write_header(path: Path, header: Mapping[str, Any]) -> None:
    """Write what a folder holds, as JSON."""
    path.write_text(json.dumps(header, indent=1) + "\n", "utf-8")


def read_header(
    path: Path, artifact: str, max_format: int, field_types: FieldTypes
) -> dict[str, Any]:
    """Read the header of an `artifact`, such as a router, and check that it has these fields.

    Raises:
        PersistenceError: it is missing, is not JSON, has a format above `max_format`, or lacks a
            field.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PersistenceError(f"{path.parent} holds no readable {artifact}: {error}") from error
    header = content if isinstance(content, dict) else {}
    version = header.get("format")
    if isinstance(version, int) and version > max_format:
        raise PersistenceError(
            f"{path} is of a newer format than {max_format}: upgrade with pip install -U tryage"
        )
    for name, kind in field_types.items():
        if not isinstance(header.get(name, _MISSING), kind):
            raise PersistenceError(
                f"{path} is damaged: it has no {name!r}; save the {artifact} again"
            )
    return header


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(contiguous))  # save_file makes a file that only its owner can read


def read_arrays(path: Path, artifact: str) -> ArrayDict:
    """Read the arrays of an `artifact`.

    Raises:
        PersistenceError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        problem = f"{path.name} is missing or damaged: {error}"
        raise PersistenceError(f"{path.parent} holds no readable {artifact}: {problem}") from error


def serialize(value: object, name: str, arrays: ArrayDict) -> Any:  # noqa: ANN401 - any JSON value
    """Return a dataclass as JSON and add its arrays to `arrays`; a shared array is stored once.

    A dataclass becomes `{"kind": class, field: ...}`, an array `{"array": key in arrays}`.
    """
    if isinstance(value, np.ndarray):
        for key, saved_array in arrays.items():
            if saved_array is value:
                return {"array": key}
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value):
        field_values = {
            field.name: serialize(getattr(value, field.name), f"{name}.{field.name}", arrays)
            for field in fields(value)
        }
        return {"kind": type(value).__name__, **field_values}
    if isinstance(value, tuple):
        return [serialize(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    return value


def deserialize(data: Any, arrays: Mapping[str, NDArray[Any]], classes: Iterable[type]) -> Any:  # noqa: ANN401 - the inverse of serialize
    """Return the dataclass that `serialize` received; only `classes` are built.

    Raises:
        PersistenceError: `data` names an unknown class or array, or is not a saved dataclass.
    """
    classes_by_name = {kind.__name__: kind for kind in classes}

    def build(part: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(part, list):
            return tuple(build(item) for item in part)
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return arrays[part["array"]]
        field_values = {key: build(v) for key, v in part.items() if key != "kind"}
        return classes_by_name[part["kind"]](**field_values)

    if not isinstance(data, dict):
        raise PersistenceError(f"the saved files are damaged: a part of them is {data!r:.40}")
    try:
        return build(data)
    except KeyError as error:
        raise PersistenceError(f"the saved files are damaged: {error} is unknown") from error
    except (TypeError, InputError) as error:
        raise PersistenceError(f"the saved files are damaged: {error}") from error
