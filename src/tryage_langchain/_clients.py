"""The chat models that answer, by name: each is made when it is first chosen."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import ModelProfile
from langchain_core.runnables import Runnable

import tryage.chat.clients
from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts
from tryage.chat.model_names import model_name_of
from tryage.core.client_errors import without_secrets
from tryage.core.decision import Decision
from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.language_models import BaseChatModel

    from tryage.core.expert import Expert
    from tryage.router import Router

ChatClient: TypeAlias = Runnable[Any, Any]

ChatModelSource: TypeAlias = ChatClient | str | Callable[[], ChatClient]

# Capability -> the fields of a profile, any of which means it. Without a native format, structured
# output goes through a tool call, as BaseChatModel.with_structured_output does.
_CAPABILITY_FIELDS: Mapping[str, tuple[str, ...]] = {
    "tools": ("tool_calling",),
    "structured_output": ("structured_output", "tool_calling"),
    "vision": ("image_inputs", "image_url_inputs"),
    "audio": ("audio_inputs",),
    "reasoning": ("reasoning_output",),
}

_COMMON_CAPABILITIES = ("tools", "structured_output", "vision", "audio")

METADATA_KEY = "chat_model"

# What init_chat_model knows. A list, because "llama3:8b" has the same form and names no provider.
PROVIDERS = frozenset(
    {
        "anthropic", "anthropic_bedrock", "azure_ai", "azure_openai", "baseten", "bedrock",
        "bedrock_converse", "cohere", "deepseek", "fireworks", "google_anthropic_vertex",
        "google_genai", "google_vertexai", "groq", "huggingface", "ibm", "litellm", "mistralai",
        "nvidia", "ollama", "openai", "openrouter", "perplexity", "together", "upstage", "xai",
    }
)  # fmt: skip


class ChatModelPool(tryage.chat.clients.ClientPool[ChatClient]):
    """Name -> chat model, or what makes one: an `init_chat_model` string or a function.

    `settings` go to `init_chat_model`. A pickle leaves out those that were made from strings, and
    every setting that is a secret: they are made again from the environment.

    Raises:
        InputError: no model, or one of another type.
    """

    client_type = Runnable
    expected = (
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
        """The settings that are no secrets."""
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
        """Keep what can be made again, without secrets."""
        return type(self), (self._sources, self.non_secret_settings)


def chat_model_name(model: object) -> str | None:
    """Return the name of what a chat model calls, None if it does not tell."""
    if isinstance(model, str):
        return model
    return model_name_of(model, getattr(model, "bound", None), getattr(model, "llm", None))


def candidate_pool(
    models: ChatModelPool, router: Router | None, user_experts: Sequence[Expert]
) -> CandidatePool:
    """Return what is known of the chat models; `told` is what the user says of them.

    Raises:
        LibraryError: two names clash.
    """
    clients = {
        name: ClientFacts(chat_model_name(model), _facts_from_profile(profile_of(model)))
        for name, model in models.items()
    }
    known = None if router is None else router.library
    return CandidatePool.from_experts(candidate_experts(clients, known, user_experts), known)


def profile_of(model: object) -> ModelProfile:
    """Return a model's profile, empty if it has none."""
    profile = getattr(model, "profile", None)
    return cast("ModelProfile", profile if isinstance(profile, dict) else {})


def common_profile(experts: Iterable[Expert], models: Iterable[object]) -> ModelProfile:
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
    for ability in _COMMON_CAPABILITIES:
        able = [None if e.capabilities is None else ability in e.capabilities for e in experts]
        if None not in able:
            shared.setdefault(_CAPABILITY_FIELDS[ability][0], all(able))
    return cast("ModelProfile", shared)


def _facts_from_profile(profile: ModelProfile) -> dict[str, Any]:
    """Return a profile as fields of an expert; a profile that says nothing says nothing."""
    facts: dict[str, Any] = {"context_length": profile.get("max_input_tokens")}
    if isinstance(released := profile.get("release_date"), str):
        facts["released"] = _parse_date(released)
    told = {word: [profile.get(key) for key in keys] for word, keys in _CAPABILITY_FIELDS.items()}
    if any(value is not None for values in told.values() for value in values):
        # A profile that tells of some abilities and not of others leaves the others possible.
        facts["capabilities"] = [
            word for word, values in told.items() if any(values) or None in values
        ]
    return facts


def _parse_date(text: str) -> datetime.date | None:
    """Return a date; profiles also hold months and years, which are none."""
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None


def hub_models(
    names: Iterable[str],
    *,
    local: bool,
    **settings: Any,
) -> dict[str, Callable[[], BaseChatModel]]:
    """Return what makes a `ChatHuggingFace` per model id, when it is first chosen.

    Args:
        names: Ids such as "Qwen/Qwen2.5-7B-Instruct".
        local: Run the weights here, with transformers, instead of asking an inference provider.
        settings: For `HuggingFaceEndpoint`, or for `HuggingFacePipeline.from_model_id`.

    Raises:
        MissingExtraError: `langchain-huggingface` is not installed.
    """
    require_extra("langchain_huggingface", "huggingface")
    make = _pipeline_model if local else _endpoint_model
    return {name: partial(make, name, **settings) for name in names}


def _endpoint_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint  # type: ignore[import-not-found, unused-ignore]  # an optional package

    endpoint = HuggingFaceEndpoint(**{"repo_id": name, "provider": "auto", **settings})
    model: BaseChatModel = ChatHuggingFace(llm=endpoint)
    return model


def _pipeline_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline  # type: ignore[import-not-found, unused-ignore]  # as above

    # without it the answer would begin with the question
    asked = {"return_full_text": False, **(settings.get("pipeline_kwargs") or {})}
    weights = {"model_id": name, "task": "text-generation", **settings, "pipeline_kwargs": asked}
    model: BaseChatModel = ChatHuggingFace(llm=HuggingFacePipeline.from_model_id(**weights))
    return model


def model_string(chosen: Decision | Expert) -> str:
    """Return the string with which `init_chat_model` makes the expert's client.

    It is the metadata `chat_model` of the expert, or else its first name or alias of the form
    "provider:model". Never a guess from the name alone: the same weights have many providers.

    Raises:
        InputError: nothing says how the expert is called.
    """
    expert = chosen.expert if isinstance(chosen, Decision) else chosen
    told = expert.metadata.get(METADATA_KEY)
    for name in (told, expert.name, *expert.aliases):
        if isinstance(name, str) and _has_provider(name):
            return name
    raise InputError(
        f"No init_chat_model string is known for {expert.name!r}. Give the expert an alias or the "
        f"metadata {METADATA_KEY!r} such as 'openai:gpt-4o'."
    )


def _has_provider(name: str) -> bool:
    provider, colon, model = name.partition(":")
    return bool(colon and model.strip()) and provider in PROVIDERS
