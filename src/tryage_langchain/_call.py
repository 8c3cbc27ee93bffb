"""One call of ChatTryage: what it asks for, the arguments bound to it, and what a model is sent."""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.callbacks import CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config, merge_configs, run_in_executor
from pydantic import ConfigDict, Field, PrivateAttr

from tryage.chat.batching import BatchingExecutor
from tryage.chat.conversation import Conversation
from tryage.chat.fallback import ChatRequest, FallbackSession
from tryage.chat.hooks import SAMPLE_KEY
from tryage.chat.plan import COST_KEY
from tryage.chat.settings import MODEL_KEY, max_answer_tokens
from tryage.core.flags import extract_flags
from tryage.errors import InputError
from tryage.telemetry.observer import tracing_failures
from tryage.traffic.imports import DECISION_ID_KEY
from tryage_langchain._arguments import NOTHING_BOUND, translate_parameters
from tryage_langchain._cached_answers import answer_settings
from tryage_langchain._call_settings import (
    check_chat_arguments,
    configurable_for_child,
    query_of,
    read_call_settings,
)
from tryage_langchain._clients import view_model
from tryage_langchain._evidence import log_probability_arguments
from tryage_langchain._messages import (
    input_size,
    readable_messages,
    to_turns,
    tool_schemas_text,
    transform_prompt_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage_langchain._arguments import BoundArguments
    from tryage_langchain._clients import ChatClient

EXPECTED_COST_KEY = "tryage_expected_cost"
"""Where the metadata of a model's run says in USD what it is expected to cost."""

NO_STREAM_TAG = "nostream"
"""With this tag LangGraph does not stream the tokens of a run: the answer may not be kept."""

POLICIES_KEY = "tryage_policies"
"""Where the metadata of a model's run says what policies changed, and why: a list of texts."""

_LOG_KEYS = ("thread_id", "user_id", "session_id")

BOUND_KEY = "tryage_bound"
"""The keyword argument under which ChatTryage binds tools or a schema to itself."""


class RoutedChatModel(BaseChatModel):
    """A chat model that plans each call before it asks other models: the base of ChatTryage."""

    temperature: float | None = None
    """Sampling temperature, passed to the chosen model; None leaves it to each model."""

    max_tokens: int | None = None
    """The longest answer, passed to the chosen model; its context must have room for it."""

    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """Texts that end an answer, passed to the chosen model."""

    timeout: float | None = Field(default=None, gt=0)
    """Seconds that the client of the chosen model waits for its server."""

    model_config = ConfigDict(populate_by_name=True)
    _executor: BatchingExecutor[CallInput, PlannedCall] = PrivateAttr(
        default_factory=lambda: BatchingExecutor(plan_calls)
    )

    @property
    @abstractmethod
    def _session(self) -> ChatSession:
        """The router of conversations and the models that answer."""

    def _plan_call(
        self,
        input: Any,
        config: RunnableConfig,
        kwargs: dict[str, Any],
        *,
        uses_cache: bool = True,
    ) -> PlannedCall:
        """Read a call and choose for it: all that happens before a model is asked."""
        with tracing_failures():
            (planned_call,) = plan_calls([CallInput(self, input, config, kwargs, uses_cache)])
            if isinstance(planned_call, Exception):
                raise planned_call
            return planned_call

    async def _aplan_call(
        self,
        input: Any,
        config: RunnableConfig,
        kwargs: dict[str, Any],
        *,
        uses_cache: bool = True,
    ) -> PlannedCall:
        """Do what `_plan_call` does, together with other calls, in a thread if it takes long."""
        call_input = CallInput(self, input, config, kwargs, uses_cache)
        with tracing_failures():
            return await self._executor.run(call_input, input_size(input))

    def _child_kwargs(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call, with those that this model itself has."""
        own_kwargs = {
            "stop": stop or self.stop,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "timeout": self.timeout,
        }
        return {**{key: value for key, value in own_kwargs.items() if value is not None}, **kwargs}

    def _run_config(self, config: RunnableConfig | None) -> RunnableConfig:
        """Return the config of a call with the callbacks, tags and metadata of this model."""
        config = ensure_config(config)
        if self.callbacks:
            config = merge_configs(config, {"callbacks": self.callbacks})
        if self.tags:
            config["tags"] = sorted({*config["tags"], *self.tags})
        if self.metadata:
            config["metadata"] = {**config["metadata"], **self.metadata}
        return config


def is_observed(config: RunnableConfig) -> bool:
    """Tell whether a callback or a tracer sees the runs of a call."""
    # Not the function for configs, which also merges the tags and metadata of the run.
    return bool(CallbackManager.configure(config.get("callbacks")).handlers)


def without_run(config: RunnableConfig) -> RunnableConfig:
    """Return the config of a call that is no run of its own, with what is meant for it left out."""
    return cast(
        "RunnableConfig",
        {key: value for key, value in config.items() if key not in ("run_id", "run_name")},
    )


class CallInput(NamedTuple):
    """What a chat model is called with; `uses_cache` is false where no cached answer can stand."""

    model: RoutedChatModel
    input: Any
    config: RunnableConfig
    kwargs: dict[str, Any]
    uses_cache: bool = True


def plan_calls(inputs: Sequence[CallInput]) -> list[PlannedCall | Exception]:
    """Read all calls and choose for them, in one pass for each model that is called.

    An error takes the place of its call.
    """
    outcomes: list[PlannedCall | Exception] = []
    planned = {
        id(model): iter(_plan_for_model(model, [call for call in inputs if call.model is model]))
        for model in {id(call.model): call.model for call in inputs}.values()
    }
    outcomes.extend(next(planned[id(call.model)]) for call in inputs)
    return outcomes


def _plan_for_model(
    model: RoutedChatModel, inputs: Sequence[CallInput]
) -> list[PlannedCall | Exception]:
    session = model._session  # noqa: SLF001 - of the class above
    calls = [_build_call_or_error(call_input, session.forced_model) for call_input in inputs]
    plans = iter(session.plan_batch([call for call in calls if isinstance(call, BoundCall)]))
    return [
        _planned_or_error(session, call, next(plans), call_input.config)
        if isinstance(call, BoundCall)
        else call
        for call, call_input in zip(calls, inputs, strict=True)
    ]


def _build_call_or_error(call_input: CallInput, forced_model: str | None) -> BoundCall | Exception:
    try:
        return build_call(call_input, forced_model)
    except (ValueError, TypeError, NotImplementedError) as error:  # InputError is a ValueError
        return error


def _planned_or_error(
    session: ChatSession, call: BoundCall, plan: Any, config: RunnableConfig
) -> PlannedCall | Exception:
    return plan if isinstance(plan, Exception) else PlannedCall(session, call, plan, config)


@dataclass(frozen=True)
class ChatSession(FallbackSession["ChatClient"]):
    """The router and the chat models of one ChatTryage.

    `forwarded_settings` are the settings of ChatTryage for every model without its own values.
    `forced_model` is the model to ask unless a call names another one; None leaves the choice.
    """

    forwarded_settings: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    forced_model: str | None = field(default=None, kw_only=True)

    def get_client(self, name: str) -> ChatClient:
        """Return the chat model of an expert, with the forwarded settings that it lacks."""
        child = self.clients.get_client(name)
        if not isinstance(child, BaseChatModel):
            return child
        values = {
            key: value for key, value in self.forwarded_settings.items() if _is_unset(child, key)
        }
        return view_model(child, values) if values else child


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
        messages: Sequence[BaseMessage] = self.call.messages
        if self.plan.has_flags:
            messages = transform_prompt_text(messages, self._remove_flags)
        model = innermost_model(client)
        if model is not None:
            messages = readable_messages(messages, model)
        kwargs = translate_parameters(model, self.call.kwargs)
        if self.session.asks_log_probabilities(self.plan, name):
            kwargs = {**log_probability_arguments(model), **kwargs}
        return ClientCall(self.call.arguments.apply_to(client), list(messages), kwargs)

    def _remove_flags(self, text: str) -> str:
        """Return the text of the user without the flags that the decision has read."""
        query = self.call.conversation.query
        if query:  # flags elsewhere in the text are data
            return text.replace(query, extract_flags(query).text)
        return extract_flags(text).text

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
        metadata = {
            MODEL_KEY: name,
            DECISION_ID_KEY: record["id"],
            "tryage_reason": record["reason"],
            "model_route": name,
        }
        if (expected := record[COST_KEY]["expected"]) is not None:
            metadata[EXPECTED_COST_KEY] = expected
        metadata |= policy_metadata(record.get("policies", ()))
        tags = [NO_STREAM_TAG] if is_checked(self.plan, record) else []
        config: RunnableConfig = {
            **self.config,
            "tags": sorted({*self.config["tags"], f"tryage:{name}", *tags}),
            "metadata": {**self.config["metadata"], **metadata},
            "configurable": configurable_for_child(self.config),
        }
        if is_repeated(record):  # the caller's run id belongs to the first call
            config.pop("run_id", None)
        return config


@dataclass(frozen=True)
class ClientCall:
    """What one model is called with: messages and keyword arguments in its own words."""

    client: ChatClient
    messages: list[BaseMessage]
    kwargs: dict[str, Any]

    @property
    def shows_usage(self) -> bool:
        """Whether the answers are messages, with their tokens; those of a chain may not be."""
        return innermost_model(self.client) is not None


@dataclass(frozen=True)
class BoundCall(ChatRequest):
    """One call of ChatTryage, with what is passed to the chosen model."""

    messages: list[BaseMessage]
    arguments: BoundArguments
    kwargs: dict[str, Any]


def build_call(call_input: CallInput, forced_model: str | None = None) -> BoundCall:
    """Return what a call asks for; `forced_model` is asked unless the call names another model.

    Raises:
        InputError: a setting of the call is unknown or of another type.
    """
    config, child_kwargs = call_input.config, dict(call_input.kwargs)
    messages = call_input.model._convert_input(call_input.input).to_messages()  # noqa: SLF001 - as LangChain does it
    arguments: BoundArguments = child_kwargs.pop(BOUND_KEY, NOTHING_BOUND)
    check_chat_arguments({**arguments.kwargs, **child_kwargs})
    settings = read_call_settings(config)
    model = child_kwargs.pop("model", None) or settings.model or forced_model
    conversation = Conversation(
        to_turns(messages),
        tools=arguments.tools or tool_schemas_text(child_kwargs.get("tools") or ()),
        structured_output=arguments.structured_output or bool(child_kwargs.get("response_format")),
        answer_tokens=max_answer_tokens(child_kwargs),
        thread=_thread_id(config),
        query=query_of(call_input.input) if settings.query is None else settings.query,
        keys=log_keys(config),
        tags=tuple(config.get("tags") or ()),
        settings=answer_settings(arguments, child_kwargs, messages)
        if call_input.uses_cache
        else None,
    )
    return BoundCall(
        conversation,
        settings.preferences,
        model,
        messages,
        arguments,
        child_kwargs,
        sticky=settings.sticky,
        deadline=settings.deadline,
    )


def is_checked(plan: RoutingPlan, record: RoutingRecord) -> bool:
    """Tell whether an answer may not be kept, or is only evidence about another one."""
    step = plan.step(record["model"])
    return SAMPLE_KEY in record or (step is not None and step.verify is not None)


def is_repeated(record: RoutingRecord) -> bool:
    """Tell whether a call is not the first one: others have failed, were not kept, or are asked."""
    return "failed" in record or "steps" in record[COST_KEY] or SAMPLE_KEY in record


def policy_metadata(policies: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the metadata of a model's run about what policies changed; empty if nothing."""
    if not policies:
        return {}
    return {POLICIES_KEY: [f"{one['policy']}: {one['reason']}" for one in policies]}


def log_keys(config: RunnableConfig) -> dict[str, str]:
    """Return whose conversation a config says this is, for the log of traffic."""
    values = {**config.get("metadata", {}), **config.get("configurable", {})}
    return {name: str(values[name]) for name in _LOG_KEYS if values.get(name) is not None}


def _thread_id(config: RunnableConfig) -> str | None:
    thread_id = config.get("configurable", {}).get("thread_id")
    return None if thread_id is None else str(thread_id)


def innermost_model(client: object) -> BaseChatModel | None:
    """Return the chat model inside bindings; None if a chain or a function is inside."""
    while client is not None and not isinstance(client, BaseChatModel):
        client = getattr(client, "bound", None)
    return client


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
