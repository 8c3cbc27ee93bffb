"""Reasoning efforts in the words of each LLM: which it takes, has, and how it gets one.

The parameter of the provider is set on a copy of the LLM, which shares its client: every method of
the LLM then asks with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.llms import LLM

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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    Fields: TypeAlias = dict[str, Any]


# Which efforts an LLM takes --------------------------------------------------------------------


def offered_efforts(name: str, llm: object) -> Sequence[str]:
    """Return the efforts that an LLM is known to take, by its package and the name of its model.

    An LLM whose user has set an effort takes no other.
    """
    llm = llm.source if isinstance(llm, EffortSource) else llm
    if not isinstance(llm, LLM):  # a function: its name may tell the model
        return known_efforts(name)
    model, package = model_name_of(llm) or name, package_of(llm)
    if package is None or own_effort(llm) is not None:
        return ()
    if package == "openrouter":  # it translates levels for every model that reasons
        return DEFAULT_EFFORTS if known_to_reason(model) else ()
    if package == "ollama" and "gpt-oss" not in model:
        return ()
    return known_efforts(model) if package not in ("mistralai", "deepseek") else ()


def own_effort(llm: object) -> str | None:
    """Return the effort that an LLM's user has set; None if it is the provider's default."""
    kwargs = getattr(llm, "additional_kwargs", None)
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    values = (
        getattr(llm, "reasoning_effort", None),
        _value(getattr(llm, "reasoning_options", None), "effort"),
        getattr(llm, "thinking", None),
        kwargs.get("reasoning_effort"),
        _value(kwargs.get("reasoning"), "effort"),
        _value(kwargs.get("output_config"), "effort"),
    )
    for value in values:
        if value in EFFORTS:
            return str(value)
        if isinstance(value, bool):  # Ollama
            return "thinking" if value else "none"
    thinking = getattr(llm, "thinking_dict", None) or getattr(llm, "thinking", None)
    kind = _value(thinking, "type")
    return None if kind is None else "none" if kind == "disabled" else "thinking"


def _value(mapping: object, key: str) -> Any:
    return mapping.get(key) if isinstance(mapping, dict) else None


# How an LLM gets an effort ---------------------------------------------------------------------


def llm_with_effort(llm: LLM, effort: str) -> LLM:
    """Return a copy of an LLM that asks with an effort.

    Raises:
        InputError: the class has no parameter for it that is known.
    """
    package = package_of(llm)
    if package == "google_genai":
        return _gemini(llm, effort)
    translate = _TRANSLATIONS.get(package or "")
    if translate is None:
        raise unsupported_effort(llm, effort)
    copy: LLM = llm.model_copy(update=translate(llm, effort))
    return copy


def _to_openai(llm: LLM, effort: str) -> Fields:
    """Return the fields for OpenAI and all that are compatible.

    Its own field reaches only models that the package knows, the other arguments reach all.
    """
    if hasattr(llm, "reasoning_options"):  # the Responses API
        options = {**(getattr(llm, "reasoning_options", None) or {}), "effort": effort}
        return {"reasoning_options": options, **_merged(llm, reasoning=options)}
    return _merged(llm, reasoning_effort=effort)


def _to_openrouter(llm: LLM, effort: str) -> Fields:
    own = getattr(llm, "additional_kwargs", {}).get("extra_body") or {}
    reasoning = {**(own.get("reasoning") or {}), "effort": effort}
    return _merged(llm, extra_body={**own, "reasoning": reasoning})


def _to_anthropic(llm: LLM, effort: str) -> Fields:
    """Return the fields for Claude: a level for the newest models, a budget for those before."""
    if effort == "none":
        return {"thinking_dict": claude_thinking(effort)}
    if effort != "thinking" and claude_takes_levels(model_name_of(llm) or ""):
        return _merged(llm, output_config={"effort": effort})
    return {"thinking_dict": claude_thinking(effort), **_fields_beside_thinking(llm, effort)}


def _to_bedrock(llm: LLM, effort: str) -> Fields:
    """Return the fields for Claude on Bedrock.

    Raises:
        InputError: it is another model.
    """
    if "claude" not in (model_name_of(llm) or ""):
        raise unsupported_effort(llm, effort)
    if effort == "none":
        return {}
    return {"thinking": claude_thinking(effort), **_fields_beside_thinking(llm, effort)}


def _fields_beside_thinking(llm: LLM, effort: str) -> Fields:
    """Return the other fields of a Claude that thinks: it refuses a temperature other than 1."""
    limit = getattr(llm, "max_tokens", None)
    if limit is None:
        return {"temperature": 1.0}
    return {"temperature": 1.0, "max_tokens": limit_with_thinking(limit, thinking_budget(effort))}


def _to_ollama(_: LLM, effort: str) -> Fields:
    """Return the field for Ollama, where most models only turn their thinking on or off."""
    return {"thinking": {"none": False, "thinking": True}.get(effort, effort)}


def _gemini(llm: LLM, effort: str) -> LLM:
    """Return a copy for Gemini: with a budget for 2.5, with a level since 3."""
    copy: Any = llm.model_copy()
    own: Fields = dict(copy._generation_config or {})  # noqa: SLF001 - its only place
    is_budget = "gemini-2.5" in (model_name_of(llm) or "") or effort in ("none", "thinking")
    thinking = (
        {"thinking_budget": thinking_budget(effort)} if is_budget else {"thinking_level": effort}
    )
    thinking_config = {**(own.get("thinking_config") or {}), **thinking}
    copy._generation_config = {**own, "thinking_config": thinking_config}  # noqa: SLF001 - its only place
    result: LLM = copy
    return result


def _merged(llm: LLM, **values: Any) -> Fields:
    """Return the other arguments of every request, with some added."""
    own = getattr(llm, "additional_kwargs", None) or {}
    return {"additional_kwargs": {**own, **values}}


_TRANSLATIONS: Mapping[str, Callable[[LLM, str], Fields]] = {
    "anthropic": _to_anthropic,
    "azure_openai": _to_openai,
    "bedrock_converse": _to_bedrock,
    "deepseek": _to_openai,
    "fireworks": _to_openai,
    "groq": _to_openai,
    "litellm": _to_openai,
    "mistralai": _to_openai,
    "ollama": _to_ollama,
    "openai": _to_openai,
    "openai_like": _to_openai,
    "openrouter": _to_openrouter,
    "together": _to_openai,
}


def package_of(llm: object) -> str | None:
    """Return the package of an LLM's class, or of a class that it extends: "openai"."""
    for cls in type(llm).__mro__:
        parts = cls.__module__.split(".")
        if parts[:2] == ["llama_index", "llms"] and len(parts) > 2:
            return parts[2]
    return None
