"""The pure part of TryageLLM: what a call asks, and how a child is asked the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import (
    LLM,
    AudioBlock,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    VideoBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM

from tryage.chat.conversation import Conversation, Turn
from tryage.chat.fallback import ChatRequest as AnyCall
from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.tools import BaseTool

    from tryage.chat.conversation import Role
    from tryage.chat.router import RoutingPlan

PREFERENCES_KEY, MODEL_KEY = "tryage_preferences", "tryage_model"

PromptCleaner: TypeAlias = Callable[[str], str] | None

_MAX_TOKENS_KEYS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")

_ROLES: Mapping[MessageRole, Role] = {
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

# What ReActAgent and CodeActAgent write in the user's place after a tool has run.
_OBSERVATION_PREFIXES = ("Observation:", "Result of executing the code given:")


@dataclass(frozen=True)
class LLMCall(AnyCall):
    """One call of TryageLLM, and how a child is asked the same.

    `loud` says that it is the child that reports to callbacks, since no method of TryageLLM does.
    """

    invoke: Callable[[LLM, PromptCleaner], Any]
    child_emits_events: bool = False

    def check(self, child: LLM) -> None:
        """Raise if the child cannot be asked this.

        Raises:
            NotImplementedError: tools are offered, and the child cannot call any.
        """
        if self.conversation.tools and not supports_tools(child):
            raise NotImplementedError(f"A {type(child).__name__} cannot call tools.")


@dataclass(frozen=True)
class ToolChatArguments:
    """Tools for one answer, with the arguments of `chat_with_tools`."""

    tools: Sequence[BaseTool]
    user_msg: str | ChatMessage | None = None
    chat_history: Sequence[ChatMessage] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_arguments(  # noqa: PLR0913 - the arguments of `chat_with_tools`
        cls,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: Sequence[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ToolChatArguments:
        """Return the offer; what is as by default is not passed on, older LLMs do not know it."""
        named = {
            "verbose": verbose,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            "tool_required": tool_required,
        }
        given = {name: value for name, value in named.items() if value}
        return cls(tools, user_msg, chat_history, {**given, **kwargs})

    @property
    def messages(self) -> list[ChatMessage]:
        """The conversation as one."""
        last = self.user_msg
        if isinstance(last, str):
            last = ChatMessage(role=MessageRole.USER, content=last)
        return [*(self.chat_history or []), *([last] if last else [])]

    def invoke(self, method: str, child: LLM, clean: PromptCleaner) -> Any:
        """Offer the tools to a child."""
        messages, (passed, _, _) = (
            copy_messages(self.messages, clean),
            split_routing_kwargs(self.kwargs),
        )
        if not self.tools and not supports_tools(child):  # an agent without tools
            return getattr(child, method)(messages)
        last = messages.pop() if self.user_msg else None
        return getattr(child, f"{method}_with_tools")(
            self.tools, user_msg=last, chat_history=messages, **passed
        )


def chat_call(method: str, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> LLMCall:
    """Return the call of one of the four chat methods."""
    wrapped = (
        messages if isinstance(messages, MessagesWithContext) else MessagesWithContext(messages)
    )
    if wrapped.tool_arguments is not None:
        return _tool_chat_call(method, wrapped, wrapped.tool_arguments, kwargs)
    passed, preferences, model = split_routing_kwargs(kwargs)

    def ask(child: LLM, clean: PromptCleaner) -> Any:
        own = copy_messages(messages, clean)
        if wrapped.from_template:
            own = child._extend_messages(own)  # noqa: SLF001 - an LLM asks its like
        return getattr(child, method)(own, **passed)

    tools = passed.get("tools")
    conversation = to_conversation(
        messages,
        tools=json.dumps(tools, default=str) if tools else "",
        query=wrapped.query,
        answer_tokens=_answer_tokens(passed),
    )
    return LLMCall(conversation, preferences, model, ask)


def _tool_chat_call(
    method: str,
    messages: Sequence[ChatMessage],
    arguments: ToolChatArguments,
    observed_kwargs: Mapping[str, Any],
) -> LLMCall:
    """Return the call of a chat method with tools; `shown` are their schemas, for observers."""
    passed, preferences, model = split_routing_kwargs(arguments.kwargs)
    tools = json.dumps(observed_kwargs["tools"]) if arguments.tools else ""
    conversation = to_conversation(messages, tools=tools, answer_tokens=_answer_tokens(passed))
    return LLMCall(
        conversation,
        preferences,
        model,
        lambda child, clean: arguments.invoke(method, child, clean),
    )


def tool_chat_input(arguments: ToolChatArguments) -> tuple[MessagesWithContext, dict[str, Any]]:
    """Return what a chat method is called with to make the offer: observers see the schemas."""
    return MessagesWithContext(arguments.messages, tool_arguments=arguments), {
        "tools": tool_schemas(arguments.tools)
    }


def completion_call(
    method: str, prompt: str, formatted: bool, kwargs: Mapping[str, Any]
) -> LLMCall:
    """Return the call of one of the four completion methods."""
    passed, preferences, model = split_routing_kwargs(kwargs)

    def ask(child: LLM, clean: PromptCleaner) -> Any:
        text = prompt if clean is None else clean(prompt)
        return getattr(child, method)(text, formatted=formatted, **passed)

    conversation = Conversation([Turn("user", prompt)], answer_tokens=_answer_tokens(passed))
    return LLMCall(conversation, preferences, model, ask)


@dataclass(frozen=True)
class StructuredPredictArguments:
    """A model of pydantic that is to be predicted, with the arguments of `structured_predict`."""

    output_cls: type
    prompt: BasePromptTemplate
    llm_kwargs: Mapping[str, Any] | None
    prompt_args: Mapping[str, Any]

    def invoke(self, method: str, child: LLM, clean: PromptCleaner) -> Any:
        """Ask a child for it."""
        prompt, arguments = _clean_prompt(self.prompt, self.prompt_args, clean)
        passed = split_routing_kwargs(self.llm_kwargs or {})[0]
        return getattr(child, method)(self.output_cls, prompt, llm_kwargs=passed, **arguments)


def structured_call(
    method: str, arguments: StructuredPredictArguments, messages: MessagesWithContext
) -> LLMCall:
    """Return the call of one of the four structured predictions; `messages` fill its template."""
    passed, preferences, model = split_routing_kwargs(arguments.llm_kwargs or {})
    conversation = to_conversation(
        messages, query=messages.query, answer_tokens=_answer_tokens(passed)
    )

    def ask(child: LLM, clean: PromptCleaner) -> Any:
        return arguments.invoke(method, child, clean)

    return LLMCall(conversation, preferences, model, ask, child_emits_events=True)


def split_routing_kwargs(
    kwargs: Mapping[str, Any],
) -> tuple[dict[str, Any], Preferences | None, str | None]:
    """Return what a child is passed, and the preferences and the model that the call asks for.

    Raises:
        InputError: `tryage_preferences` are none.
    """
    passed = dict(kwargs)
    preferences, model = passed.pop(PREFERENCES_KEY, None), passed.pop(MODEL_KEY, None)
    if isinstance(preferences, Mapping):
        preferences = Preferences.from_dict(dict(preferences))
    if preferences is not None and not isinstance(preferences, Preferences):
        raise InputError(
            f"{PREFERENCES_KEY} is a {type(preferences).__name__}; expected Preferences or their dict."
        )
    return passed, preferences, model


def supports_tools(child: LLM) -> bool:
    """Tell whether an LLM takes tools and can decode what it answers to them."""
    return isinstance(child, FunctionCallingLLM) and child.metadata.is_function_calling_model


def _answer_tokens(kwargs: Mapping[str, Any]) -> int | None:
    lengths = [kwargs[key] for key in _MAX_TOKENS_KEYS if isinstance(kwargs.get(key), int)]
    return lengths[0] if lengths else None


def _clean_prompt(
    prompt: BasePromptTemplate, arguments: Mapping[str, Any], clean: PromptCleaner
) -> tuple[BasePromptTemplate, dict[str, Any]]:
    """Return a template and what fills it, without the flags in what users have written."""
    if clean is None:
        return prompt, dict(arguments)

    def plain(given: Mapping[str, Any]) -> dict[str, Any]:
        return {k: clean(v) if isinstance(v, str) else v for k, v in given.items()}

    return prompt.partial_format(**plain(prompt.kwargs)), plain(arguments)


class MessagesWithContext(list[ChatMessage]):
    """Messages on their way through LlamaIndex's own methods, with what else is known of the call.

    Args:
        messages: As anyone sees them.
        query: What the user asked, before a template was filled with it.
        prompted: A template was filled, so a child's own system prompt belongs in front.
        offer: The tools that are offered, if any.
    """

    def __init__(
        self,
        messages: Iterable[ChatMessage],
        *,
        query: str | None = None,
        from_template: bool = False,
        tool_arguments: Any = None,
    ) -> None:
        super().__init__(messages)
        self.query, self.from_template, self.tool_arguments = query, from_template, tool_arguments


def to_conversation(
    messages: Sequence[ChatMessage],
    *,
    tools: str = "",
    query: str | None = None,
    answer_tokens: int | None = None,
) -> Conversation:
    """Return the conversation, with the tools that are offered as text."""
    turns: list[Turn] = []
    for message in messages:
        turns.append(
            _to_turn(message, follows_answer=bool(turns) and turns[-1].role == "assistant")
        )
    return Conversation(turns, tools=tools, query=query, answer_tokens=answer_tokens)


def tool_schemas(tools: Sequence[BaseTool]) -> list[dict[str, Any]]:
    """Return tools as a model is told of them."""
    return [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]


def flag_remover(plan: RoutingPlan, conversation: Conversation) -> Callable[[str], str] | None:
    """Return what takes the flags that the decision has read out of a text; None without any."""
    if not plan.decision.flags:
        return None
    query = conversation.query
    if query is None:
        return lambda text: extract_flags(text).text
    clean = extract_flags(query).text
    return lambda text: text.replace(query, clean)


def copy_messages(
    messages: Sequence[ChatMessage], clean: Callable[[str], str] | None = None
) -> list[ChatMessage]:
    """Return copies of the messages, which a child may change, without the flags."""
    asked = [at for at, message in enumerate(messages) if message.role == MessageRole.USER]
    return [
        _copy_message(message, clean if at in asked else None)
        for at, message in enumerate(messages)
    ]


def _copy_message(message: ChatMessage, clean: Callable[[str], str] | None) -> ChatMessage:
    blocks: list[Any] = list(message.blocks)
    if clean is not None:
        blocks = [
            TextBlock(text=clean(block.text)) if isinstance(block, TextBlock) else block
            for block in blocks
        ]
    kwargs = dict(message.additional_kwargs)
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": kwargs})


def _to_turn(message: ChatMessage, *, follows_answer: bool) -> Turn:
    role = _ROLES.get(message.role, "system")
    text = message.content or ""
    if role == "user" and follows_answer and text.lstrip().startswith(_OBSERVATION_PREFIXES):
        role = "tool"
    return Turn(
        role,
        text=text,
        calls=_tool_calls_text(message),
        images=sum(isinstance(block, (ImageBlock, VideoBlock)) for block in message.blocks),
        audio=sum(isinstance(block, AudioBlock) for block in message.blocks),
        digest=_digest(message),
    )


def _tool_calls_text(message: ChatMessage) -> str:
    """Return the tool calls as text: newer providers have blocks for them, older ones kwargs."""
    calls: list[Any] = [
        [block.tool_name, block.tool_kwargs]
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ]
    calls += message.additional_kwargs.get("tool_calls") or []
    return json.dumps(calls, default=str) if calls else ""


def _digest(message: ChatMessage) -> str:
    """Tell pictures and sounds apart without keeping them."""
    others = [
        block for block in message.blocks if not isinstance(block, (TextBlock, ToolCallBlock))
    ]
    if not others:
        return ""
    return hashlib.sha256("".join(map(repr, others)).encode()).hexdigest()
