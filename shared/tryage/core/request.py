"""A checked batch: prompts with their preferences, flags removed, and conversation state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core.constraints import Constraint, active_weights
from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences
from tryage.core.presets import DEFAULT_PRESET
from tryage.core.request_batch import ConversationState
from tryage.core.request_key import RequestKey  # noqa: TC001 - pydantic reads the annotations
from tryage.core.token_estimate import (
    estimate_tokens as estimate_tokens,  # noqa: PLC0414 - its former place, exported for users
)
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import IndexArray
    from tryage.core.library import Library
    from tryage.core.policy_change import PolicyChange

PreferencesLike: TypeAlias = Preferences | str | Sequence[Preferences | str | None] | None

_NO_PREFERENCES = Preferences()
_DEFAULT_PREFERENCES = Preferences.preset(DEFAULT_PRESET)


@dataclass(frozen=True, slots=True)
class ConversationContext:
    """The conversation that a prompt belongs to.

    `tokens` is the length of the whole conversation, including the prompt, None to count those of
    the prompt alone; `current` is the name of the expert that has served it so far, and
    `cached_tokens` the number of its tokens that this expert has read already.

    `keys` say whose conversation it is, such as `thread_id` and `user_id`; numbers become texts.
    `tags` are the caller's words for the log; a request tagged "critical" is never used to explore.
    `request_key` stands for everything that is sent to a model, None if that is the prompt alone.
    `tools` are the names of the tools that the expert may call.

    Raises:
        InputError: `keys` is no mapping, or `tags` is no list, such as a single string.
    """

    tokens: float | None = None
    current: str | None = None
    cached_tokens: float = 0.0
    keys: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    request_key: RequestKey | None = None
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check keys and lists: the letters of a single string would be tags without a meaning."""
        for name, words in (("tags", self.tags), ("tools", self.tools)):
            if isinstance(words, str) or not isinstance(words, Collection):
                raise InputError(
                    f"{name} must be a list of strings, got {words!r:.80}. Write [...]."
                )
        if not isinstance(self.keys, Mapping):
            raise InputError(
                f'keys must be a mapping such as {{"thread_id": "t1"}}, got {self.keys!r:.80}.'
            )
        if not all(isinstance(value, str) for value in self.keys.values()):
            texts = {name: str(one) for name, one in self.keys.items() if one is not None}
            object.__setattr__(self, "keys", texts)


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """One checked prompt: the text for the expert, without flags, and the preferences in force.

    `operator_preferences` are the preferences in force without the flags, None if there are none.
    `changes` say what policies have changed before the prediction.
    """

    text: str
    preferences: Preferences
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    context: ConversationContext | None = None
    operator_preferences: Preferences | None = None
    dropped_flags: tuple[str, ...] = ()
    changes: tuple[PolicyChange, ...] = ()

    @property
    def has_flag_requirements(self) -> bool:
        """Whether a flag requires something; flags that only set weights always leave a choice."""
        operator = self.operator_preferences
        return operator is not None and operator.requirements != self.preferences.requirements

    def restricted(self, preferences: Preferences, change: PolicyChange) -> RoutingRequest:
        """Return the request with more requirements, which also hold without the flags."""
        operator = self.operator_preferences
        return replace(
            self,
            preferences=self.preferences.with_requirements(preferences.requirements),
            operator_preferences=operator and operator.with_requirements(preferences.requirements),
            changes=(*self.changes, change),
        )

    def without_flags(self) -> RoutingRequest:
        """Return the request with the operator's preferences alone, and a warning that says so."""
        warning = f"The flags leave no expert, so they are dropped: {', '.join(self.flags)}."
        return replace(
            self,
            preferences=self.operator_preferences or self.preferences,
            flags=(),
            warnings=(*self.warnings, warning),
            operator_preferences=None,
            dropped_flags=self.flags,
        )


def build_requests(
    prompts: Sequence[str],
    preferences: PreferencesLike,
    contexts: Sequence[ConversationContext] | None,
    *,
    defaults: Preferences,
    constraints: Mapping[str, Constraint],
) -> list[RoutingRequest]:
    """Combine a batch of prompts with their preferences and conversations.

    `preferences` are those of this call, one for all prompts or one for each, or the name of a
    preset; `defaults` are those of the router.

    Raises:
        InputError: a prompt is not a string, a weight names no constraint, or the number of
            preferences or contexts is not the number of prompts.
    """
    check_prompts(prompts)
    merged = _merged_preferences(prompts, preferences, defaults, constraints)
    padded_contexts: Sequence[ConversationContext | None] = contexts or [None] * len(prompts)
    if len(padded_contexts) != len(prompts):
        raise InputError(
            f"{len(padded_contexts)} contexts for {len(prompts)} prompts; give one each."
        )
    rows = zip(prompts, merged, padded_contexts, strict=True)
    return [RoutingRequest(prompt, one, context=context) for prompt, one, context in rows]


