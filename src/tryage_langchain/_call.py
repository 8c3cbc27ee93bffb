"""The pure part of ChatTryage: what a call asks, who is to answer, what each child is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel

from tryage.chat.conversation import Conversation
from tryage.chat.fallback import ChatRequest as AnyCall
from tryage.chat.fallback import FallbackSession
from tryage.core.preferences import Preferences
from tryage.errors import InputError
from tryage_langchain._messages import clean_input, to_turns, tool_schemas_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.router import RoutingPlan
    from tryage_langchain._clients import ChatClient

_MAX_TOKENS_KEYS = ("max_tokens", "max_completion_tokens", "max_output_tokens")

BOUND_KEY = "tryage_bound"

PREFERENCES_KEY = "tryage_preferences"

MODEL_KEY = "tryage_model"

_NO_PREFERENCES = Preferences()


@dataclass(frozen=True)
class BoundCall(AnyCall):
    """One call of ChatTryage, with what is passed on to whoever is chosen."""

    messages: list[BaseMessage]
    bound: BoundArguments
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class ChatSession(FallbackSession["ChatClient"]):
    """A desk of chat models.

    `outer` are the settings that ChatTryage was given and every child without its own takes over.
    """

    forwarded_settings: Mapping[str, Any]

    def get_client(self, name: str) -> ChatClient:
        """Return the chat model of an expert, with the settings of ChatTryage it has none of."""
        child = self.clients.get_client(name)
        if not isinstance(child, BaseChatModel):
            return child
        update = {
            key: value for key, value in self.forwarded_settings.items() if _is_unset(child, key)
        }
        # A copy shares the client; with_config() would lose it all at the next bind_tools().
        return child.model_copy(update=update) if update else child


def build_call(
    messages: list[BaseMessage],
    config: RunnableConfig,
    kwargs: dict[str, Any],
    forced_model: str | None = None,
) -> BoundCall:
    """Return what a call asks; `always` is the model to ask unless the call names another.

    Raises:
        InputError: `tryage_preferences` are none.
    """
    passed = dict(kwargs)
    bound: BoundArguments = passed.pop(BOUND_KEY, BoundArguments())
    preferences, model = preferences_from_config(config)
    model = passed.pop("model", None) or model or forced_model
    lengths = [passed[key] for key in _MAX_TOKENS_KEYS if isinstance(passed.get(key), int)]
    conversation = Conversation(
        to_turns(messages),
        tools=bound.tools or tool_schemas_text(passed.get("tools") or ()),
        structured_output=bound.structured_output or bool(passed.get("response_format")),
        answer_tokens=lengths[0] if lengths else None,
        thread=_thread_id(config),
    )
    return BoundCall(conversation, preferences, model, messages, bound, passed)


def forwarded_messages(call: BoundCall, plan: RoutingPlan) -> list[BaseMessage]:
    """Return the messages as a child gets them: without the flags that the decision has read."""
    messages: list[BaseMessage] = clean_input(plan.decision, call.messages)
    return messages


def child_config(config: RunnableConfig, record: Mapping[str, Any]) -> RunnableConfig:
    """Return the config of a child's run, by which observers see who was chosen and why.

    Of a config with every key, as LangChain hands it to a run, merging it would be slower.
    """
    name = record["model"]
    told = {MODEL_KEY: name, "tryage_reason": record["reason"], "model_route": name}
    own: RunnableConfig = {
        **config,
        "tags": sorted({*config["tags"], f"tryage:{name}"}),
        "metadata": {**config["metadata"], **told},
        "configurable": configurable_without_model(config),
    }
    if "failed" in record:  # the id that the caller gave is the first one's alone
        own.pop("run_id", None)
    return own


def _thread_id(config: RunnableConfig) -> str | None:
    thread = config.get("configurable", {}).get("thread_id")
    return None if thread is None else str(thread)


def _is_unset(child: BaseChatModel, setting: str) -> bool:
    """Tell whether a child knows the setting and nobody has set it there."""
    return setting in type(child).model_fields and setting not in child.model_fields_set


@dataclass(frozen=True)
class BoundArguments:
    """One declaration. Every child has its own tool format, so it is the child that binds.

    `tools` are the schemas as text: how long they are counts for the context.
    """

    method: Literal["bind_tools", "with_structured_output"] | None = None
    argument: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: str = ""

    @property
    def structured_output(self) -> bool:
        """Whether the answer has a declared format."""
        return self.method == "with_structured_output"

    def apply_to(self, child: ChatClient) -> ChatClient:
        """Return the child with the declaration.

        Raises:
            NotImplementedError: the child has no such thing.
            InputError: the child is not a chat model.
        """
        if self.method is None:
            return child
        bind = getattr(child, self.method, None)
        if bind is None:
            raise NotImplementedError(f"A {type(child).__name__} has no {self.method}.")
        bound: ChatClient = bind(self.argument, **self.kwargs)
        return bound


def bound_tools(tools: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
    """Return the declaration of tools."""
    return BoundArguments("bind_tools", tools, kwargs, tool_schemas_text(tools))


def unwrap_model(child: ChatClient) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the chat model within a child, and what is bound to it.

    Raises:
        InputError: there is none: it is a chain.
    """
    kwargs: dict[str, Any] = {}
    while not isinstance(child, BaseChatModel):
        inner = getattr(child, "bound", None)
        if inner is None:
            raise InputError(
                f"generate() needs chat models, and a {type(child).__name__} is none. Use invoke()."
            )
        kwargs = {**getattr(child, "kwargs", {}), **kwargs}
        child = inner
    return child, kwargs


def preferences_from_config(config: RunnableConfig) -> tuple[Preferences, str | None]:
    """Return what one call asks for: `tryage_preferences`, and the name in `tryage_model`.

    Raises:
        InputError: the preferences are of another type.
    """
    given = config.get("configurable", {})
    preferences = given.get(PREFERENCES_KEY, _NO_PREFERENCES)
    if isinstance(preferences, Mapping):
        preferences = Preferences.from_dict(preferences)
    if not isinstance(preferences, Preferences):
        raise InputError(
            f"{PREFERENCES_KEY} is a {type(preferences).__name__}. Expected Preferences or a dict."
        )
    return preferences, given.get(MODEL_KEY)


def configurable_without_model(config: RunnableConfig) -> dict[str, Any]:
    """Return what is configured for a child: a forced name is obeyed here, others know others."""
    return {key: given for key, given in config["configurable"].items() if key != MODEL_KEY}
