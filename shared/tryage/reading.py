"""What is asked: prompts and preferences, checked, and flags taken out of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage import flags
from tryage.errors import InputError
from tryage.objective import Constraint, active
from tryage.preferences import Preferences

Indices: TypeAlias = NDArray[np.intp]
Wishes: TypeAlias = Preferences | Sequence[Preferences | None] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as read: the text that goes to the expert, and what is asked of the choice."""

    text: str
    preferences: Preferences
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


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


def flagged(prompt: str, preferences: Preferences, *, strict: bool) -> Asked:
    """Take the flags out of a prompt; they tighten the preferences and loosen nothing.

    Raises:
        FlagError: a malformed flag, in strict mode.
    """
    found = flags.extract(prompt, strict=strict)
    tightened = preferences.tightened(found.preferences) if found.flags else preferences
    return Asked(found.text, tightened, found.flags, found.warnings)


def alike(asked: Sequence[Asked]) -> dict[Preferences, Indices]:
    """Group the rows of a batch by their preferences."""
    rows: dict[Preferences, list[int]] = {}
    for row, one in enumerate(asked):
        rows.setdefault(one.preferences, []).append(row)
    return {preferences: np.array(group) for preferences, group in rows.items()}
