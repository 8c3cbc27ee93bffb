"""The LLMs that answer, by name, and how they are pickled: made again, without their secrets."""

# ruff: noqa: ANN401 - settings of an LLM are of any type.

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_index.core.llms import LLM

import tryage.chat.children
from tryage.chat.secrets import is_secret, without_secrets
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Source: TypeAlias = LLM | Callable[[], LLM]

_ELSEWHERE = ("callback_manager", "rate_limiter")  # belong to the process


class Children(tryage.chat.children.Children[LLM]):
    """Name -> LLM, or a function that makes one.

    A pickle holds how each is made again, without secrets: those come from the environment.

    Raises:
        InputError: no LLM, or one of another type.
    """

    client = LLM
    expected = "an LLM of LlamaIndex, or a function that makes one"

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what can be made again, without secrets."""
        return type(self), (portable(self._sources),)


@dataclass(frozen=True)
class Remake:
    """Makes an LLM again from its fields, when it is first chosen."""

    kind: Callable[..., LLM]
    settings: dict[str, Any] = field(repr=False)

    def __call__(self) -> LLM:
        """Return the LLM."""
        return self.kind(**self.settings)


def portable(sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes LLMs in a form that can be pickled and holds no secrets."""
    return {name: _portable(source) for name, source in sources.items()}


def _portable(source: Any) -> Any:
    if isinstance(source, LLM):
        fields = {name: vars(source)[name] for name in type(source).model_fields}
        kept = {
            name: value
            for name, value in fields.items()
            if name not in _ELSEWHERE and getattr(value, "__self__", None) is not source
        }  # its own methods would bring it along, clients and secrets too
        return Remake(type(source), _picklable(without_secrets(kept)))
    if isinstance(source, partial):
        if any(is_secret("", argument) for argument in source.args):
            raise InputError("A key in a partial's arguments is not pickled. Give it by its name.")
        return partial(source.func, *source.args, **without_secrets(source.keywords))
    return source


def _picklable(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what cannot be pickled, such as functions without a name."""
    return {name: value for name, value in settings.items() if _can_be_pickled(value)}


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever its own reduction raises
        return False
    return True
