"""One call of TryageLLM: what it asks for, and how the chosen LLM is asked the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.llms import LLM, ChatMessage, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import ChatPromptTemplate

from tryage.chat.conversation import Conversation, Turn
from tryage.chat.fallback import ChatRequest
from tryage.chat.settings import max_answer_tokens
from tryage_llamaindex._answers import check_answer, check_tool_calls, checked_prediction
from tryage_llamaindex._arguments import translate_arguments
from tryage_llamaindex._cached_answers import answer_settings
from tryage_llamaindex._call_settings import NO_SETTINGS, split_routing_kwargs
from tryage_llamaindex._messages import copy_messages, readable_messages, to_conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.tools import BaseTool
    from llama_index.core.types import BaseOutputParser

    from tryage_llamaindex._call_settings import CallSettings
    from tryage_llamaindex._messages import TextCleaner


@dataclass(frozen=True, kw_only=True)
class LLMCall(ChatRequest):
    """One call of TryageLLM; `invoke` makes the same call on a child.

    `method` is the method of the child. `settings` are what the arguments of the call ask of
    routing. `step` is the step of a component that makes the call, None if it asks for an answer.
    With `cheapest_first` the LLMs are asked in the order of their cost. An answer that
    `output_parser` refuses is not used. `child_emits_events` is true if the child
    reports to callbacks, because no method of TryageLLM does.
    """

    method: str
    invoke: Callable[[LLM, TextCleaner], Any]
    settings: CallSettings = NO_SETTINGS
    step: str | None = None
    cheapest_first: bool = False
    output_parser: BaseOutputParser | None = None
    child_emits_events: bool = False

    def check(self, child: LLM) -> None:
        """Raise an error if the child cannot answer this call.

        Raises:
            NotImplementedError: the call has tools, and the child cannot call any.
        """
        if self.conversation.tools and not supports_tools(child):
            raise NotImplementedError(f"A {type(child).__name__} cannot call tools.")


def _new_call(
    method: str,
    conversation: Conversation,
    settings: CallSettings,
    invoke: Callable[[LLM, TextCleaner], Any],
    shape: Mapping[str, object] | None,
    **facts: Any,
) -> LLMCall:
    return LLMCall(
        replace(conversation, settings=shape),
        settings.preferences,
        settings.model,
        method=method,
        invoke=invoke,
        settings=settings,
        **facts,
    )


def supports_tools(child: LLM) -> bool:
    """Tell whether an LLM accepts tools and can decode its answers to them."""
    return isinstance(child, FunctionCallingLLM) and child.metadata.is_function_calling_model


class MessagesWithContext(list[ChatMessage]):
    """Messages that carry other facts about a call through LlamaIndex's own methods.

    Args:
        messages: The messages that everyone sees.
        query: What the user asked, before a template was filled with it.
        from_template: The messages come from a template, so a child's own system prompt belongs in
            front.
        step: The step of a component that the messages are for, None if they ask for an answer.
        output_parser: Parses the answer; an answer that it refuses is not used.
        tool_arguments: The arguments of `chat_with_tools`, if the call has tools.
    """

    def __init__(  # noqa: PLR0913 - the facts about a call
        self,
        messages: Iterable[ChatMessage],
        *,
        query: str | None = None,
        from_template: bool = False,
        step: str | None = None,
        output_parser: BaseOutputParser | None = None,
        tool_arguments: ToolChatArguments | None = None,
    ) -> None:
        super().__init__(messages)
        self.query, self.from_template, self.step = query, from_template, step
        self.output_parser, self.tool_arguments = output_parser, tool_arguments


# Chat, with and without tools ------------------------------------------------------------------


def chat_call(method: str, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> LLMCall:
    """Return the call of one of the four chat methods."""
    context = (
        messages if isinstance(messages, MessagesWithContext) else MessagesWithContext(messages)
    )
    if context.tool_arguments is not None:
        return _tool_chat_call(method, context, context.tool_arguments, kwargs)
    child_kwargs, settings = split_routing_kwargs(kwargs)

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        copies = copy_messages(readable_messages(child, messages), clean)
        if context.from_template:
            copies = child._extend_messages(copies)  # noqa: SLF001 - an LLM calls another LLM
        child, arguments = translate_arguments(child, child_kwargs)
        return getattr(child, method)(copies, **arguments)

    tools = child_kwargs.get("tools")
    conversation = to_conversation(
        messages,
        tools=json.dumps(tools, default=str) if tools else "",
        query=context.query,
        answer_tokens=max_answer_tokens(child_kwargs),
    )
    return _new_call(
        method,
        conversation,
        settings,
        invoke,
        answer_settings(
            method, {**child_kwargs, "template": context.from_template}, messages=messages
        ),
        step=context.step,
        output_parser=context.output_parser,
    )


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
        messages = copy_messages(readable_messages(child, self.messages), clean)
        if not self.tools and not supports_tools(child):  # an agent without tools
            return getattr(child, method)(messages)
        child_kwargs, _ = split_routing_kwargs(self.kwargs)
        child, child_kwargs = translate_arguments(child, child_kwargs)
        user_message = messages.pop() if self.user_msg else None
        answer = getattr(child, f"{method}_with_tools")(
            self.tools, user_msg=user_message, chat_history=messages, **child_kwargs
        )
        is_checked = child_kwargs.get("tool_required") and "stream" not in method
        if not is_checked or not isinstance(child, FunctionCallingLLM):
            return answer
        return check_answer(answer, partial(check_tool_calls, child, self.tools))


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
    child_kwargs, settings = split_routing_kwargs(arguments.kwargs)
    conversation = to_conversation(
        messages,
        tools=json.dumps(observed_kwargs["tools"]) if arguments.tools else "",
        answer_tokens=max_answer_tokens(child_kwargs),
    )

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        return arguments.invoke(method, child, clean)

    shape = answer_settings(method, child_kwargs, messages=messages)
    return _new_call(method, conversation, settings, invoke, shape)


def tool_schemas(tools: Sequence[BaseTool]) -> list[dict[str, Any]]:
    """Return tools as a model gets them."""
    return [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]


# Completion and structured prediction ----------------------------------------------------------


def completion_call(
    method: str, prompt: str, formatted: bool, kwargs: Mapping[str, Any]
) -> LLMCall:
    """Return the call of one of the four completion methods."""
    child_kwargs, settings = split_routing_kwargs(kwargs)

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        text = prompt if clean is None else clean(prompt)
        child, arguments = translate_arguments(child, child_kwargs)
        return getattr(child, method)(text, formatted=formatted, **arguments)

    conversation = Conversation(
        [Turn("user", prompt)], answer_tokens=max_answer_tokens(child_kwargs)
    )
    shape = answer_settings(method, {**child_kwargs, "formatted": formatted})
    return _new_call(method, conversation, settings, invoke, shape)


@dataclass(frozen=True)
class StructuredPredictArguments:
    """The arguments of `structured_predict`: a model of pydantic to predict, and a template."""

    output_cls: type
    prompt: BasePromptTemplate
    llm_kwargs: Mapping[str, Any] | None
    prompt_args: Mapping[str, Any]

    def invoke(self, method: str, child: LLM, clean: TextCleaner) -> Any:
        """Call a child."""
        prompt, prompt_args = _clean_prompt(
            _readable_prompt(child, self.prompt), self.prompt_args, clean
        )
        child_kwargs, _ = split_routing_kwargs(self.llm_kwargs or {})
        child, child_kwargs = translate_arguments(child, child_kwargs)
        ask = partial(
            getattr(child, method), self.output_cls, prompt, llm_kwargs=child_kwargs, **prompt_args
        )
        return checked_prediction(ask, self.output_cls)


def structured_call(
    method: str, arguments: StructuredPredictArguments, messages: MessagesWithContext
) -> LLMCall:
    """Return the call of one of the four structured predictions; `messages` are its template's."""
    child_kwargs, settings = split_routing_kwargs(arguments.llm_kwargs or {})
    conversation = to_conversation(
        messages, query=messages.query, answer_tokens=max_answer_tokens(child_kwargs)
    )

    def invoke(child: LLM, clean: TextCleaner) -> Any:
        return arguments.invoke(method, child, clean)

    shape = answer_settings(method, child_kwargs, arguments.output_cls, messages=messages)
    return _new_call(
        method, conversation, settings, invoke, shape, step=messages.step, child_emits_events=True
    )


def _readable_prompt(child: LLM, prompt: BasePromptTemplate) -> BasePromptTemplate:
    """Return a template whose messages a child can read, such as those of a structured LLM."""
    if not isinstance(prompt, ChatPromptTemplate):
        return prompt
    messages = readable_messages(child, prompt.message_templates)
    return prompt.model_copy(update={"message_templates": messages})


def _clean_prompt(
    prompt: BasePromptTemplate, prompt_args: Mapping[str, Any], clean: TextCleaner
) -> tuple[BasePromptTemplate, dict[str, Any]]:
    """Return a template and its arguments, with the user's texts cleaned."""
    if clean is None:
        return prompt, dict(prompt_args)

    def clean_texts(texts: Mapping[str, Any]) -> dict[str, Any]:
        return {k: clean(v) if isinstance(v, str) else v for k, v in texts.items()}

    return prompt.partial_format(**clean_texts(prompt.kwargs)), clean_texts(prompt_args)
