"""Saved files: dataclasses as JSON, their arrays as safetensors, and the header of a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage.errors import InputError, PersistenceError
from tryage.files import check_regular_file
from tryage.perception.atomic_write import MAX_HEADER_BYTES
from tryage.perception.field_rules import check_field, show

if TYPE_CHECKING:
    from pathlib import Path

    from tryage.perception.field_rules import FieldRules, Rule, Sizes

ArrayDict: TypeAlias = dict[str, NDArray[Any]]

FieldTypes: TypeAlias = Mapping[str, type | tuple[type, ...]]

# What safetensors raises for types of numbers that numpy does not have, such as bfloat16, and for
# arrays that numpy cannot make, such as one of no rows and too many columns.
_ARRAY_ERRORS = (AttributeError, KeyError, TypeError, ValueError)

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
        check_regular_file(path, MAX_HEADER_BYTES)
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # too many levels of brackets
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
        check_regular_file(path)
        arrays: ArrayDict = load_file(path)
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":  # other packages teach numpy types such as bfloat16
                raise TypeError(f"{name} has the type {array.dtype}")
    except (OSError, SafetensorError, *_ARRAY_ERRORS) as error:
        problem = f"{path.name} is missing or damaged: {error}"
        raise PersistenceError(f"{path.parent} holds no readable {artifact}: {problem}") from error
    return arrays


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


def deserialize(  # noqa: PLR0913 - a part, its place and what it may hold
    data: Any,  # noqa: ANN401 - any JSON value
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    rule: Rule,
    rules: FieldRules,
    sizes: Sizes,
) -> Any:  # noqa: ANN401 - the inverse of serialize
    """Return the dataclass that `serialize` received under a name, if it fits `rule`.

    Only classes that have `rules` are built, after the values of their fields were checked. `sizes`
    are those of the arrays so far; this adds those of the arrays in `data`.

    Raises:
        InputError: a class, a field or an array is unknown or missing, or a value does not fit.
    """
    classes_by_name = {kind.__name__: kind for kind in rules}

    def build(part: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(part, list):
            return tuple(build(item, f"{path}.{i}") for i, item in enumerate(part))
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return _look_up(arrays, part["array"], path)
        part_class = _look_up(classes_by_name, part.get("kind"), path)
        values = {key: build(v, f"{path}.{key}") for key, v in part.items() if key != "kind"}
        for key, value in values.items():
            check_field(f"{path}.{key}", value, _look_up(rules[part_class], key, path), sizes)
        return part_class(**values)

    try:
        value = build(data, name)
    except (TypeError, RecursionError) as error:  # a field is missing, or there are too many levels
        raise InputError(f"{name}: {error}") from error
    check_field(name, value, rule, sizes)
    return value


def _look_up(table: Mapping[str, Any], key: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what a saved file names: an array, a class, or the rule of a field."""
    if not isinstance(key, str) or key not in table:
        raise InputError(f"{path} names {show(key)}, which is unknown or missing")
    return table[key]
