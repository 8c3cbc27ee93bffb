"""Pickles of chat models without their keys, which come from the environment where they are loaded.

Clients of models, judges and checks hold keys at any depth. They are pickled by their fields, and
made again from those that are no credentials. Functions and classes are left to whatever makes the
pickle: cloudpickle, and so Ray and Dask, send those of a script or a notebook themselves.
"""

from __future__ import annotations

import pickle
import sys
from functools import partial
from io import BytesIO
from types import FunctionType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tryage.core.redaction import has_secrets, is_secret, without_secrets
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def dump_without_keys(state: object) -> tuple[bytes, tuple[Any, ...]]:
    """Return the pickle of an object in which no client holds a key, and the functions and classes.

    These are to be pickled beside it. What a function refers to is pickled as it is.

    Raises:
        InputError: a partial has a key among its positional arguments.
        Exception: whatever an object raises that cannot be pickled.
    """
    file = BytesIO()
    pickler = _KeylessPickler(file, pickle.HIGHEST_PROTOCOL)
    pickler.dump(state)
    return file.getvalue(), tuple(pickler.code.values())


def load_state(cls: type[Any], data: bytes, code: tuple[Any, ...]) -> Any:  # noqa: ANN401 - an instance of the class
    """Return an instance of a class with the state that `dump_without_keys` has written."""
    instance: Any = object.__new__(cls)
    instance.__setstate__(_Unpickler(BytesIO(data), code).load())
    return instance


def partial_without_keys(function: partial[Any]) -> partial[Any]:
    """Return a partial without the credentials among its keyword arguments.

    Raises:
        InputError: there is one among the positional arguments, which cannot be left out.
    """
    if has_secrets(dict(enumerate(function.args))):
        raise InputError("A key in a partial's arguments is not pickled. Give it by its name.")
    return partial(function.func, *function.args, **without_secrets(function.keywords))


class _KeylessPickler(pickle.Pickler):
    """Pickles clients by their fields that are no credentials, and everything else as usual.

    `code` are the functions and classes that it has met and not pickled, by their `id`.
    """

    def __init__(self, file: BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.code: dict[int, Any] = {}
        self._positions: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:  # noqa: ANN401 - pickle calls it for any object
        """Return the position in `code` of a function or a class, None for everything else."""
        # Not isinstance: before Python 3.11 list[int] says that it is a class.
        if not issubclass(type(obj), (type, FunctionType)):
            return None
        self.code.setdefault(id(obj), obj)
        return self._positions.setdefault(id(obj), len(self._positions))

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - pickle calls it for any object
        """Return how an object that holds keys is made again."""
        if type(obj) is partial:
            if has_secrets({**dict(enumerate(obj.args)), **obj.keywords}):
                return partial_without_keys(obj).__reduce__()
        elif isinstance(obj, BaseModel) and _is_made_of_fields(type(obj)):
            fields = {name: vars(obj).get(name) for name in type(obj).model_fields}
            if has_secrets(fields):  # also one that came from the environment
                given = {name: fields[name] for name in fields if name in obj.model_fields_set}
                return _make, (type(obj), _by_argument(type(obj), without_secrets(given)))
        elif is_secret("", obj) and not isinstance(obj, (str, bytes)):
            return _nothing, ()
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Loads what `_KeylessPickler` has written, with its `code`."""

    def __init__(self, file: BytesIO, code: tuple[Any, ...]) -> None:
        super().__init__(file)
        self._code = code

    def persistent_load(self, pid: int) -> Any:  # noqa: ANN401 - a function or a class
        """Return the function or class at a position."""
        return self._code[pid]


def _is_made_of_fields(cls: Any) -> bool:  # noqa: ANN401 - a class, whose methods are compared
    """Return whether an object can be made from fields; the view of a model is made from that."""
    is_usual = cls.__reduce_ex__ is object.__reduce_ex__ and cls.__reduce__ is object.__reduce__
    return is_usual or getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls


def _by_argument(cls: type[BaseModel], fields: dict[str, Any]) -> dict[str, Any]:
    """Return values by the names of the arguments of a class: those of fields, or their aliases."""
    config = cls.model_config
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return fields
    return {cls.model_fields[name].alias or name: value for name, value in fields.items()}


def _make(cls: Callable[..., Any], arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - of the class
    return cls(**arguments)


def _nothing() -> None:
    """Return what stands for a credential that is not pickled."""
