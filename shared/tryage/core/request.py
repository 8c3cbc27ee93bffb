"""What is asked: prompts and preferences, checked, and flags taken out of the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core.constraints import Constraint, ConversationState, active_weights
from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import IndexArray
    from tryage.core.library import Library

PreferencesLike: TypeAlias = Preferences | Sequence[Preferences | None] | None

_NO_PREFERENCES = Preferences()
_BYTES_PER_TOKEN = 4  # of UTF-8, a rule of thumb that holds for English and roughly elsewhere


@dataclass(frozen=True, slots=True)
class ConversationContext:
    """The conversation that a prompt stands in.

    `tokens` is the length of all of it, the prompt included; `current` names the expert that has
    served it so far, and `cached_tokens` is how much of it that expert has read already.
    """

    tokens: float
    current: str | None = None
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """One prompt as read: the text that goes to the expert, and what is asked of the choice."""

    text: str
    preferences: Preferences
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    context: ConversationContext | None = None


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuse what is not a list of strings."""
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise InputError(
            f"prompts is a {type(prompts).__name__}; expected a list of strings. "
            "For one prompt use route(prompt), or write [prompt]."
        )
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise InputError(f"Prompt {i} is a {type(prompt).__name__}; expected a string.")


def check_preferences(preferences: object, constraints: Mapping[str, Constraint]) -> Preferences:
    """Refuse what is not preferences, and weights that name no constraint; None has neither."""
    if preferences is None:
        return _NO_PREFERENCES
    if not isinstance(preferences, Preferences):
        raise InputError(
            f"preferences is a {type(preferences).__name__}; expected Preferences, such as "
            "Preferences(weights={'cost': 0.3})."
        )
    active_weights(preferences.weights, constraints)
    return preferences


def merge_preferences(own: Preferences, call: Preferences) -> Preferences:
    """Return the router's preferences with those of a call.

    A call comes from code, so its weights replace those of the same name; requirements add up.
    """
    if not call.weights and not call.requirements:
        return own
    if not own.weights and not own.requirements:
        return call
    return Preferences({**own.weights, **call.weights}, (*own.requirements, *call.requirements))


def build_requests(
    prompts: Sequence[str],
    preferences: PreferencesLike,
    contexts: Sequence[ConversationContext] | None,
    *,
    defaults: Preferences,
    constraints: Mapping[str, Constraint],
) -> list[RoutingRequest]:
    """Bring a batch of prompts together with their preferences and conversations.

    `preferences` are for this call, one for all prompts or one for each; `defaults` are in force
    for every call.

    Raises:
        InputError: a prompt is not a string, a weight names no constraint, or there is not one
            element of preferences and one context for each prompt.
    """
    check_prompts(prompts)
    if not isinstance(preferences, Sequence):
        one = merge_preferences(defaults, check_preferences(preferences, constraints))
        resolved = [one] * len(prompts)
    elif len(preferences) == len(prompts):
        resolved = [
            merge_preferences(defaults, check_preferences(one, constraints)) for one in preferences
        ]
    else:
        raise InputError(
            f"{len(preferences)} preferences for {len(prompts)} prompts; give one each, or one."
        )
    padded_contexts: Sequence[ConversationContext | None] = contexts or [None] * len(prompts)
    if len(padded_contexts) != len(prompts):
        raise InputError(
            f"{len(padded_contexts)} contexts for {len(prompts)} prompts; give one each."
        )
    rows = zip(prompts, resolved, padded_contexts, strict=True)
    return [RoutingRequest(prompt, merged, context=context) for prompt, merged, context in rows]


def apply_flags(request: RoutingRequest, *, strict: bool) -> RoutingRequest:
    """Take the flags out of a prompt; they tighten the preferences and loosen nothing.

    Raises:
        FlagError: a malformed flag, in strict mode.
    """
    found = extract_flags(request.text, strict=strict)
    preferences = request.preferences
    tightened = preferences.tightened(found.preferences) if found.flags else preferences
    return RoutingRequest(found.text, tightened, found.flags, found.warnings, request.context)


def conversation_state(
    requests: Sequence[RoutingRequest], library: Library
) -> ConversationState | None:
    """Say who has served the conversations so far; None if nobody has served any."""
    contexts = [one.context for one in requests]
    served = [context.current if context else None for context in contexts]
    if not any(served):
        return None
    # Who is no longer in the library holds nothing that staying could save.
    current = [library.index(name) if name in library else -1 for name in served]  # type: ignore[arg-type]  # None is in no library
    cached = [0.0 if c is None else c.cached_tokens for c in contexts]
    return ConversationState(np.array(current, dtype=np.intp), np.array(cached, dtype=np.float64))


def group_by_preferences(requests: Sequence[RoutingRequest]) -> dict[Preferences, IndexArray]:
    """Group the rows of a batch by their preferences."""
    rows: dict[Preferences, list[int]] = {}
    for row, one in enumerate(requests):
        rows.setdefault(one.preferences, []).append(row)
    return {preferences: np.array(group) for preferences, group in rows.items()}


def estimate_tokens(text: str) -> float:
    """Return about how many tokens a text has."""
    return float(math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN))
