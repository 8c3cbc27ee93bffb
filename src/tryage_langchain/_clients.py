"""Chat models by name: how each is made, what is known about it, and what it is called."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import ModelProfile
from langchain_core.runnables import Runnable

import tryage.chat.clients
from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts
from tryage.chat.model_names import model_name_of
from tryage.core.decision import Decision
from tryage.core.redaction import without_secrets
from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.language_models import BaseChatModel

    from tryage.chat.clients import HubClientFactory
    from tryage.core.expert import Expert
    from tryage.router import Router

ChatClient: TypeAlias = Runnable[Any, Any]

ChatModelSource: TypeAlias = ChatClient | str | Callable[[], ChatClient]

# Capability -> the fields of a profile; any of them implies it. Without a format of its own,
# structured output goes through a tool call, as in BaseChatModel.with_structured_output.
_CAPABILITY_FIELDS: Mapping[str, tuple[str, ...]] = {
    "tools": ("tool_calling",),
    "structured_output": ("structured_output", "tool_calling"),
    "vision": ("image_inputs", "image_url_inputs"),
    "audio": ("audio_inputs",),
    "reasoning": ("reasoning_output",),
}

_COMMON_CAPABILITIES = ("tools", "structured_output", "vision", "audio")

METADATA_KEY = "chat_model"

# The providers of init_chat_model. "llama3:8b" has the same form as "openai:gpt-4o" but names no
# provider, so the form alone is not enough.
PROVIDERS = frozenset(
    {
        "anthropic", "anthropic_bedrock", "azure_ai", "azure_openai", "baseten", "bedrock",
        "bedrock_converse", "cohere", "deepseek", "fireworks", "google_anthropic_vertex",
        "google_genai", "google_vertexai", "groq", "huggingface", "ibm", "litellm", "mistralai",
        "nvidia", "ollama", "openai", "openrouter", "perplexity", "together", "upstage", "xai",
    }
)  # fmt: skip


class ChatModelPool(tryage.chat.clients.ClientPool[ChatClient]):
    """Name -> chat model, or its source: an `init_chat_model` string or a function.

    `settings` go to `init_chat_model`. A pickle leaves out the models that were made from strings,
    and every setting that is a secret: they are made again from the environment.

    Raises:
        InputError: there is no model, or one is of another type.
    """

    client_type = Runnable
    source_description = (
        "a chat model, an init_chat_model string such as 'openai:gpt-4o-mini', or a function that "
        "makes one"
    )

    def __init__(self, sources: Mapping[str, ChatModelSource], settings: Mapping[str, Any]) -> None:
        super().__init__(sources)
        self._settings = dict(settings)

    @classmethod
    def is_valid_source(cls, source: object) -> bool:
        """Tell whether it is a chat model or can make one."""
        return isinstance(source, (str, Runnable)) or callable(source)

    @property
    def non_secret_settings(self) -> dict[str, Any]:
        """The settings that are not secrets."""
        return without_secrets(self._settings)

    def build(self, source: ChatModelSource) -> ChatClient:
        """Make a chat model.

        Raises:
            MissingExtraError: `langchain`, which makes models from strings, is not installed.
        """
        if isinstance(source, str):
            require_extra("langchain.chat_models", "agents")
            from langchain.chat_models import init_chat_model

            model: ChatClient = init_chat_model(source, **self._settings)
            return model
        return source if isinstance(source, Runnable) else source()

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the sources and settings, without secrets."""
        return type(self), (self._sources, self.non_secret_settings)


# Facts about chat models -----------------------------------------------------------------------


def candidate_pool(
    models: ChatModelPool, router: Router | None, user_experts: Sequence[Expert]
) -> CandidatePool:
    """Return one expert for each chat model; `user_experts` hold the user's facts.

    Raises:
        LibraryError: two names clash.
    """
    clients = {
        name: ClientFacts(chat_model_name(model), _facts_from_profile(profile_of(model)))
        for name, model in models.items()
    }
    library = None if router is None else router.library
    return CandidatePool.from_experts(candidate_experts(clients, library, user_experts), library)


def chat_model_name(model: object) -> str | None:
    """Return the name of the model that a chat model calls, None if it does not say."""
    if isinstance(model, str):
        return model
    return model_name_of(model, getattr(model, "bound", None), getattr(model, "llm", None))


def profile_of(model: object) -> ModelProfile:
    """Return a model's profile, empty if it has none."""
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


def _facts_from_profile(profile: ModelProfile) -> dict[str, Any]:
    """Return a profile as fields of an expert; unknown fields of the profile stay unknown."""
    facts: dict[str, Any] = {"context_length": profile.get("max_input_tokens")}
    if isinstance(release_date := profile.get("release_date"), str):
        facts["released"] = _parse_date(release_date)
    values_by_capability = {
        name: [profile.get(key) for key in keys] for name, keys in _CAPABILITY_FIELDS.items()
    }
    if any(value is not None for values in values_by_capability.values() for value in values):
        # A profile that lists some abilities and not others leaves the others possible.
        facts["capabilities"] = [
            name for name, values in values_by_capability.items() if any(values) or None in values
        ]
    return facts


def _parse_date(text: str) -> datetime.date | None:
    """Return a date; None for the months and years that some profiles hold."""
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None


# Models of the Hub -----------------------------------------------------------------------------


def hub_models(
    names: Iterable[str], *, local: bool, **settings: Any
) -> dict[str, HubClientFactory[BaseChatModel]]:
    """Return what makes a `ChatHuggingFace` for each model id, when it is first chosen.

    Args:
        names: Ids such as "Qwen/Qwen2.5-7B-Instruct".
        local: Run the weights here, with transformers, instead of asking an inference provider.
        settings: For `HuggingFaceEndpoint`, or for `HuggingFacePipeline.from_model_id`.

    Raises:
        MissingExtraError: `langchain-huggingface` is not installed.
    """
    require_extra("langchain_huggingface", "huggingface")
    build = _pipeline_model if local else _endpoint_model
    return tryage.chat.clients.hub_models(names, build, settings)


def _endpoint_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint  # type: ignore[import-not-found, unused-ignore]  # an optional package

    endpoint = HuggingFaceEndpoint(**{"repo_id": name, "provider": "auto", **settings})
    model: BaseChatModel = ChatHuggingFace(llm=endpoint)
    return model


def _pipeline_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline  # type: ignore[import-not-found, unused-ignore]  # an optional package

    # Otherwise the answer begins with the question.
    pipeline_kwargs = {"return_full_text": False, **(settings.get("pipeline_kwargs") or {})}
    arguments = {
        "model_id": name,
        "task": "text-generation",
        **settings,
        "pipeline_kwargs": pipeline_kwargs,
    }
    model: BaseChatModel = ChatHuggingFace(llm=HuggingFacePipeline.from_model_id(**arguments))
    return model


# Strings for init_chat_model -------------------------------------------------------------------


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
    return bool(colon and model.strip()) and provider in PROVIDERS
