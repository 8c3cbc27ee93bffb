"""The arguments of a call in the words of the LLM that gets them.

LlamaIndex passes the arguments of a call on as they are, but every provider has words of its own,
and some LLMs take certain values only when they are made. So the four common arguments are
translated; all others are the caller's business and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_index.core.llms import LLM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMON_ARGUMENTS = ("temperature", "max_tokens", "stop", "timeout")

Translation: TypeAlias = Callable[[LLM, dict[str, Any], dict[str, Any]], LLM]
"""Takes an LLM, the common arguments and the others; returns the LLM that is asked.

It moves what the LLM takes with a call into the others, under the provider's words.
"""


def translate_arguments(child: LLM, kwargs: Mapping[str, Any]) -> tuple[LLM, dict[str, Any]]:
    """Return the LLM to ask and its arguments; what it is known to refuse is left out."""
    common = {name: kwargs[name] for name in COMMON_ARGUMENTS if kwargs.get(name) is not None}
    others = {name: value for name, value in kwargs.items() if name not in COMMON_ARGUMENTS}
    translate = _find_translation(child)
    if not common or translate is None:
        return child, dict(kwargs)
    return translate(child, common, others), others


def _find_translation(child: LLM) -> Translation | None:
    """Return the translation for the package of the LLM's class, or of a class that it extends."""
    for cls in type(child).__mro__:
        package = ".".join(cls.__module__.split(".")[:3])
        if package in _TRANSLATIONS:
            return _TRANSLATIONS[package]
    return None


def _openai(child: LLM, common: dict[str, Any], others: dict[str, Any]) -> LLM:
    """Translate for OpenAI, Azure and all that are compatible.

    A reasoning model refuses a temperature. A limit that the LLM has itself hides that of the call.
    """
    if _is_openai_reasoning_model(child):
        common.pop("temperature", None)
    has_own_limit = getattr(child, "max_tokens", None) is not None
    if "max_tokens" in common and has_own_limit:
        child = child.model_copy(update={"max_tokens": common.pop("max_tokens")})
    if "max_tokens" in common and hasattr(child, "max_output_tokens"):  # the Responses API
        others["max_output_tokens"] = common.pop("max_tokens")
    others |= common
    return child


def _is_openai_reasoning_model(child: LLM) -> bool:
    from llama_index.llms.openai.utils import O1_MODELS  # type: ignore[import-not-found, import-untyped, unused-ignore]  # the package of this LLM

    return getattr(child, "model", None) in O1_MODELS


def _anthropic(child: LLM, common: dict[str, Any], others: dict[str, Any]) -> LLM:
    """Translate for Anthropic, whose newest models and whose thinking refuse a temperature."""
    if _refuses_temperature(child):
        common.pop("temperature", None)
    if "stop" in common:
        others["stop_sequences"] = _as_list(common.pop("stop"))
    if "max_tokens" in common:  # the limit of Claude includes its thinking
        common["max_tokens"] += (getattr(child, "thinking_dict", None) or {}).get(
            "budget_tokens", 0
        )
    others |= common
    return child


def _refuses_temperature(child: LLM) -> bool:
    from llama_index.llms.anthropic.base import ANTHROPIC_NO_TEMP_MODELS  # type: ignore[import-not-found, import-untyped, unused-ignore]  # the package of this LLM

    model = str(getattr(child, "model", ""))
    thinking = getattr(child, "thinking_dict", None) or {}
    return thinking.get("type") not in (None, "disabled") or any(
        name in model for name in ANTHROPIC_NO_TEMP_MODELS
    )


def _ollama(child: LLM, common: dict[str, Any], _: dict[str, Any]) -> LLM:
    """Translate for Ollama, which takes these values only from the LLM itself.

    Its client has the time limit, so `timeout` has no effect; `attempt_timeout` has.
    """
    options = dict(getattr(child, "additional_kwargs", {}))
    if "max_tokens" in common:
        options["num_predict"] = common["max_tokens"]
    if "stop" in common:
        options["stop"] = _as_list(common["stop"])
    update: dict[str, Any] = {"additional_kwargs": options}
    if "temperature" in common:
        options.pop("temperature", None)
        update["temperature"] = common["temperature"]
    return child.model_copy(update=update)  # it shares the client


def _google(child: LLM, common: dict[str, Any], others: dict[str, Any]) -> LLM:
    """Translate for Gemini, which takes all in its configuration of an answer."""
    names = {"temperature": "temperature", "max_tokens": "max_output_tokens"}
    config = {names[name]: value for name, value in common.items() if name in names}
    if "stop" in common:
        config["stop_sequences"] = _as_list(common["stop"])
    if "timeout" in common:
        config["http_options"] = {"timeout": round(common["timeout"] * 1_000)}
    others["generation_config"] = {**config, **others.get("generation_config", {})}
    return child


def _mistral(child: LLM, common: dict[str, Any], others: dict[str, Any]) -> LLM:
    """Translate for Mistral, which counts a time limit in milliseconds."""
    if "timeout" in common:
        others["timeout_ms"] = round(common.pop("timeout") * 1_000)
    others |= common
    return child


def _huggingface(child: LLM, common: dict[str, Any], others: dict[str, Any]) -> LLM:
    """Translate for inference providers of the Hub, whose client has the time limit."""
    common.pop("timeout", None)
    if "stop" in common:
        common["stop"] = _as_list(common["stop"])
    others |= common
    return child


_TRANSLATIONS: Mapping[str, Translation] = {
    "llama_index.llms.openai": _openai,
    "llama_index.llms.anthropic": _anthropic,
    "llama_index.llms.ollama": _ollama,
    "llama_index.llms.google_genai": _google,
    "llama_index.llms.mistralai": _mistral,
    "llama_index.llms.huggingface_api": _huggingface,
}


def _as_list(stop: str | Sequence[str]) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop)
