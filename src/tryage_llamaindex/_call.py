"""One call of TryageLLM: what it asks for, and how the chosen LLM is asked the same."""

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
from tryage.chat.fallback import ChatRequest
from tryage.chat.settings import (
    MODEL_KEY,
    PREFERENCES_KEY,
    max_answer_tokens,
    to_preferences,
)
from tryage.core.flags import extract_flags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.tools import BaseTool

    from tryage.chat.conversation import Role
    from tryage.chat.router import RoutingPlan
    from tryage.core.preferences import Preferences

TextCleaner: TypeAlias = Callable[[str], str] | None
"""Removes the flags from a text of the user; None if there are no flags."""

_ROLES: Mapping[MessageRole, Role] = {
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

# ReActAgent and CodeActAgent write this as the user after a tool has run.
_OBSERVATION_PREFIXES = ("Observation:", "Result of executing the code given:")


@dataclass(frozen=True)
class LLMCall(ChatRequest):
    """One call of TryageLLM; `invoke` makes the same call on a child.

    `child_emits_events` is true if the child reports to callbacks, because no method of TryageLLM
    does.
    """

    invoke: Callable[[LLM, TextCleaner], Any]
    child_emits_events: bool = False

    def check(self, child: LLM) -> None:
        """Raise an error if the child cannot answer this call.

        Raises:
            NotImplementedError: the call has tools, and the child cannot call any.
        """
        if self.conversation.tools and not supports_tools(child):
            raise NotImplementedError(f"A {type(child).__name__} cannot call tools.")


def supports_tools(child: LLM) -> bool:
    """Tell whether an LLM accepts tools and can decode its answers to them."""
    return isinstance(child, FunctionCallingLLM) and child.metadata.is_function_calling_model


# Chat, with and without tools ------------------------------------------------------------------


def chat_call(method: str, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> LLMCall:
    """Return the call of one of the four chat methods."""
    context = (
        messages if isinstance(messages, MessagesWithContext) else MessagesWithContext(messages)
    )
    if context.tool_arguments is not None:
        return _tool_chat_call(method, context, context.tool_arguments, kwargs)
    child_kwargs, preferences, model = split_routing_kwargs(kwargs)

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        copies = copy_messages(messages, clean)
        if context.from_template:
            copies = child._extend_messages(copies)  # noqa: SLF001 - an LLM calls another LLM
        return getattr(child, method)(copies, **child_kwargs)

    tools = child_kwargs.get("tools")
    conversation = to_conversation(
        messages,
        tools=json.dumps(tools, default=str) if tools else "",
        query=context.query,
        answer_tokens=max_answer_tokens(child_kwargs),
    )
    return LLMCall(conversation, preferences, model, invoke)


@dataclass(frozen=True)
class ToolChatArguments:
    """The arguments of `chat_with_tools`."""

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
        """Return the arguments without those at their default, which older LLMs do not know."""
        flags = {
            "verbose": verbose,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            "tool_required": tool_required,
        }
        nondefault_flags = {name: value for name, value in flags.items() if value}
        return cls(tools, user_msg, chat_history, {**nondefault_flags, **kwargs})

    @property
    def messages(self) -> list[ChatMessage]:
        """The history and the user's message."""
        user_message = self.user_msg
        if isinstance(user_message, str):
            user_message = ChatMessage(role=MessageRole.USER, content=user_message)
        return [*(self.chat_history or []), *([user_message] if user_message else [])]

    def invoke(self, method: str, child: LLM, clean: TextCleaner) -> Any:
        """Call a child with the tools, or without if there are none and it cannot call any."""
        messages = copy_messages(self.messages, clean)
        if not self.tools and not supports_tools(child):  # an agent without tools
            return getattr(child, method)(messages)
        child_kwargs, _, _ = split_routing_kwargs(self.kwargs)
        user_message = messages.pop() if self.user_msg else None
        return getattr(child, f"{method}_with_tools")(
            self.tools, user_msg=user_message, chat_history=messages, **child_kwargs
        )


def tool_chat_input(arguments: ToolChatArguments) -> tuple[MessagesWithContext, dict[str, Any]]:
    """Return the arguments of a chat method that carry tools; observers see their schemas."""
    messages = MessagesWithContext(arguments.messages, tool_arguments=arguments)
    return messages, {"tools": tool_schemas(arguments.tools)}


def _tool_chat_call(
    method: str,
    messages: Sequence[ChatMessage],
    arguments: ToolChatArguments,
    observed_kwargs: Mapping[str, Any],
) -> LLMCall:
    """Return the call of a chat method with tools; `observed_kwargs` holds their schemas."""
    child_kwargs, preferences, model = split_routing_kwargs(arguments.kwargs)
    conversation = to_conversation(
        messages,
        tools=json.dumps(observed_kwargs["tools"]) if arguments.tools else "",
        answer_tokens=max_answer_tokens(child_kwargs),
    )

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        return arguments.invoke(method, child, clean)

    return LLMCall(conversation, preferences, model, invoke)


def tool_schemas(tools: Sequence[BaseTool]) -> list[dict[str, Any]]:
    """Return tools as a model gets them."""
    return [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]


# Completion and structured prediction ----------------------------------------------------------


def completion_call(
    method: str, prompt: str, formatted: bool, kwargs: Mapping[str, Any]
) -> LLMCall:
    """Return the call of one of the four completion methods."""
    child_kwargs, preferences, model = split_routing_kwargs(kwargs)

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        text = prompt if clean is None else clean(prompt)
        return getattr(child, method)(text, formatted=formatted, **child_kwargs)

    conversation = Conversation(
        [Turn("user", prompt)], answer_tokens=max_answer_tokens(child_kwargs)
    )
    return LLMCall(conversation, preferences, model, invoke)


@dataclass(frozen=True)
class StructuredPredictArguments:
    """The arguments of `structured_predict`: a model of pydantic to predict, and a template."""

    output_cls: type
    prompt: BasePromptTemplate
    llm_kwargs: Mapping[str, Any] | None
    prompt_args: Mapping[str, Any]

    def invoke(self, method: str, child: LLM, clean: TextCleaner) -> Any:
        """Call a child."""
        prompt, prompt_args = _clean_prompt(self.prompt, self.prompt_args, clean)
        child_kwargs, _, _ = split_routing_kwargs(self.llm_kwargs or {})
        return getattr(child, method)(
            self.output_cls, prompt, llm_kwargs=child_kwargs, **prompt_args
        )


def structured_call(
    method: str, arguments: StructuredPredictArguments, messages: MessagesWithContext
) -> LLMCall:
    """Return the call of one of the four structured predictions; `messages` are its template's."""
    child_kwargs, preferences, model = split_routing_kwargs(arguments.llm_kwargs or {})
    conversation = to_conversation(
        messages, query=messages.query, answer_tokens=max_answer_tokens(child_kwargs)
    )

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        return arguments.invoke(method, child, clean)

    return LLMCall(conversation, preferences, model, invoke, child_emits_events=True)


def _clean_prompt(
    prompt: BasePromptTemplate, prompt_args: Mapping[str, Any], clean: TextCleaner
) -> tuple[BasePromptTemplate, dict[str, Any]]:
    """Return a template and its arguments, with the user's texts cleaned."""
    if clean is None:
        return prompt, dict(prompt_args)

    def clean_texts(texts: Mapping[str, Any]) -> dict[str, Any]:
        return {k: clean(v) if isinstance(v, str) else v for k, v in texts.items()}

    return prompt.partial_format(**clean_texts(prompt.kwargs)), clean_texts(prompt_args)


def split_routing_kwargs(
    kwargs: Mapping[str, Any],
) -> tuple[dict[str, Any], Preferences | None, str | None]:
    """Return the arguments for a child, and the preferences and the model that a call asks for.

    Raises:
        InputError: `tryage_preferences` are neither Preferences nor their dict.
    """
    child_kwargs = dict(kwargs)
    preferences, model = child_kwargs.pop(PREFERENCES_KEY, None), child_kwargs.pop(MODEL_KEY, None)
    return child_kwargs, None if preferences is None else to_preferences(preferences), model


# Messages --------------------------------------------------------------------------------------


class MessagesWithContext(list[ChatMessage]):
    """Messages that carry other facts about a call through LlamaIndex's own methods.

    Args:
        messages: The messages that everyone sees.
        query: What the user asked, before a template was filled with it.
        from_template: The messages come from a template, so a child's own system prompt belongs in
            front.
        tool_arguments: The arguments of `chat_with_tools`, if the call has tools.
    """

    def __init__(
        self,
        messages: Iterable[ChatMessage],
        *,
        query: str | None = None,
        from_template: bool = False,
        tool_arguments: ToolChatArguments | None = None,
    ) -> None:
        super().__init__(messages)
        self.query, self.from_template, self.tool_arguments = query, from_template, tool_arguments


def flag_remover(plan: RoutingPlan, conversation: Conversation) -> TextCleaner:
    """Return what removes the flags that the decision has read from a text; None without flags."""
    if not plan.decision.flags:
        return None
    query = conversation.query
    if query is None:
        return lambda text: extract_flags(text).text
    clean_query = extract_flags(query).text
    return lambda text: text.replace(query, clean_query)


def copy_messages(messages: Sequence[ChatMessage], clean: TextCleaner = None) -> list[ChatMessage]:
    """Return copies of the messages, which a child may change, with the user's texts cleaned."""
    return [
        _copy_message(message, clean if message.role == MessageRole.USER else None)
        for message in messages
    ]


def _copy_message(message: ChatMessage, clean: TextCleaner) -> ChatMessage:
    blocks: list[Any] = list(message.blocks)
    if clean is not None:
        blocks = [
            TextBlock(text=clean(block.text)) if isinstance(block, TextBlock) else block
            for block in blocks
        ]
    kwargs = dict(message.additional_kwargs)
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": kwargs})


def to_conversation(
    messages: Sequence[ChatMessage],
    *,
    tools: str = "",
    query: str | None = None,
    answer_tokens: int | None = None,
) -> Conversation:
    """Return the conversation; `tools` are the schemas of its tools as text."""
    turns: list[Turn] = []
    for message in messages:
        follows_answer = bool(turns) and turns[-1].role == "assistant"
        turns.append(_to_turn(message, follows_answer=follows_answer))
    return Conversation(turns, tools=tools, query=query, answer_tokens=answer_tokens)


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
        digest=_media_digest(message),
    )


def _tool_calls_text(message: ChatMessage) -> str:
    """Return the tool calls as text: newer providers keep them in blocks, older ones in kwargs."""
    calls: list[Any] = [
        [block.tool_name, block.tool_kwargs]
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ]
    calls += message.additional_kwargs.get("tool_calls") or []
    return json.dumps(calls, default=str) if calls else ""


def _media_digest(message: ChatMessage) -> str:
    """Return a hash that tells images and sounds apart, so that they need not be kept."""
    media = [block for block in message.blocks if not isinstance(block, (TextBlock, ToolCallBlock))]
    return hashlib.sha256("".join(map(repr, media)).encode()).hexdigest() if media else ""
