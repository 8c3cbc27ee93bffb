"""A view of a chat model: the same object in all but a few fields, which have other values.

Routing gives a model tags, callbacks or a cache for one call. A copy would count tokens, or keep a
connection, beside the model. A view shares the whole state: what a call changes is changed in the
model itself.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

ModelT = TypeVar("ModelT", bound="BaseChatModel")

_MODEL, _VALUES = "_tryage_viewed_model", "_tryage_view_values"

# All that pydantic keeps of an object.
_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def view_model(model: ModelT, values: Mapping[str, Any]) -> ModelT:
    """Return a view of a model in which the fields in `values` have these values.

    A view of a view is a view of the model. A copy of a view is a model of its own.
    """
    if isinstance(model, ModelView):
        values = {**object.__getattribute__(model, _VALUES), **values}
        model = object.__getattribute__(model, _MODEL)
    cls = _view_class(type(model))
    view: ModelT = object.__new__(cls)
    for name in _STATE:
        object.__setattr__(view, name, getattr(model, name))
    object.__setattr__(view, _MODEL, model)
    object.__setattr__(view, _VALUES, dict(values))
    return view


class ModelView:
    """The part of a view's class that reads the other values first."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        """Return the other value of a field, else what the model itself has."""
        values = object.__getattribute__(self, _VALUES)
        return values[name] if name in values else super().__getattribute__(name)

    def __copy__(self) -> Any:
        """Return a copy of the model with the other values."""
        model, values = (object.__getattribute__(self, name) for name in (_MODEL, _VALUES))
        return model.model_copy(update=values)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        """Return a deep copy of the model with the other values."""
        return deepcopy(self.__copy__(), memo)

    def __reduce_ex__(self, _: Any) -> Any:
        """Pickle a copy: the class of a view is not importable."""
        return _unpickle, (self.__copy__(),)


def _unpickle(model: ModelT) -> ModelT:
    return model


@lru_cache(maxsize=256)
def _view_class(cls: type[Any]) -> type[Any]:
    """Return the class of the views of a class: a subclass under the same name.

    LangChain reads the name of a class to tell the provider.
    """
    namespace = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__slots__": (_MODEL, _VALUES),
    }
    view_class: type[Any] = type(cls)(cls.__name__, (ModelView, cls), namespace)  # type: ignore[misc]  # a metaclass
    return view_class
