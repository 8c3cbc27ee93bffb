"""Requests of OpenAI's chat completions as messages, arguments and settings for ChatTryage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langchain_core.messages import convert_to_messages
from pydantic import BaseModel, ConfigDict, Field, field_validator

from tryage.chat.model_names import find_model
from tryage.chat.settings import DEADLINE_KEY, MODEL_KEY, PREFERENCES_KEY
from tryage.core.preferences import Preferences
from tryage.core.presets import PRESETS
from tryage.core.validation import did_you_mean
from tryage.errors import InputError, LibraryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable, RunnableConfig

    from tryage.core.library import Library
    from tryage_langchain.chat import ChatTryage

AUTO = "tryage"
"""The name of the model that leaves the choice to the preferences of the server."""

COMPLETION_PREFIX = "chatcmpl-"
"""What stands before the id of a decision in the id of a completion, as OpenAI has it."""

# What is passed on to the model that answers. Those that a provider refuses make the next one
# answer, as for every request that one model refuses.
_PASSED_ON = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
)


class StreamOptions(BaseModel):
    """What a stream holds beside the answer."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class TryageOptions(BaseModel):
    """What only Tryage understands, in the field `tryage`: `extra_body` of OpenAI's clients."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    preferences: dict[str, Any] | str | None = None
    thread_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    deadline: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class ChatRequest(BaseModel):
    """A request of `/v1/chat/completions` in OpenAI's words; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    model: str = AUTO
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    tryage: TryageOptions = Field(default_factory=TryageOptions)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments for the model that answers."""
        passed = {name: getattr(self, name) for name in _PASSED_ON}
        passed["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        passed["max_tokens"] = self.max_completion_tokens or self.max_tokens
        return {name: value for name, value in passed.items() if value is not None}


class DecideRequest(BaseModel):
    """A request of `/v1/decide`: which model would answer, without asking it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    model: str = AUTO
    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    user: str | None = None
    tryage: TryageOptions = Field(default_factory=TryageOptions)
    top: int = Field(default=5, ge=1, le=1_000)


