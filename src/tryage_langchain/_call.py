"""One call of ChatTryage: what it asks for, the arguments bound to it, and what a model is sent."""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config, merge_configs, run_in_executor
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import ConfigDict, Field, PrivateAttr

from tryage.chat.clients import AdaptiveExecutor
from tryage.chat.conversation import Conversation
from tryage.chat.fallback import ChatRequest, FallbackSession
from tryage.chat.settings import (
    MODEL_KEY,
    PREFERENCES_KEY,
    max_answer_tokens,
    to_preferences,
)
from tryage.core.preferences import Preferences
from tryage.errors import InputError
from tryage_langchain._messages import clean_input, to_turns, tool_schemas_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.router import RoutingPlan, RoutingRecord
    from tryage_langchain._clients import ChatClient

BOUND_KEY = "tryage_bound"
"""The keyword argument under which ChatTryage binds tools or a schema to itself."""

CALL_SETTINGS = (
    ConfigurableFieldSpec(id=PREFERENCES_KEY, annotation=Any, name="Tryage preferences"),
    ConfigurableFieldSpec(id=MODEL_KEY, annotation=str | None, name="Tryage model"),
)
"""The settings of one call, as LangChain describes them in `config["configurable"]`."""

_NO_PREFERENCES = Preferences()


class RoutedChatModel(BaseChatModel):
    """A chat model that plans each call before it asks other models: the base of ChatTryage."""

    temperature: float | None = None
    """Sampling temperature, passed to the chosen model; None leaves it to each model."""

    max_tokens: int | None = None
    """The longest answer, passed to the chosen model; its context must have room for it."""

    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """Texts that end an answer, passed to the chosen model."""

    model_config = ConfigDict(populate_by_name=True)
    _executor: AdaptiveExecutor = PrivateAttr(default_factory=AdaptiveExecutor)

    @property
    @abstractmethod
    def _session(self) -> ChatSession:
        """The router of conversations and the models that answer."""

    def _plan_call(self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]) -> PlannedCall:
        """Read a call and choose for it: all that happens before a model is asked."""
        session = self._session
        call = self._build_call(session, input, config, kwargs)
        return PlannedCall(session, call, session.plan(call), config)

    async def _aplan_call(
        self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> PlannedCall:
        """Do what `_plan_call` does, in a thread if it takes long."""
        return await self._executor.run(partial(self._plan_call, input, config, kwargs))

    def _build_call(
        self, session: ChatSession, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> BoundCall:
        messages = self._convert_input(input).to_messages()
        return build_call(messages, config, kwargs, session.forced_model)

    def _child_kwargs(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call, with those that this model itself has."""
        own_kwargs = {
            "stop": stop or self.stop,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        return {**{key: value for key, value in own_kwargs.items() if value is not None}, **kwargs}

    def _merge_own_config(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """Return the config of a call with the callbacks, tags and metadata of this model."""
        own_values = {"callbacks": self.callbacks, "tags": self.tags, "metadata": self.metadata}
        own_config: Any = {key: value for key, value in own_values.items() if value}
        return merge_configs(ensure_config(config), own_config) if own_config else config


@dataclass(frozen=True)
class ChatSession(FallbackSession["ChatClient"]):
    """The router and the chat models of one ChatTryage.

    `forwarded_settings` are the settings of ChatTryage for every model without its own values.
    `forced_model` is the model to ask unless a call names another one; None leaves the choice.
    """

    forwarded_settings: Mapping[str, Any]
    forced_model: str | None = None

    def get_client(self, name: str) -> ChatClient:
        """Return the chat model of an expert, with the forwarded settings that it lacks."""
        child = self.clients.get_client(name)
        if not isinstance(child, BaseChatModel):
            return child
        update = {
            key: value for key, value in self.forwarded_settings.items() if _is_unset(child, key)
        }
        # A copy shares the client. The next bind_tools() would lose what with_config() adds.
        return child.model_copy(update=update) if update else child


def _is_unset(child: BaseChatModel, setting: str) -> bool:
    """Tell whether a chat model has a setting that its user did not set."""
    return setting in type(child).model_fields and setting not in child.model_fields_set


@dataclass(frozen=True)
class PlannedCall:
    """A call with the decision about it: all that is needed to ask the models."""

    session: ChatSession
    call: BoundCall
    plan: RoutingPlan
    config: RunnableConfig

    def get_client(self, name: str) -> ClientCall:
        """Return a model with the bound arguments, and what it is sent.

        Raises:
            Exception: the model cannot be made, or cannot bind them.
        """
        client = self.session.get_client(name)
        # Without the flags that the decision has read.
        messages: list[BaseMessage] = clean_input(self.plan.decision, self.call.messages)
        return ClientCall(self.call.arguments.apply_to(client), messages, self.call.kwargs)

    async def aget_client(self, name: str) -> ClientCall:
        """Do what `get_client` does; a model that is not made yet is made in an executor."""
        if self.session.clients.is_built(name):
            return self.get_client(name)
        return await run_in_executor(None, self.get_client, name)

    def child_config(self, record: RoutingRecord) -> RunnableConfig:
        """Return the config of a model's run; tags and metadata tell what was chosen and why.

        The config has every key, as LangChain passes it to a run. Merging would be slower.
        """
        name = record["model"]
        metadata = {MODEL_KEY: name, "tryage_reason": record["reason"], "model_route": name}
        config: RunnableConfig = {
            **self.config,
            "tags": sorted({*self.config["tags"], f"tryage:{name}"}),
            "metadata": {**self.config["metadata"], **metadata},
            "configurable": configurable_without_model(self.config),
        }
        if "failed" in record:  # the caller's run id belongs to the first model
            config.pop("run_id", None)
        return config


@dataclass(frozen=True)
class ClientCall:
    """What one model is called with: messages and keyword arguments in its own words."""

    client: ChatClient
    messages: list[BaseMessage]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class BoundCall(ChatRequest):
    """One call of ChatTryage, with what is passed to the chosen model."""

    messages: list[BaseMessage]
    arguments: BoundArguments
    kwargs: dict[str, Any]


def build_call(
    messages: list[BaseMessage],
    config: RunnableConfig,
    kwargs: dict[str, Any],
    forced_model: str | None = None,
) -> BoundCall:
    """Return what a call asks for; `forced_model` is asked unless the call names another model.

    Raises:
        InputError: `tryage_preferences` are of another type.
    """
    child_kwargs = dict(kwargs)
    arguments: BoundArguments = child_kwargs.pop(BOUND_KEY, BoundArguments())
    preferences, model = preferences_from_config(config)
    model = child_kwargs.pop("model", None) or model or forced_model
    conversation = Conversation(
        to_turns(messages),
        tools=arguments.tools or tool_schemas_text(child_kwargs.get("tools") or ()),
        structured_output=arguments.structured_output or bool(child_kwargs.get("response_format")),
        answer_tokens=max_answer_tokens(child_kwargs),
        thread=_thread_id(config),
    )
    return BoundCall(conversation, preferences, model, messages, arguments, child_kwargs)


def _thread_id(config: RunnableConfig) -> str | None:
    thread_id = config.get("configurable", {}).get("thread_id")
    return None if thread_id is None else str(thread_id)


@dataclass(frozen=True)
class BoundArguments:
    """Tools or a schema, bound once. Each model binds them itself, in its own format.

    `tools` are the schemas as text, because their length counts for the context.
    """

    method: Literal["bind_tools", "with_structured_output"] | None = None
    argument: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: str = ""

    @property
    def structured_output(self) -> bool:
        """Whether the answer follows a schema."""
        return self.method == "with_structured_output"

    def apply_to(self, child: ChatClient) -> ChatClient:
        """Return the model with the arguments bound.

        Raises:
            NotImplementedError: the model has no such method.
        """
        if self.method is None:
            return child
        bind = getattr(child, self.method, None)
        if bind is None:
            raise NotImplementedError(f"A {type(child).__name__} has no {self.method}.")
        bound_child: ChatClient = bind(self.argument, **self.kwargs)
        return bound_child


def bound_tools(tools: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
    """Return tools as arguments to bind."""
    return BoundArguments("bind_tools", tools, kwargs, tool_schemas_text(tools))


def unwrap_model(call: ClientCall) -> ClientCall:
    """Return the call of the chat model inside its bindings, with the bound keyword arguments.

    Raises:
        InputError: it is a chain, not a chat model.
    """
    client, kwargs = call.client, call.kwargs
    while not isinstance(client, BaseChatModel):
        bound_client = getattr(client, "bound", None)
        if bound_client is None:
            raise InputError(
                f"generate() needs chat models; a {type(client).__name__} is not one. Use invoke()."
            )
        kwargs = {**getattr(client, "kwargs", {}), **kwargs}
        client = bound_client
    return replace(call, client=client, kwargs=kwargs)


def preferences_from_config(config: RunnableConfig) -> tuple[Preferences, str | None]:
    """Return the `tryage_preferences` of one call, and the name in `tryage_model`.

    Raises:
        InputError: the preferences are of another type.
    """
    configurable = config.get("configurable", {})
    preferences = to_preferences(configurable.get(PREFERENCES_KEY, _NO_PREFERENCES))
    return preferences, configurable.get(MODEL_KEY)


def configurable_without_model(config: RunnableConfig) -> dict[str, Any]:
    """Return the settings for a chosen model: the forced name is not meant for its own router."""
    return {key: value for key, value in config["configurable"].items() if key != MODEL_KEY}
