"""Reasoning efforts in the words of each chat model: which it takes, has, and how it gets one.

LangChain's common word is the field `reasoning_effort`. Some classes have words of their own, and
some models take a budget of tokens instead of a level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding

from tryage.chat.efforts import (
    DEFAULT_EFFORTS,
    EFFORTS,
    EffortSource,
    claude_takes_levels,
    claude_thinking,
    known_efforts,
    known_to_reason,
    limit_with_thinking,
    thinking_budget,
    unsupported_effort,
)
from tryage.chat.model_names import model_name_of
from tryage_langchain._profiles import profile_of, provider_of_string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    Values: TypeAlias = dict[str, Any]

# Names of the field that holds an effort, the newest first: older packages use the provider's word.
_LEVEL_FIELDS = ("reasoning_effort", "effort", "thinking_level")

# Classes that take the levels which their model takes, and hold a field for it.
_LEVEL_PACKAGES = frozenset(
    ("openai", "anthropic", "google_genai", "groq", "xai", "fireworks", "aws", "google_vertexai")
)


# Which efforts a model takes -------------------------------------------------------------------


def offered_efforts(name: str, model: object) -> Sequence[str]:
    """Return the efforts that a chat model, or an `init_chat_model` string, is known to take.

    Those of LangChain's profile, or else those that the model's name tells. A model whose user has
    set an effort takes no other.
    """
    model = model.source if isinstance(model, EffortSource) else model
    if isinstance(model, RunnableBinding):
        model = model.bound
    if own_effort(model) is not None:
        return ()
    known_name = model if isinstance(model, str) else model_name_of(model) or name
    package = _package_of(model)
    if package == "openrouter":  # it translates levels for every model that reasons
        return DEFAULT_EFFORTS if known_to_reason(known_name) else ()
    profile: Mapping[str, Any] = cast("Mapping[str, Any]", profile_of(model))
    levels: Sequence[str] = profile.get("reasoning_effort_levels") or ()
    if levels and profile.get("reasoning_output"):
        return levels
    takes_levels = package in _LEVEL_PACKAGES or (package == "ollama" and _is_gpt_oss(known_name))
    is_function = not isinstance(model, (str, BaseChatModel))
    return known_efforts(known_name) if takes_levels or is_function else ()


def own_effort(model: object) -> str | None:
    """Return the effort that a chat model's user has set; None if it is the provider's default."""
    while isinstance(model, RunnableBinding):
        model = model.bound
    for field in (*_LEVEL_FIELDS, "reasoning"):
        value = getattr(model, field, None)
        value = value.get("effort") if isinstance(value, dict) else value
        if value in EFFORTS:
            return str(value)
        if isinstance(value, bool):  # Ollama
            return "thinking" if value else "none"
    extra = getattr(model, "model_kwargs", None)
    value = extra.get("reasoning_effort") if isinstance(extra, dict) else None
    return value if value in EFFORTS else _thinking_of(model)


def _thinking_of(model: object) -> str | None:
    """Return whether a model's thinking was turned on or off, None if that was left to it."""
    thinking = getattr(model, "thinking", None)
    if isinstance(thinking, dict) and "type" in thinking:
        return "none" if thinking["type"] == "disabled" else "thinking"
    budget = getattr(model, "thinking_budget", None)
    return None if not isinstance(budget, int) else "none" if budget == 0 else "thinking"


# How a model gets an effort --------------------------------------------------------------------


def effort_values(model: BaseChatModel, effort: str) -> Values:
    """Return the fields of a chat model, with values, that let it answer with an effort.

    Raises:
        InputError: the class has no parameter for it that is known.
    """
    translate = _TRANSLATIONS.get(_package_of(model) or "", _to_level_field)
    return translate(model, effort)


def _to_level_field(model: BaseChatModel, effort: str) -> Values:
    """Return the value for a class with a field for levels, as OpenAI, Groq, xAI and others."""
    fields = type(model).model_fields
    field = next((name for name in _LEVEL_FIELDS if name in fields), None)
    if field is None:
        raise unsupported_effort(model, effort)
    if getattr(model, "reasoning", None):  # OpenAI's Responses API: both together are refused
        return {"reasoning": {**getattr(model, "reasoning", {}), "effort": effort}}
    return {field: effort}