class FeedbackRequest(BaseModel):
    """A request of `/v1/feedback`: how good an answer was, in the words of `Router.feedback`.

    `id` is that of the decision: `tryage.id` of the answer, or what follows "chatcmpl-".
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    id: str
    score: float = Field(ge=0, le=1, allow_inf_nan=False)
    kind: str = "thumb"
    comment: str | None = None
    feedback_id: str | None = None
    expert: str | None = None

    @field_validator("id")
    @classmethod
    def _decision_id(cls, value: str) -> str:
        return value.removeprefix(COMPLETION_PREFIX)


class Choice(NamedTuple):
    """What the field `model` says: the one model to ask, or the preferences to choose by."""

    model: str | None = None
    preset: str | None = None


@dataclass(frozen=True)
class ChatCall:
    """A request as what a chat model of LangChain takes.

    `has_schema` says that the answer is structured output with its raw message.
    """

    client: Runnable[Any, Any]
    messages: list[BaseMessage]
    config: RunnableConfig
    has_schema: bool = False


def read_chat_request(chat: ChatTryage, request: ChatRequest, deadline: float) -> ChatCall:
    """Return the call that a request means; `deadline` holds where it says none, in seconds.

    Raises:
        LibraryError: there is no such model.
        InputError: the messages, tools or format are malformed.
    """
    client, has_schema = _bind(chat, request)
    arguments = request.arguments()
    return ChatCall(
        client.bind(**arguments) if arguments else client,
        read_messages(request.messages),
        read_config(chat, request, deadline),
        has_schema,
    )


def read_messages(messages: Sequence[dict[str, Any]]) -> list[BaseMessage]:
    """Return messages in OpenAI's form as LangChain's.

    Raises:
        InputError: one is malformed.
    """
    try:
        return convert_to_messages(list(messages))
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise InputError(
            "messages are malformed; expected OpenAI's form, such as "
            f'[{{"role": "user", "content": "Hello"}}] ({type(error).__name__}).'
        ) from None


def read_config(
    chat: ChatTryage, request: ChatRequest | DecideRequest, deadline: float
) -> RunnableConfig:
    """Return the settings of one call.

    Raises:
        LibraryError: there is no such model.
        InputError: the preferences are malformed.
    """
    choice, options = read_model_name(request.model, library_of(chat)), request.tryage
    preferences = _preferences(choice.preset, options.preferences)
    settings = {
        DEADLINE_KEY: options.deadline or deadline,
        MODEL_KEY: choice.model,
        PREFERENCES_KEY: preferences,
        "user_id": request.user,
        "thread_id": options.thread_id,
    }
    known = {name: value for name, value in settings.items() if value is not None}
    return {"configurable": known, "tags": options.tags}


def read_model_name(name: str, library: Library) -> Choice:
    """Return what a model name means: "tryage", "tryage/<preset>", a preset, or an expert.

    Raises:
        LibraryError: it is none of these.
    """
    if name in (AUTO, "tryage-auto"):
        return Choice()
    preset = name.removeprefix(f"{AUTO}/")
    if preset in PRESETS:
        return Choice(preset=preset)
    try:
        return Choice(find_model(library, name))
    except LibraryError:
        known = [AUTO, *(f"{AUTO}/{one}" for one in PRESETS), *library.names]
        raise LibraryError(
            f"There is no model {name!r:.80}.{did_you_mean(name, known)} GET /v1/models lists all."
        ) from None


def library_of(chat: ChatTryage) -> Library:
    """Return the experts that a chat model chooses among."""
    return chat._chat_router.router.library  # noqa: SLF001 - a package of the same project


def _preferences(preset: str | None, given: dict[str, Any] | str | None) -> Preferences | None:
    """Return the preferences of a preset together with those of the field `tryage`."""
    own = None if given is None else Preferences.preset(given) if isinstance(given, str) else None
    if isinstance(given, dict):
        own = Preferences.from_dict(given)
    if preset is None:
        return own
    base = Preferences.preset(preset)
    return base if own is None else base.overridden(own)


# Tools and formats -----------------------------------------------------------------------------


def _bind(chat: ChatTryage, request: ChatRequest) -> tuple[Runnable[Any, Any], bool]:
    """Return the chat model with the tools or the schema of a request, and whether it has one."""
    schema = _schema(request.response_format)
    if request.tools and request.tool_choice != "none":
        if schema is not None:
            raise InputError("tools and response_format do not go together: send one of them.")
        parallel = request.parallel_tool_calls
        keywords = {} if parallel is None else {"parallel_tool_calls": parallel}
        choice = _tool_choice(request.tool_choice)
        return chat.bind_tools(request.tools, tool_choice=choice, **keywords), False
    if schema is None:
        return chat, False
    return chat.with_structured_output(schema, include_raw=True), True


def _tool_choice(choice: str | dict[str, Any] | None) -> str | None:
    """Return which tool must be called, in LangChain's words."""
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
        if not isinstance(name, str):
            raise InputError('tool_choice must be {"type": "function", "function": {"name": ...}}.')
        return name
    if choice in (None, "auto"):
        return None
    if choice != "required":
        raise InputError(f"tool_choice is {choice!r:.40}; expected auto, none or required.")
    return "any"


def _schema(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON schema that an answer must follow, None if it may be any text."""
    kind = None if response_format is None else response_format.get("type")
    if response_format is None or kind == "text":
        return None
    described = response_format.get("json_schema")
    if kind != "json_schema" or not isinstance(described, dict):
        raise InputError(
            f'response_format has the type {kind!r:.40}; expected "text", or "json_schema" with a '
            "schema, which every provider can follow."
        )
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise InputError("response_format.json_schema has no schema; expected an object.")
    return {"title": described.get("name", "answer"), **schema}
