"""What one call of TryageLLM asks of routing: by its arguments, or by `with llm.using(...)`.

A context variable holds the settings of a `with` block, so they reach the calls that engines,
agents and their threads and tasks make in it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tryage.chat.router import check_sticky
from tryage.chat.settings import (
    DEADLINE_KEY,
    MODEL_KEY,
    PREFERENCES_KEY,
    QUERY_KEY,
    STICKY_KEY,
    check_bare_names,
    check_setting_names,
    check_text,
    to_preferences,
)
from tryage.chat.time_limits import check_seconds
from tryage.core.request import merge_preferences

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from tryage.chat.router import Sticky
    from tryage.core.preferences import Preferences


_KEYS = (PREFERENCES_KEY, QUERY_KEY, MODEL_KEY, STICKY_KEY, DEADLINE_KEY)


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What a call asks of routing; None leaves the choice to TryageLLM.

    `records` are the lists that get the record of each answer. `keys` and `tags` are for the log.
    """

    preferences: Preferences | None = None
    query: str | None = None
    model: str | None = None
    sticky: Sticky | None = None
    deadline: float | None = None
    records: tuple[list[dict[str, Any]], ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def merged(self, inner: CallSettings) -> CallSettings:
        """Return these settings with those of an inner block or of the call itself on top.

        Preferences add up, the others are replaced.
        """
        return CallSettings(
            _merge_optional(self.preferences, inner.preferences),
            self.query if inner.query is None else inner.query,
            self.model if inner.model is None else inner.model,
            self.sticky if inner.sticky is None else inner.sticky,
            self.deadline if inner.deadline is None else inner.deadline,
            (*self.records, *inner.records),
            {**self.keys, **inner.keys},
            (*self.tags, *inner.tags),
        )

    def add_record(self, record: dict[str, Any]) -> None:
        """Add the record of an answer to the lists of the `with` blocks around its call."""
        for records in self.records:
            records.append(dict(record))


NO_SETTINGS = CallSettings()

_settings_by_scope: ContextVar[Mapping[str, CallSettings] | None] = ContextVar(
    "tryage_call_settings", default=None
)


def settings_by_scope() -> Mapping[str, CallSettings]:
    """Return the settings of the `with` blocks around this code, by the scope of their LLM."""
    return _settings_by_scope.get() or {}


def current_settings(
    scope: str, stream_settings: Mapping[str, CallSettings] = MappingProxyType({})
) -> CallSettings:
    """Return the settings for a call of the LLM with this scope.

    They are those of the `with` blocks around the call. `stream_settings` are those around the
    component whose stream makes the call; if they have settings for this LLM, they win.
    """
    return stream_settings.get(scope) or settings_by_scope().get(scope, NO_SETTINGS)


@contextmanager
def use_settings(scope: str, settings: CallSettings) -> Generator[list[dict[str, Any]], None, None]:
    """Use the settings for all calls of an LLM in this block; yield the list of their records."""
    records: list[dict[str, Any]] = []
    outer = _settings_by_scope.get()
    merged = current_settings(scope).merged(replace(settings, records=(records,)))
    _settings_by_scope.set({**(outer or {}), scope: merged})
    try:
        yield records
    finally:
        # A generator may be closed in another context, where a token of `set` is not valid.
        _settings_by_scope.set(outer)


def read_settings(
    *,
    preferences: object = None,
    query: object = None,
    model: object = None,
    sticky: object = None,
    deadline: object = None,
) -> CallSettings:
    """Return the settings, checked.

    Raises:
        InputError: one has another type, or is out of range.
    """
    return CallSettings(
        None if preferences is None else to_preferences(preferences),
        check_text("query", query),
        check_text("model", model),
        None if sticky is None else check_sticky(sticky),
        check_seconds("deadline", deadline),
    )


def split_routing_kwargs(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], CallSettings]:
    """Return the arguments for a child, and what the other arguments ask of routing.

    Raises:
        InputError: an argument for routing is unknown, has another type, or is out of range.
    """
    child_kwargs = dict(kwargs)
    check_setting_names(child_kwargs, _KEYS)
    # An LLM would take `model` for its own, and answer as another one than the record says.
    check_bare_names(child_kwargs, "Write {}=...", "model")
    settings = read_settings(
        preferences=child_kwargs.pop(PREFERENCES_KEY, None),
        query=child_kwargs.pop(QUERY_KEY, None),
        model=child_kwargs.pop(MODEL_KEY, None),
        sticky=child_kwargs.pop(STICKY_KEY, None),
        deadline=child_kwargs.pop(DEADLINE_KEY, None),
    )
    return child_kwargs, settings


def _merge_optional(outer: Preferences | None, inner: Preferences | None) -> Preferences | None:
    if outer is None or inner is None:
        return inner if outer is None else outer
    return merge_preferences(outer, inner)