def _to_anthropic(model: BaseChatModel, effort: str) -> Values:
    """Return the values for Claude: a level for the newest models, a budget for those before."""
    if effort == "none":
        return {"thinking": claude_thinking(effort)}
    if effort != "thinking" and _takes_levels(model):
        return {**_to_level_field(model, effort), "thinking": None}
    return {"thinking": claude_thinking(effort), **_fields_beside_thinking(model, effort)}


def _fields_beside_thinking(model: BaseChatModel, effort: str) -> Values:
    """Return the other fields of a model of Claude that thinks: it refuses a temperature."""
    limit = getattr(model, "max_tokens", None)
    if limit is None:
        return {"temperature": None}
    return {"temperature": None, "max_tokens": limit_with_thinking(limit, thinking_budget(effort))}


def _takes_levels(model: BaseChatModel) -> bool:
    profile: Mapping[str, Any] = cast("Mapping[str, Any]", profile_of(model))
    if "reasoning_output" in profile:
        return bool(profile.get("reasoning_effort_levels"))
    return claude_takes_levels(model_name_of(model) or "")


def _to_gemini(model: BaseChatModel, effort: str) -> Values:
    """Return the values for Gemini: a budget for 2.5, a level since 3."""
    is_budget = "gemini-2.5" in (model_name_of(model) or "") or effort in ("none", "thinking")
    if is_budget:
        return {"thinking_budget": thinking_budget(effort)}
    return {**_to_level_field(model, effort), "thinking_budget": None}


def _to_vertex(_: BaseChatModel, effort: str) -> Values:
    return {"thinking_budget": thinking_budget(effort)}


def _to_ollama(_: BaseChatModel, effort: str) -> Values:
    """Return the value for Ollama, where most models only turn their thinking on or off."""
    return {"reasoning": {"none": False, "thinking": True}.get(effort, effort)}


def _to_openrouter(model: BaseChatModel, effort: str) -> Values:
    own = getattr(model, "reasoning", None) or {}
    return {"reasoning": {**own, "effort": effort}}


def _to_model_kwargs(model: BaseChatModel, effort: str) -> Values:
    """Return the value for a class that passes on what it has no field for."""
    own = getattr(model, "model_kwargs", None) or {}
    return {"model_kwargs": {**own, "reasoning_effort": effort}}


def _to_bedrock(model: BaseChatModel, effort: str) -> Values:
    """Return the values for Bedrock, whose class reads its level only when it is made."""
    translate = getattr(model, "_reasoning_effort_fields", None)
    profile: Mapping[str, Any] = cast("Mapping[str, Any]", profile_of(model))
    beside: Values = {}
    if translate is not None and effort in (profile.get("reasoning_effort_levels") or ()):
        fields = translate(effort)
    elif "claude" in (model_name_of(model) or ""):
        fields = {"thinking": claude_thinking(effort)}
        beside = {} if effort == "none" else _fields_beside_thinking(model, effort)
    else:
        raise unsupported_effort(model, effort)
    own = getattr(model, "additional_model_request_fields", None) or {}
    return {"additional_model_request_fields": {**own, **fields}, **beside}


_TRANSLATIONS: Mapping[str, Callable[[BaseChatModel, str], Values]] = {
    "anthropic": _to_anthropic,
    "aws": _to_bedrock,
    "google_genai": _to_gemini,
    "google_vertexai": _to_vertex,
    "litellm": _to_model_kwargs,
    "mistralai": _to_model_kwargs,
    "ollama": _to_ollama,
    "openrouter": _to_openrouter,
}


def _package_of(model: object) -> str | None:
    """Return the partner package of a chat model's class, or of the provider that a string names.

    "openai" stands for `langchain_openai`; None for another class.
    """
    if isinstance(model, str):
        package = provider_of_string(model)
        return None if package is None else package.removeprefix("langchain_")
    for cls in type(model).__mro__:
        root = cls.__module__.partition(".")[0]
        if root.startswith("langchain_") and root not in ("langchain_core", "langchain_community"):
            return root.removeprefix("langchain_")
    return None


def _is_gpt_oss(name: str) -> bool:
    return "gpt-oss" in name
