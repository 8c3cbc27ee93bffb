"""LLMs of LlamaIndex from the tables of `tryage.toml`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tryage.chat.configured_model import client_settings
from tryage.config.code import import_object
from tryage.core.redaction import describe_error
from tryage.core.validation import did_you_mean
from tryage.errors import InputError, MissingExtraError
from tryage.models.lookup import look_up

if TYPE_CHECKING:
    from tryage.config.load import LoadedConfig
    from tryage.config.schema import ModelTable
    from tryage.models.snapshot import KnownModel

# Provider, as in strings for LangChain -> module, class, and what the class calls the address.
_CLASSES = {
    "openai": ("openai", "OpenAI", "api_base"),
    "anthropic": ("anthropic", "Anthropic", "base_url"),
    "google_genai": ("google_genai", "GoogleGenAI", None),
    "mistralai": ("mistralai", "MistralAI", "endpoint"),
    "ollama": ("ollama", "Ollama", "base_url"),
    "groq": ("groq", "Groq", "api_base"),
    "deepseek": ("deepseek", "DeepSeek", "api_base"),
}


def make_client(table: ModelTable, loaded: LoadedConfig, i: int) -> Any:
    """Return the LLM of a table.

    Raises:
        InputError: the table has neither a model nor a client, no class is known for the provider,
            or the LLM cannot be made.
        MissingExtraError: the package of the LLM is not installed.
    """
    if table.client is not None:
        return import_object(table.client, loaded.folder_of("models", i))
    provider, colon, name = (table.model or "").partition(":")
    if not colon or provider not in _CLASSES:
        raise InputError(
            f"{table.model or table.name!r} means no LLM of LlamaIndex; expected "
            f'"provider:model" with one of {", ".join(_CLASSES)}, or client = "module:name" of an '
            f"LLM.{did_you_mean(provider, _CLASSES)}"
        )
    module, cls, address = _CLASSES[provider]
    settings = client_settings(table, loaded, i)
    if "base_url" in settings:
        settings[_address_word(table, address)] = settings.pop("base_url")
    llm = _make(f"llama_index.llms.{module}", cls, name, settings)
    return llm if provider != "openai" or _knows_its_model(llm) else _like_openai(table, settings)


def _knows_its_model(llm: Any) -> bool:
    """Return whether a class knows the size of its model: without it, each of its calls fails."""
    try:
        llm.metadata  # noqa: B018 - it is computed when read
    except ValueError:
        return False
    return True


def _like_openai(table: ModelTable, settings: dict[str, Any]) -> Any:
    """Return the LLM of a server of OpenAI's protocol that has a model of another maker.

    Raises:
        InputError: no address is given, so the model is one of OpenAI's that its class lacks.
        MissingExtraError: the package of such LLMs is not installed.
    """
    name = (table.model or "").partition(":")[2]
    if "api_base" not in settings:
        raise InputError(
            f"The installed llama-index-llms-openai does not know {name!r:.80}. Install a newer "
            'one, or give client = "module:name" of an LLM.'
        )
    known = look_up(name)
    window = table.context_length or (known and known.value("context_length"))
    facts: dict[str, Any] = {
        "is_chat_model": True,
        "is_function_calling_model": _calls_functions(table, known),
    }
    if window:
        facts["context_window"] = int(window)
    return _make("llama_index.llms.openai_like", "OpenAILike", name, {**facts, **settings})


def _calls_functions(table: ModelTable, known: KnownModel | None) -> bool:
    """Return whether a model takes tools; one of which this is unknown is tried."""
    if table.capabilities is not None:
        return "tools" in table.capabilities
    return known is None or known.value("tools") is not False


def _address_word(table: ModelTable, word: str | None) -> str:
    if word is None:
        raise InputError(f"{table.model} takes no base_url; leave it out, or give client instead.")
    return word


def _make(module: str, cls: str, name: str, settings: dict[str, Any]) -> Any:
    try:
        llm_class = getattr(import_module(module), cls)
    except ImportError as error:
        package = module.replace("_", "-").replace(".", "-")
        raise MissingExtraError(
            f"{module} is not installed. Install it with: pip install {package}"
        ) from error
    try:
        return llm_class(model=name, **settings)
    except Exception as error:  # noqa: BLE001 - each package raises its own
        described = describe_error(error, settings.get("api_key"))
        raise InputError(f"{name} cannot be made: {described}") from None
