"""LangChain's messages as conversations of Tryage, and the part of an input that is routed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue, StringPromptValue
from langchain_core.utils.function_calling import convert_to_openai_tool

from tryage.chat.conversation import Conversation, Turn
from tryage.core.flags import extract_flags
from tryage.errors import InputError
from tryage_langchain._media import media_counts, media_digest

if TYPE_CHECKING:
    from tryage.chat.conversation import Role
    from tryage.core.decision import Decision

_ROLES: Mapping[str, Role] = {"human": "user", "ai": "assistant", "tool": "tool"}


def to_conversation(
    messages: Sequence[BaseMessage], *, tools: Sequence[Any] = (), structured_output: bool = False
) -> Conversation:
    """Return the conversation, with the schemas of the bound tools as text."""
    return Conversation(to_turns(messages), tool_schemas_text(tools), structured_output)


def to_turns(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Return the messages as turns."""
    return [_to_turn(message) for message in messages]


def tool_schemas_text(tools: Sequence[Any]) -> str:
    """Return the schemas of tools as text."""
    return "\n".join(map(_tool_schema, tools))


def is_from_user(message: BaseMessage) -> bool:
    """Tell whether a person wrote the message, not a program that sends it as a user."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


def input_size(value: Any) -> int:
    """Return about how many characters an input has, images and files with them."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, PromptValue):
        value = value.to_messages()
    elif isinstance(value, BaseMessage):
        value = value.content
    if isinstance(value, Mapping):
        return sum(map(input_size, value.values()))
    return sum(map(input_size, value)) if isinstance(value, (list, tuple)) else 1


def _to_turn(message: BaseMessage) -> Turn:
    blocks = _blocks(message)
    is_answer = isinstance(message, AIMessage)
    return Turn(
        _role(message),
        text=str(message.text),
        calls=json.dumps(message.tool_calls, default=str)
        if isinstance(message, AIMessage) and message.tool_calls
        else "",
        digest=media_digest(blocks),
        decision_id=_decision_id(message) if is_answer else "",
        **media_counts(blocks),
    )


def _decision_id(message: BaseMessage) -> str:
    """Return the id of the decision that an answer carries; "" if it carries none."""
    record = message.response_metadata.get("tryage")
    decision_id = record.get("id") if isinstance(record, Mapping) else None
    return decision_id if isinstance(decision_id, str) else ""


def _role(message: BaseMessage) -> Role:
    """Return the role of a message.

    Anthropic's format sends the output of a tool as a user message; that is the role "tool".
    """
    role = _ROLES.get(message.type, "system")
    if role != "user":
        return role
    blocks = _blocks(message)
    if blocks and all(block.get("type") == "tool_result" for block in blocks):
        return "tool"
    return role if is_from_user(message) else "system"


def _blocks(message: BaseMessage) -> list[Mapping[str, Any]]:
    blocks = [] if isinstance(message.content, str) else message.content
    return [block for block in blocks if isinstance(block, Mapping)]


def _tool_schema(tool: Any) -> str:
    try:
        return json.dumps(convert_to_openai_tool(tool), default=str)
    except (TypeError, ValueError, NotImplementedError):
        return str(tool)  # a tool of the provider, or a strategy for structured output


def routed_input(value: Any, key: str | None) -> Any:
    """Return what is routed: the value under `key` of a dict, or the input itself.

    Raises:
        InputError: the input is a dict but no key is set or found, or a key is set but the input is
            not a dict.
    """
    if isinstance(value, Mapping):
        if key is None:
            raise InputError(
                f"A {type(value).__name__} cannot be routed as it is. Say which of its keys "
                f"{sorted(map(str, value))} holds the prompt: TryageRouter(..., input_key=...)."
            )
        if key not in value:
            raise InputError(f"The input has no {key!r}; it has {sorted(map(str, value))}.")
        return value[key]
    if key is not None:
        raise InputError(
            f"The input is a {type(value).__name__}. Expected a dict with the prompt as {key!r}."
        )
    return value


def clean_input(decision: Decision, value: Any, key: str | None = None) -> Any:
    """Return the input, of the same type, without the flags that the decision has read."""
    if not decision.flags:
        return value
    clean_part = transform_prompt_text(
        routed_input(value, key), lambda text: extract_flags(text).text
    )
    return clean_part if key is None else {**value, key: clean_part}


def prompt_text(value: Any) -> str:
    """Return the text to route on: the string itself, or the text of the last human message.

    Only the text parts of a multimodal message are read. A conversation without a human message is
    routed on its last message.

    Raises:
        InputError: the input is not a string, a prompt value, a message or messages.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, StringPromptValue):
        return value.text
    messages = _to_messages(value)
    if not messages:
        raise InputError("No messages were given. Expected at least one to route on.")
    return _content_text(messages[_routed_index(messages)].content)


def transform_prompt_text(value: Any, clean: Callable[[str], str]) -> Any:
    """Return the input, of the same type, with `clean` applied to the text it is routed on."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, StringPromptValue):
        return value.model_copy(update={"text": clean(value.text)})
    messages = _to_messages(value)
    i = _routed_index(messages)
    content = _clean_content(messages[i].content, clean)
    messages[i] = messages[i].model_copy(update={"content": content})
    if isinstance(value, BaseMessage):
        return messages[i]
    if isinstance(value, PromptValue):
        return value.model_copy(update={"messages": messages})
    return messages


def add_chunk(answer: Any, chunk: Any) -> Any:
    """Add a streamed chunk to what came before; a chunk that cannot be added replaces it."""
    if answer is None:
        return chunk
    try:
        return answer + chunk
    except TypeError:
        return chunk


def _to_messages(value: Any) -> list[BaseMessage]:
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, PromptValue):
        return list(value.to_messages())
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return convert_to_messages(value)
    raise InputError(
        f"A {type(value).__name__} cannot be routed. "
        "Expected a string, a prompt value, a message or a list of messages."
    )


def _routed_index(messages: Sequence[BaseMessage]) -> int:
    human_messages = [i for i, message in enumerate(messages) if message.type == "human"]
    return human_messages[-1] if human_messages else len(messages) - 1


def _content_text(content: str | list[str | dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    texts = (part if isinstance(part, str) else part.get("text") for part in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def _clean_content(
    content: str | list[str | dict[str, Any]], clean: Callable[[str], str]
) -> str | list[str | dict[str, Any]]:
    if isinstance(content, str):
        return clean(content)
    return [_clean_part(part, clean) for part in content]


def _clean_part(part: str | dict[str, Any], clean: Callable[[str], str]) -> str | dict[str, Any]:
    if isinstance(part, str):
        return clean(part)
    text = part.get("text")
    return {**part, "text": clean(text)} if isinstance(text, str) else part
