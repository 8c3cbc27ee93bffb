"""What one call may set: preferences, a model, the text to route on, stickiness and a deadline.

A call's `config["configurable"]` holds them, or the runtime context of a LangGraph graph; the
config of the call wins over the context of the run. In a chain, the prompt may hold the text to
route on (`route_on`): the question, not the retrieved text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import convert_to_messages
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.base import RunnableParallel, coerce_to_runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec
from typing_extensions import TypedDict

from tryage.chat.router import Sticky, check_sticky
from tryage.chat.settings import (
    DEADLINE_KEY,
    MODEL_KEY,
    PREFERENCES_KEY,
    QUERY_KEY,
    SETTING_PREFIX,
    STICKY_KEY,
    check_bare_names,
    check_setting_names,
    check_text,
    to_preferences,
)
from tryage.chat.time_limits import check_seconds
from tryage.core.preferences import Preferences
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

MAX_TOOLS_KEY = "tryage_max_tools"
"""The setting of one run that says how many tools its model sees at most."""

TOOL_PREFERENCES_KEY = "tryage_tool_preferences"
"""The setting of one run that holds `Preferences` about its tools, or their dict."""

CALL_SETTINGS = (
    ConfigurableFieldSpec(id=PREFERENCES_KEY, annotation=Any, name="Tryage preferences"),
    ConfigurableFieldSpec(id=MODEL_KEY, annotation=str | None, name="Tryage model"),
    ConfigurableFieldSpec(id=QUERY_KEY, annotation=str | None, name="Tryage query"),
    ConfigurableFieldSpec(id=STICKY_KEY, annotation=str | None, name="Tryage stickiness"),
    ConfigurableFieldSpec(id=DEADLINE_KEY, annotation=float | None, name="Tryage deadline"),
)
"""The settings of one call, as LangChain describes them in `config["configurable"]`."""

_KEYS = (*(setting.id for setting in CALL_SETTINGS), MAX_TOOLS_KEY, TOOL_PREFERENCES_KEY)

_IN_THE_CONFIG = 'Give it in the config: config={{"configurable": {{"{}": ...}}}}.'

_RUNTIME_KEY = "__pregel_runtime"  # where LangGraph keeps the runtime of a graph in the config


class TryageContext(TypedDict, total=False):
    """The part of a graph's context that Tryage reads: for `context_schema`, alone or as a base.

    A dataclass or a pydantic model with fields of these names does the same.
    """

    tryage_preferences: Preferences | dict[str, Any]
    tryage_model: str | None
    tryage_query: str | None
    tryage_sticky: Sticky | None
    tryage_deadline: float | None
    tryage_max_tools: int | None
    tryage_tool_preferences: Preferences | dict[str, Any]


@dataclass(frozen=True)
class CallSettings:
    """The settings of one call; None leaves a setting to the model's own."""

    preferences: Preferences = field(default_factory=Preferences)
    model: str | None = None
    query: str | None = None
    sticky: Sticky | None = None
    deadline: float | None = None
    max_tools: int | None = None
    tool_preferences: Preferences = field(default_factory=Preferences)


_NO_SETTINGS = CallSettings()


def read_call_settings(config: RunnableConfig, context: object = None) -> CallSettings:
    """Return the settings of a call from its config, and from a context or that of its graph.

    Raises:
        InputError: a name that begins with "tryage_" is unknown, or a value is of another type.
    """
    configurable = config.get("configurable") or {}
    context = _runtime_context(configurable) if context is None else context
    values = {**_tryage_values(context), **_tryage_values(configurable)}
    values = {key: value for key, value in values.items() if value is not None}
    if not values:
        return _NO_SETTINGS
    check_setting_names(values, _KEYS)
    sticky = values.get(STICKY_KEY)
    return CallSettings(
        to_preferences(values.get(PREFERENCES_KEY, _NO_SETTINGS.preferences)),
        check_text(MODEL_KEY, values.get(MODEL_KEY)),
        check_text(QUERY_KEY, values.get(QUERY_KEY)),
        None if sticky is None else check_sticky(sticky, STICKY_KEY),
        check_seconds(DEADLINE_KEY, values.get(DEADLINE_KEY)),
        _checked_count(values.get(MAX_TOOLS_KEY)),
        to_preferences(values.get(TOOL_PREFERENCES_KEY, _NO_SETTINGS.tool_preferences)),
    )


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise if an argument of a call, which is for the chosen model, is called as a setting is.

    Raises:
        InputError: it does; a setting belongs in the config.
    """
    check_setting_names(arguments, _KEYS)
    for name in _KEYS:
        if name in arguments:
            raise InputError(f"{name!r} is no argument of a call. {_IN_THE_CONFIG.format(name)}")


def check_chat_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise, as `check_arguments` does, also for a setting without its prefix.

    Raises:
        InputError: an argument of the call is meant for Tryage.
    """
    check_arguments(arguments)
    check_bare_names(arguments, _IN_THE_CONFIG)


