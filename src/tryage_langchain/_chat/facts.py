"""What is known of the chat models that people already have: names, facts, what they share."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import ModelProfile

from tryage.chat.facts import called
from tryage.chat.known import Told, experts_of
from tryage.chat.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.experts import Expert
    from tryage.router import Router
    from tryage_langchain._chat.children import Children

# Capability -> the fields of a profile, any of which means it. Without a native format, structured
# output goes through a tool call, as BaseChatModel.with_structured_output does.
_ABILITIES: Mapping[str, tuple[str, ...]] = {
    "tools": ("tool_calling",),
    "structured_output": ("structured_output", "tool_calling"),
    "vision": ("image_inputs", "image_url_inputs"),
    "audio": ("audio_inputs",),
    "reasoning": ("reasoning_output",),
}
_SHARED = ("tools", "structured_output", "vision", "audio")


def name_of(model: object) -> str | None:
    """Return the name of what a chat model calls, None if it does not tell."""
    if isinstance(model, str):
        return model
    return called(model, getattr(model, "bound", None), getattr(model, "llm", None))


def pool(children: Children, router: Router | None, told: Sequence[Expert]) -> Pool:
    """Return what is known of the chat models; `told` is what the user says of them.

    Raises:
        LibraryError: two names clash.
    """
    clients = {
        name: Told(name_of(model), _of_profile(profile_of(model)))
        for name, model in children.items()
    }
    known = None if router is None else router.library
    return Pool.of(experts_of(clients, known, told), known)


def profile_of(model: object) -> ModelProfile:
    """Return a model's profile, empty if it has none."""
    profile = getattr(model, "profile", None)
    return cast("ModelProfile", profile if isinstance(profile, dict) else {})


def shared_profile(experts: Iterable[Expert], models: Iterable[object]) -> ModelProfile:
    """Return what can be relied on whoever is chosen: only what every model can.

    What is unknown of one is left out; the room is that of the smallest.
    """
    shared: dict[str, Any] = {}
    experts, profiles = list(experts), [profile_of(model) for model in models]
    for key in ModelProfile.__annotations__:
        values = [profile.get(key) for profile in profiles]
        if all(isinstance(value, bool) for value in values):
            shared[key] = all(values)
        elif key.startswith("max_") and all(isinstance(value, int) for value in values):
            shared[key] = min(cast("list[int]", values))
    rooms = [expert.context_length for expert in experts]
    if all(room is not None for room in rooms):
        shared["max_input_tokens"] = min(room for room in rooms if room is not None)
    for ability in _SHARED:
        able = [None if e.capabilities is None else ability in e.capabilities for e in experts]
        if None not in able:
            shared.setdefault(_ABILITIES[ability][0], all(able))
    return cast("ModelProfile", shared)


def _of_profile(profile: ModelProfile) -> dict[str, Any]:
    """Return a profile as fields of an expert; a profile that says nothing says nothing."""
    facts: dict[str, Any] = {"context_length": profile.get("max_input_tokens")}
    if isinstance(released := profile.get("release_date"), str):
        facts["released"] = _day(released)
    told = {word: [profile.get(key) for key in keys] for word, keys in _ABILITIES.items()}
    if any(value is not None for values in told.values() for value in values):
        # A profile that tells of some abilities and not of others leaves the others possible.
        facts["capabilities"] = [
            word for word, values in told.items() if any(values) or None in values
        ]
    return facts


def _day(text: str) -> datetime.date | None:
    """Return a date; profiles also hold months and years, which are none."""
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None
