"""LangChain's profiles of models, also of those that a string for `init_chat_model` names.

They are found without making a client, so without a key.
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import ModelProfile

from tryage.core.decision import Decision
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.core.expert import Expert

METADATA_KEY = "chat_model"

# The providers of init_chat_model and the packages with their profiles. "llama3:8b" has the same
# form as "openai:gpt-4o" but names no provider, so the form alone is not enough.
PROVIDER_PACKAGES: Mapping[str, str] = {
    "anthropic": "langchain_anthropic",
    "anthropic_bedrock": "langchain_aws",
    "azure_ai": "langchain_azure_ai",
    "azure_openai": "langchain_openai",
    "baseten": "langchain_baseten",
    "bedrock": "langchain_aws",
    "bedrock_converse": "langchain_aws",
    "cohere": "langchain_cohere",
    "deepseek": "langchain_deepseek",
    "fireworks": "langchain_fireworks",
    "google_anthropic_vertex": "langchain_google_vertexai",
    "google_genai": "langchain_google_genai",
    "google_vertexai": "langchain_google_vertexai",
    "groq": "langchain_groq",
    "huggingface": "langchain_huggingface",
    "ibm": "langchain_ibm",
    "litellm": "langchain_litellm",
    "mistralai": "langchain_mistralai",
    "nvidia": "langchain_nvidia_ai_endpoints",
    "ollama": "langchain_ollama",
    "openai": "langchain_openai",
    "openrouter": "langchain_openrouter",
    "perplexity": "langchain_perplexity",
    "together": "langchain_together",
    "upstage": "langchain_upstage",
    "xai": "langchain_xai",
}

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


# The profile of a string -----------------------------------------------------------------------


def profile_of_string(model: str) -> ModelProfile:
    """Return the profile that a chat model made from the string has; empty if there is none.

    LangChain's partner packages hold profiles as data, which is read without importing a client.
    """
    provider, name = _split_string(model)
    package = PROVIDER_PACKAGES.get(provider)
    profile = {} if package is None else _package_profiles(package).get(name, {})
    return cast("ModelProfile", dict(profile))


def provider_of_string(model: str) -> str | None:
    """Return the partner package of the class that a string makes, None if it is unknown."""
    return PROVIDER_PACKAGES.get(_split_string(model)[0])


def _split_string(model: str) -> tuple[str, str]:
    """Return provider and model; LangChain knows the provider of a name such as "gpt-5"."""
    if _has_provider(model):
        provider, _, name = model.partition(":")
        return provider, name
    try:
        name, provider = import_module("langchain.chat_models.base")._parse_model(model, None)  # noqa: SLF001 - LangChain has no public name for it
    except (AttributeError, ImportError, ValueError):
        return "", model
    return provider, name


@lru_cache(maxsize=len(PROVIDER_PACKAGES))
def _package_profiles(package: str) -> Mapping[str, Any]:
    """Return the profiles in a package by the names of models; empty if it has none."""
    package_spec = find_spec(package)
    if package_spec is None or package_spec.origin is None:
        return {}
    path = Path(package_spec.origin).parent / "data" / "_profiles.py"
    spec = spec_from_file_location(f"{package}_profiles", path)
    if not path.is_file() or spec is None or spec.loader is None:
        return {}
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    profiles = getattr(module, "_PROFILES", {})
    return profiles if isinstance(profiles, dict) else {}


# The string of an expert -----------------------------------------------------------------------


def model_string(chosen: Decision | Expert) -> str:
    """Return the string with which `init_chat_model` makes the expert's client.

    It is the metadata `chat_model` of the expert, or else its first name or alias of the form
    "provider:model". A name without a provider is never enough: many providers serve one model.

    Raises:
        InputError: the expert has no such string.
    """
    expert = chosen.expert if isinstance(chosen, Decision) else chosen
    for name in (expert.metadata.get(METADATA_KEY), expert.name, *expert.aliases):
        if isinstance(name, str) and _has_provider(name):
            return name
    raise InputError(
        f"No init_chat_model string is known for {expert.name!r}. Give the expert an alias or the "
        f"metadata {METADATA_KEY!r} such as 'openai:gpt-4o'."
    )


def _has_provider(name: str) -> bool:
    provider, colon, model = name.partition(":")
    return bool(colon and model.strip()) and provider in PROVIDER_PACKAGES