def with_runtime(config: RunnableConfig, runtime: object) -> RunnableConfig:
    """Return the config with the runtime that LangGraph passes to the hooks of an agent."""
    return {**config, "configurable": {**config.get("configurable", {}), _RUNTIME_KEY: runtime}}


def configurable_for_child(config: RunnableConfig) -> dict[str, Any]:
    """Return the settings for a chosen model: the forced name is not meant for its own router."""
    configurable = {key: value for key, value in config["configurable"].items() if key != MODEL_KEY}
    if _tryage_values(_runtime_context(configurable)).get(MODEL_KEY) is not None:
        configurable[MODEL_KEY] = None  # it wins over the context of the graph
    return configurable


def _runtime_context(configurable: Mapping[str, Any]) -> object:
    """Return the context of the graph in which a call is made; None outside of graphs."""
    return getattr(configurable.get(_RUNTIME_KEY), "context", None)


def _tryage_values(source: object) -> dict[str, Any]:
    """Return the values of Tryage in a mapping, or in the attributes of an object."""
    if source is None:
        return {}
    values = source if isinstance(source, Mapping) else getattr(source, "__dict__", None)
    if values is None:  # a dataclass with slots
        values = {key: getattr(source, key, None) for key in _KEYS}
    return {
        key: values[key]
        for key in values
        if isinstance(key, str) and key.startswith(SETTING_PREFIX)
    }


def _checked_count(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        count: int | None = value
        return count
    raise InputError(f"{MAX_TOOLS_KEY} is {value!r:.80}. Expected a number of tools above zero.")


# The text to route on, within a prompt ---------------------------------------------------------


class RoutedPromptValue(ChatPromptValue):
    """A prompt with the text on which ChatTryage chooses a model; other models read the prompt."""

    query: str
    """What the user asks."""

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain that the class is not one of its own."""
        return False


def route_on(
    query: str | Callable[[Any], str], prompt: Runnable[Any, Any]
) -> Runnable[Any, RoutedPromptValue]:
    """Return a prompt of a chain that also carries what its model is chosen by.

    Args:
        query: The key of the question in the prompt's input, or a function that returns the
            question.
        prompt: Makes the messages: a prompt template, or any runnable before the model.

    Example:
        `{"context": retriever, "question": RunnablePassthrough()} | route_on("question", prompt) |
        model`

    Raises:
        InputError: in a call, the input has no such key, or the question is not a string.
    """
    stages: RunnableParallel[Any] = RunnableParallel(
        prompt=coerce_to_runnable(prompt), value=RunnablePassthrough()
    )

    def attach_query(values: dict[str, Any]) -> RoutedPromptValue:
        return RoutedPromptValue(
            messages=_to_messages(values["prompt"]), query=_read_query(query, values["value"])
        )

    return stages | RunnableLambda(attach_query, name="route_on")


def query_of(value: object) -> str | None:
    """Return the text to route on that an input carries; None if it carries none."""
    return value.query if isinstance(value, RoutedPromptValue) else None


def _read_query(query: str | Callable[[Any], str], value: Any) -> str:
    if callable(query):
        text = query(value)
    elif isinstance(value, Mapping) and query in value:
        text = value[query]
    else:
        keys = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise InputError(f"The input has no {query!r} to route on; it is or has {keys}.")
    if not isinstance(text, str):
        raise InputError(f"The question to route on is a {type(text).__name__}; expected a string.")
    return text


def _to_messages(value: Any) -> Sequence[BaseMessage]:
    if isinstance(value, PromptValue):
        return value.to_messages()
    return convert_to_messages([value] if isinstance(value, str) else value)
