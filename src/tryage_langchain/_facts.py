"""What is known of the chat models that people already have: names, facts, what they share."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import ModelProfile

from tryage.chat import recognise
from tryage.errors import InputError
from tryage.experts import Expert, Library
from tryage.pretrained import BUNDLED, HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage_langchain._children import Source

# Where chat models keep the name of what they call.
_NAMES = ("model_name", "model", "model_id", "deployment_name", "azure_deployment", "repo_id")
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


@lru_cache(maxsize=1)
def bundled_library() -> Library:
    """Return the experts of the bundled router, without its perception."""
    return Library.from_dicts(json.loads((BUNDLED / HEADER).read_text("utf-8"))["library"])


def named(models: Mapping[str, Source] | Sequence[Source]) -> dict[str, Source]:
    """Return the models by name: the keys given, or else what each model calls itself.

    Raises:
        InputError: neither a dict nor a list, a model without a name, or two with the same.
    """
    if isinstance(models, Mapping):
        return dict(models)
    if isinstance(models, (str, bytes)) or not isinstance(models, Sequence):
        raise InputError(
            f"models is a {type(models).__name__}. Expected a list of chat models or strings, or "
            "a dict with a name for each."
        )
    found: dict[str, Source] = {}
    for model in models:
        name = model if isinstance(model, str) else called(model)
        if name is None:
            raise InputError(f"A {type(model).__name__} has no name. Use a dict: {{name: model}}.")
        if name in found:
            raise InputError(f"Two models are called {name!r}. Use a dict: {{name: model}}.")
        found[name] = model
    return found


def called(model: object) -> str | None:
    """Return the name of what a chat model calls, None if it does not tell."""
    if isinstance(model, str):
        return model
    for holder in (model, getattr(model, "bound", None), getattr(model, "llm", None)):
        for attribute in _NAMES:
            name = getattr(holder, attribute, None)
            if isinstance(name, str) and name.strip():
                return name
    return None


def expert_of(name: str, model: object, known: Library, own: Expert | None) -> Expert:
    """Return what is known of one model: what the user says, its profile, the library, in order.

    The name is the user's; the expert of the library that it means becomes an alias.
    """
    meant = _meant(name, model, known)
    facts = {} if meant is None else meant.to_dict()
    facts |= Expert(name, **_of_profile(profile_of(model))).to_dict()
    if own is not None:
        facts |= own.to_dict()
    aliases = [] if meant is None or meant.name.casefold() == name.casefold() else [meant.name]
    return replace(
        Expert.from_dict({**facts, "name": name, "aliases": aliases}),
        capabilities=_with_formats(facts.get("capabilities")),
    )


def twins(experts: Iterable[Expert]) -> tuple[list[Expert], dict[str, str]]:
    """Return the experts with every alias once, and who equals whom: one model, two providers."""
    owners: dict[str, str] = {}
    twin: dict[str, str] = {}
    alone: list[Expert] = []
    experts = list(experts)
    owners.update({expert.name.casefold(): expert.name for expert in experts})
    for expert in experts:
        alias = expert.aliases[0] if expert.aliases else expert.name
        owner = owners.setdefault(alias.casefold(), expert.name)
        if owner != expert.name:
            twin[expert.name] = owner
            expert = replace(expert, aliases=())  # noqa: PLW2901 - the same expert, with less
        alone.append(expert)
    return alone, twin


def profile_of(model: object) -> ModelProfile:
    """Return a model's profile, empty if it has none."""
    profile = getattr(model, "profile", None)
    return cast("ModelProfile", profile if isinstance(profile, dict) else {})


def shared_profile(experts: Sequence[Expert], profiles: Sequence[ModelProfile]) -> ModelProfile:
    """Return what can be relied on whoever is chosen: only what every model can.

    What is unknown of one is left out; the room is that of the smallest.
    """
    shared: dict[str, Any] = {}
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


def _meant(name: str, model: object, known: Library) -> Expert | None:
    """Return the expert that a model is: by the user's name for it, or by its own."""
    own = called(model)
    return recognise(known, name) or (recognise(known, own) if own else None)


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


def _with_formats(capabilities: Sequence[str] | None) -> frozenset[str] | None:
    if capabilities is None:
        return None
    return frozenset(capabilities) | ({"structured_output"} if "tools" in capabilities else set())
