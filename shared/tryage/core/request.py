"""What is asked: prompts and preferences, checked, and flags taken out of the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core import flags
from tryage.core.constraints import Constraint, Thread, active
from tryage.core.preferences import Preferences
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import IndexArray
    from tryage.core.library import Library

Wishes: TypeAlias = Preferences | Sequence[Preferences | None] | None

_BYTES_PER_TOKEN = 4  # of UTF-8, a rule of thumb that holds for English and roughly elsewhere


@dataclass(frozen=True, slots=True)
class Context:
    """The conversation that a prompt stands in.

    `tokens` is the length of all of it, the prompt included; `current` names the expert that has
    served it so far, and `cached_tokens` is how much of it that expert has read already.
    """

    tokens: float
    current: str | None = None
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as read: the text that goes to the expert, and what is asked of the choice."""

    text: str
    preferences: Preferences
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    context: Context | None = None


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
    """Refuse what is not preferences, and weights that name no constraint; None is none."""
    if preferences is None:
        return Preferences()
    if not isinstance(preferences, Preferences):
        raise InputError(
            f"preferences is a {type(preferences).__name__}; expected Preferences, such as "
            "Preferences(weights={'cost': 0.3})."
        )
    active(preferences.weights, constraints)
    return preferences


def merged(own: Preferences, call: Preferences) -> Preferences:
    """Return the router's preferences with those of a call.

    A call comes from code, so its weights replace those of the same name; requirements add up.
    """
    if not call.weights and not call.requirements:
        return own
    if not own.weights and not own.requirements:
        return call
    return Preferences({**own.weights, **call.weights}, (*own.requirements, *call.requirements))


def read(
    prompts: Sequence[str],
    wishes: Wishes,
    contexts: Sequence[Context] | None,
    wanted: Callable[[Preferences | None], Preferences],
) -> list[Asked]:
    """Bring a batch of prompts together with their preferences and conversations.

    `wishes` are one for all or one each, of which `wanted` makes what is in force.

    Raises:
        InputError: a prompt is no string, or there is not one wish and one context for each.
    """
    check_prompts(prompts)
    if not isinstance(wishes, Sequence):
        forces = [wanted(wishes)] * len(prompts)
    elif len(wishes) == len(prompts):
        forces = [wanted(wish) for wish in wishes]
    else:
        raise InputError(
            f"{len(wishes)} preferences for {len(prompts)} prompts; give one each, or one."
        )
    around: Sequence[Context | None] = contexts or [None] * len(prompts)
    if len(around) != len(prompts):
        raise InputError(f"{len(around)} contexts for {len(prompts)} prompts; give one each.")
    rows = zip(prompts, forces, around, strict=True)
    return [Asked(prompt, force, context=context) for prompt, force, context in rows]


def flagged(asked: Asked, *, strict: bool) -> Asked:
    """Take the flags out of a prompt; they tighten the preferences and loosen nothing.

    Raises:
        FlagError: a malformed flag, in strict mode.
    """
    found = flags.extract(asked.text, strict=strict)
    wanted = asked.preferences
    tightened = wanted.tightened(found.preferences) if found.flags else wanted
    return Asked(found.text, tightened, found.flags, found.warnings, asked.context)


def thread(asked: Sequence[Asked], library: Library) -> Thread | None:
    """Say who has served the conversations so far; None if nobody has served any."""
    contexts = [one.context for one in asked]
    served = [context.current if context else None for context in contexts]
    if not any(served):
        return None
    # Who is no longer in the library holds nothing that staying could save.
    current = [library.index(name) if name in library else -1 for name in served]  # type: ignore[arg-type]  # None is in no library
    cached = [0.0 if c is None else c.cached_tokens for c in contexts]
    return Thread(np.array(current, dtype=np.intp), np.array(cached, dtype=np.float64))


def alike(asked: Sequence[Asked]) -> dict[Preferences, IndexArray]:
    """Group the rows of a batch by their preferences."""
    rows: dict[Preferences, list[int]] = {}
    for row, one in enumerate(asked):
        rows.setdefault(one.preferences, []).append(row)
    return {preferences: np.array(group) for preferences, group in rows.items()}


def estimate_tokens(text: str) -> float:
    """Return about how many tokens a text has."""
    return float(math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN))
