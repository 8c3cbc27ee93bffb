"""Pickles of chat models without their keys, which come from the environment where they are loaded.

Clients of models, judges and checks hold keys at any depth. They are pickled by their fields, and
made again from those that are no credentials.
"""

from __future__ import annotations

import pickle
import sys
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tryage.core.redaction import has_secrets, is_secret, without_secrets
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def dump_without_keys(state: object) -> bytes:
    """Return the pickle of an object in which no client holds a key.

    Raises:
        InputError: a partial has a key among its positional arguments.
        Exception: whatever an object raises that cannot be pickled.
    """
    file = BytesIO()
    _KeylessPickler(file, pickle.HIGHEST_PROTOCOL).dump(state)
    return file.getvalue()


def load_state(cls: type[Any], data: bytes) -> Any:  # noqa: ANN401 - an instance of the class
    """Return an instance of a class with the state that `dump_without_keys` has written."""
    instance: Any = object.__new__(cls)
    instance.__setstate__(pickle.loads(data))  # noqa: S301 - a part of the pickle that is loaded
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
    """Pickles clients by their fields that are no credentials, and everything else as usual."""

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - pickle calls it for any object
        """Return how an object that holds keys is made again."""
        if type(obj) is partial:
            if has_secrets({**dict(enumerate(obj.args)), **obj.keywords}):
                return partial_without_keys(obj).__reduce__()
        elif isinstance(obj, BaseModel) and _is_importable(type(obj)):
            fields = {name: vars(obj).get(name) for name in type(obj).model_fields}
            if has_secrets(fields):  # also one that came from the environment
                given = {name: fields[name] for name in fields if name in obj.model_fields_set}
                return _make, (type(obj), _by_argument(type(obj), without_secrets(given)))
        elif is_secret("", obj) and not isinstance(obj, (str, bytes)):
            return _nothing, ()
        return NotImplemented


def _is_importable(cls: type[Any]) -> bool:
    """Return whether a pickle can name a class; the class of a view of a model it cannot."""
    module = sys.modules.get(cls.__module__)
    return getattr(module, cls.__qualname__, None) is cls


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
