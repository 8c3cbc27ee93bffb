"""Strings for `init_chat_model`: which class each makes, its profile, and the string of an expert.

What a string says is found without making a client, so without a key.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tryage.core.decision import Decision
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel, ModelProfile

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

_INIT_SETTINGS = frozenset({"model_provider", "configurable_fields", "config_prefix"})

# LangChain's standard parameters: no class is imported to find out whether it takes them.
_COMMON_SETTINGS = frozenset({"api_key", "base_url", "max_retries", "timeout"})


# The class that a string makes -----------------------------------------------------------------


def model_class(model: str, settings: Mapping[str, Any]) -> type[BaseChatModel] | None:
    """Return the class that `init_chat_model` makes; None if its package is not installed.

    None, too, if this version of LangChain does not say.
    """
    try:
        base = import_module("langchain.chat_models.base")
        _, provider = base._parse_model(model, settings.get("model_provider"))  # noqa: SLF001 - LangChain has no public name for it
        module, name, _ = base._BUILTIN_PROVIDERS[provider]  # noqa: SLF001 - the same
        return cast("type[BaseChatModel]", getattr(import_module(module), name))
    except (AttributeError, ImportError, KeyError, ValueError):
        return None


def uncommon_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that not every class takes."""
    return [name for name in settings if name not in _INIT_SETTINGS | _COMMON_SETTINGS]


def accepted_settings(
    cls: type[BaseChatModel] | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings that a class takes, with the time limit in its own words.

    Without a class all are returned.
    """
    if cls is None:
        return dict(settings)
    aliases = {field.alias for field in cls.model_fields.values()}
    names = {*cls.model_fields, *aliases, *_INIT_SETTINGS, *_COMMON_SETTINGS}
    accepted = {name: value for name, value in settings.items() if name in names}
    if "timeout" in accepted and "client_kwargs" in cls.model_fields:  # Ollama
        limit = {"timeout": accepted.pop("timeout")}
        accepted["client_kwargs"] = {**limit, **(accepted.get("client_kwargs") or {})}
    return accepted


# The profile of a string -----------------------------------------------------------------------


def profile_of_string(model: str) -> ModelProfile:
    """Return the profile that a chat model made from the string has; empty if there is none.

    LangChain's partner packages hold profiles as data, which is read without importing a client.
    """
    provider, name = _split_string(model)
    package = PROVIDER_PACKAGES.get(provider)
    profile = {} if package is None else _package_profiles(package).get(name, {})
    return cast("ModelProfile", dict(profile))


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
