"""LangChain's profiles of models: as facts of experts, and what holds for all of several models."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import ModelProfile

from tryage_langchain._model_strings import profile_of_string

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.core.expert import Expert

# Capability -> the fields of a profile; any of them implies it. Without a format of its own,
# structured output goes through a tool call, as in BaseChatModel.with_structured_output.
_CAPABILITY_FIELDS: Mapping[str, tuple[str, ...]] = {
    "tools": ("tool_calling",),
    "structured_output": ("structured_output", "tool_calling"),
    "vision": ("image_inputs", "image_url_inputs"),
    "audio": ("audio_inputs",),
    "video": ("video_inputs",),
    "pdf": ("pdf_inputs",),
    "files": (),  # no field tells of other files, so they stay possible
    "reasoning": ("reasoning_output",),
}

_COMMON_CAPABILITIES = ("tools", "structured_output", "vision", "audio", "video", "pdf")


def profile_of(model: object) -> ModelProfile:
    """Return the profile of a chat model or an `init_chat_model` string; empty if it has none."""
    if isinstance(model, str):
        return profile_of_string(model)
    profile = getattr(model, "profile", None)
    return cast("ModelProfile", profile if isinstance(profile, dict) else {})


def common_profile(experts: Iterable[Expert], models: Iterable[object]) -> ModelProfile:
    """Return the profile that holds for every model: only the abilities that all of them have.

    A field that is unknown for one model is left out. Limits are those of the smallest model.
    """
    shared_profile: dict[str, Any] = {}
    experts, profiles = list(experts), [profile_of(model) for model in models]
    for key in ModelProfile.__annotations__:
        values = [model_profile.get(key) for model_profile in profiles]
        if all(isinstance(value, bool) for value in values):
            shared_profile[key] = all(values)
        elif key.startswith("max_") and all(isinstance(value, int) for value in values):
            shared_profile[key] = min(cast("list[int]", values))
    lengths = [expert.context_length for expert in experts]
    if all(length is not None for length in lengths):
        shared_profile["max_input_tokens"] = min(length for length in lengths if length is not None)
    for capability in _COMMON_CAPABILITIES:
        has_capability = [
            None if expert.capabilities is None else capability in expert.capabilities
            for expert in experts
        ]
        if None not in has_capability:
            shared_profile.setdefault(_CAPABILITY_FIELDS[capability][0], all(has_capability))
    return cast("ModelProfile", shared_profile)


def facts_from_profile(profile: ModelProfile) -> dict[str, Any]:
    """Return a profile as fields of an expert; unknown fields of the profile stay unknown."""
    facts: dict[str, Any] = {"context_length": profile.get("max_input_tokens") or None}
    if isinstance(release_date := profile.get("release_date"), str):
        facts["released"] = _parse_date(release_date)
    values_by_capability = {
        name: [profile.get(key) for key in keys] for name, keys in _CAPABILITY_FIELDS.items()
    }
    if any(value is not None for values in values_by_capability.values() for value in values):
        # A profile that lists some abilities and not others leaves the others possible.
        facts["capabilities"] = [
            name
            for name, values in values_by_capability.items()
            if not values or any(values) or None in values
        ]
    return facts


def _parse_date(text: str) -> datetime.date | None:
    """Return a date; None for the months and years that some profiles hold."""
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None