def _merged_preferences(
    prompts: Sequence[str],
    preferences: PreferencesLike,
    defaults: Preferences,
    constraints: Mapping[str, Constraint],
) -> list[Preferences]:
    """Return the preferences in force for each prompt."""
    if isinstance(preferences, str) or not isinstance(preferences, Sequence):
        one = merge_preferences(defaults, check_preferences(preferences, constraints))
        return [one] * len(prompts)
    if len(preferences) != len(prompts):
        raise InputError(
            f"{len(preferences)} preferences for {len(prompts)} prompts; give one each, or one."
        )
    return [merge_preferences(defaults, check_preferences(one, constraints)) for one in preferences]


def apply_flags(request: RoutingRequest, library: Library, *, strict: bool) -> RoutingRequest:
    """Remove the flags from a prompt; they tighten its preferences and never loosen them.

    Raises:
        FlagError: a malformed flag, in strict mode.
    """
    found = extract_flags(request.text, strict=strict, library=library)
    if not found.flags:
        return replace(request, text=found.text, warnings=found.warnings)
    return replace(
        request,
        text=found.text,
        preferences=request.preferences.tightened(found.preferences),
        flags=found.flags,
        warnings=found.warnings,
        operator_preferences=request.preferences,
    )


def group_by_preferences(requests: Sequence[RoutingRequest]) -> dict[Preferences, IndexArray]:
    """Return the rows of a batch for each of its preferences."""
    rows: dict[Preferences, list[int]] = {}
    for row, one in enumerate(requests):
        rows.setdefault(one.preferences, []).append(row)
    return {preferences: np.array(group) for preferences, group in rows.items()}


def conversation_state(
    requests: Sequence[RoutingRequest], library: Library
) -> ConversationState | None:
    """Return which expert has served each conversation so far, None if no expert has."""
    contexts = [one.context for one in requests]
    served = [context.current if context else None for context in contexts]
    if not any(served):
        return None
    # An expert that is no longer in the library cannot be chosen, so its cache saves nothing.
    current = [library.index(name) if name in library else -1 for name in served]  # type: ignore[arg-type]  # None is in no library
    cached = [0.0 if c is None else c.cached_tokens for c in contexts]
    return ConversationState(np.array(current, dtype=np.intp), np.array(cached, dtype=np.float64))


def check_prompts(prompts: Sequence[str]) -> None:
    """Raise unless the prompts are a list of strings.

    Raises:
        InputError: not a list, or an element is not a string.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise InputError(
            f"prompts is a {type(prompts).__name__}; expected a list of strings. "
            "For one prompt use route(prompt), or write [prompt]."
        )
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise InputError(f"Prompt {i} is a {type(prompt).__name__}; expected a string.")


def check_preferences(preferences: object, constraints: Mapping[str, Constraint]) -> Preferences:
    """Return the preferences, checked against the constraints; None means no preferences.

    Raises:
        InputError: as in `read_preferences`, or a weight that names no constraint.
    """
    if preferences is None:
        return _NO_PREFERENCES
    checked = read_preferences(preferences)
    active_weights(checked.weights, constraints)
    return checked


def read_preferences(value: object, name: str = "preferences") -> Preferences:
    """Return preferences that are given as such, as their dict, or as the name of a preset.

    Raises:
        InputError: another type, an unknown preset, or a malformed dict; the message has the `name`
            of the argument.
    """
    if isinstance(value, str):
        return Preferences.preset(value)
    if isinstance(value, Mapping):
        return Preferences.from_dict(dict(value))
    if not isinstance(value, Preferences):
        raise InputError(
            f"{name} is a {type(value).__name__}; expected Preferences, such as "
            "Preferences(answer_value=0.05), their dict, or the name of a preset: 'thrifty'."
        )
    return value


def merge_preferences(own: Preferences, call: Preferences) -> Preferences:
    """Return the preferences of a router combined with those of a call.

    A call comes from code, so what it says replaces what the router says of the same. Requirements
    add up.
    """
    if call == _NO_PREFERENCES:
        return own
    return call if own == _NO_PREFERENCES else own.overridden(call)


def with_default_trade_off(requests: Sequence[RoutingRequest]) -> list[RoutingRequest]:
    """Put the preset "balanced" in force where the operator says nothing about the trade-off."""
    return [one if _has_trade_off(one) else _with_default_trade_off(one) for one in requests]


def _has_trade_off(request: RoutingRequest) -> bool:
    return (request.operator_preferences or request.preferences).has_trade_off


def _with_default_trade_off(request: RoutingRequest) -> RoutingRequest:
    if request.preferences == _NO_PREFERENCES:
        return RoutingRequest(
            request.text,
            _DEFAULT_PREFERENCES,
            request.flags,
            request.warnings,
            request.context,
            request.operator_preferences,
            request.dropped_flags,
            request.changes,
        )
    operator = request.operator_preferences
    return replace(
        request,
        preferences=request.preferences.tightened(_DEFAULT_PREFERENCES),
        operator_preferences=operator and operator.tightened(_DEFAULT_PREFERENCES),
    )
