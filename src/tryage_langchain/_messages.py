"""LangChain's messages: as conversations, as an input to route on, and as a model can read them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue, StringPromptValue
from langchain_core.utils.function_calling import convert_to_openai_tool

from tryage.chat.conversation import Conversation, Turn
from tryage.core.flags import extract_flags
from tryage.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from tryage.chat.conversation import Role
    from tryage.core.decision import Decision

MessageT = TypeVar("MessageT", bound=BaseMessage)

_ROLES: Mapping[str, Role] = {"human": "user", "ai": "assistant", "tool": "tool"}

# Types of content blocks of LangChain and of the providers -> the field of a turn that counts them.
_FIELDS: Mapping[str, str] = {
    "image": "images",
    "image_url": "images",
    "input_image": "images",
    "audio": "audio",
    "input_audio": "audio",
    "video": "videos",
    "video_url": "videos",
    "input_video": "videos",
    "file": "files",
    "input_file": "files",
    "document": "files",
    "media": "files",
    "text-plain": "files",
}

# What a block that may hold anything says about its content -> the field of a turn.
_FIELDS_BY_MIME_TYPE: Mapping[str, str] = {
    "application/pdf": "pdfs",
    "image/": "images",
    "audio/": "audio",
    "video/": "videos",
}

_MEDIA_TYPES = ("image", "image_url", "audio", "video", "file")

# One company under several names: its models read each other's blocks.
_PROVIDER_ALIASES = {
    "azure": "openai",
    "azure_openai": "openai",
    "google_vertexai": "google",
    "google_genai": "google",
    "vertexai": "google",
    "amazon_bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "mistralai": "mistral",
}

# Who reads reasoning that Anthropic has signed, wherever its models run.
_ANTHROPIC_READERS = ("anthropic", "bedrock")

_ROUTERS = ("tryage",)  # they do the same again, for the model that they choose


# Conversations ---------------------------------------------------------------------------------


def to_conversation(
    messages: Sequence[BaseMessage], *, tools: Sequence[Any] = (), structured_output: bool = False
) -> Conversation:
    """Return the conversation, with the schemas of the bound tools as text."""
    return Conversation(to_turns(messages), tool_schemas_text(tools), structured_output)


def to_turns(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Return the messages as turns."""
    return [_to_turn(message) for message in messages]


def message_facts(messages: Sequence[BaseMessage]) -> list[object]:
    """Return as plain values what a model gets of messages beside what their turns hold."""
    return [
        [one.type, one.name, getattr(one, "tool_call_id", None), one.additional_kwargs]
        for one in messages
    ]


def tool_schemas_text(tools: Sequence[Any]) -> str:
    """Return the schemas of tools as text."""
    return "\n".join(map(_tool_schema, tools))


def is_from_user(message: BaseMessage) -> bool:
    """Tell whether a person wrote the message, not a program that sends it as a user."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


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
        # A tool of the provider, or a strategy for structured output.
        return json.dumps(tool, default=str) if isinstance(tool, dict) else str(tool)


def media_counts(blocks: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how many items of each kind there are, by the fields of a `Turn` that count them."""
    fields = (_media_field(block) for block in blocks)
    return Counter(field for field in fields if field is not None)


def media_digest(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest that distinguishes images and sounds, without keeping them."""
    media_blocks = [block for block in blocks if block.get("type") != "text"]
    if not media_blocks:
        return ""
    return hashlib.sha256(json.dumps(media_blocks, default=str).encode()).hexdigest()


def _media_field(block: Mapping[str, Any]) -> str | None:
    field = _FIELDS.get(str(block.get("type")))
    if field != "files":
        return field
    mime_type = _mime_type(block)
    matching_fields = (
        name for prefix, name in _FIELDS_BY_MIME_TYPE.items() if mime_type.startswith(prefix)
    )
    return next(matching_fields, field)


def _mime_type(block: Mapping[str, Any]) -> str:
    """Return what a block says about the type of its content; "" if it says nothing.

    LangChain and Google name it `mime_type`, Anthropic puts `media_type` beside the data, and
    OpenAI has it at the beginning of the data or in the name of the file.
    """
    for part in (block, block.get("source"), block.get("file")):
        if not isinstance(part, Mapping):
            continue
        for key in ("mime_type", "media_type"):
            if isinstance(part.get(key), str):
                return str(part[key]).lower()
        data = str(part.get("file_data") or part.get("url") or "")[:100]
        if data.startswith("data:"):
            return data.removeprefix("data:").lower()
        if str(part.get("filename") or data).lower().endswith(".pdf"):
            return "application/pdf"
    return ""


# The input that is routed ----------------------------------------------------------------------


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


# What a model reads of another model's answers -------------------------------------------------


def readable_messages(messages: Sequence[MessageT], model: BaseChatModel) -> Sequence[MessageT]:
    """Return the conversation as a model can read it; the same object if it is so already."""
    if not any(_author(message) or _has_anthropic_reasoning(message) for message in messages):
        return messages
    return strip_foreign_reasoning(messages, provider_of(model))


def provider_of(model: BaseChatModel) -> str | None:
    """Return the provider of a model, as its integration names it to LangSmith; None if unknown."""
    provider = model._get_ls_params().get("ls_provider")  # noqa: SLF001 - there is no public method
    return provider if isinstance(provider, str) and provider not in _ROUTERS else None


def strip_foreign_reasoning(messages: Sequence[MessageT], provider: str | None) -> list[MessageT]:
    """Return the conversation with other providers' answers as plain text and tool calls.

    Reasoning blocks are signed or encrypted for the provider that wrote them, and others refuse
    them. An answer that consists of reasoning alone is left out. Answers of an unknown provider
    stay as they are, except for reasoning that only Anthropic writes.
    """
    plain_messages = [
        message if _is_same_provider(provider, message) else _to_plain_answer(message)
        for message in messages
    ]
    return [message for message in plain_messages if message is not None]


def _is_same_provider(provider: str | None, message: BaseMessage) -> bool:
    """Tell whether the provider understands everything in a message."""
    author = _author(message)
    if provider is None:
        return True
    if author is None:
        reads_anthropic = any(name in provider for name in _ANTHROPIC_READERS)
        return reads_anthropic or not _has_anthropic_reasoning(message)
    return _PROVIDER_ALIASES.get(author, author) == _PROVIDER_ALIASES.get(provider, provider)


def _author(message: BaseMessage) -> str | None:
    """Return the provider of the model that wrote a message; None if it is unknown."""
    author = message.response_metadata.get("model_provider")
    return author if isinstance(message, AIMessage) and isinstance(author, str) else None


def _has_anthropic_reasoning(message: BaseMessage) -> bool:
    """Tell whether an answer has reasoning that Anthropic has signed or encrypted."""
    return isinstance(message, AIMessage) and any(
        block.get("type") == "redacted_thinking"
        or (block.get("type") == "thinking" and "signature" in block)
        for block in _blocks(message)
    )


def _to_plain_answer(message: Any) -> Any:
    """Return an answer as text, media and tool calls; None if nothing is left."""
    blocks = [] if isinstance(message.content, str) else message.content
    media = [
        block
        for block in blocks
        if isinstance(block, Mapping) and block.get("type") in _MEDIA_TYPES
    ]
    if not (message.text or media or message.tool_calls):
        return None
    text = [{"type": "text", "text": message.text}] if message.text else []
    content = [*text, *media] if media else str(message.text)
    return message.model_copy(update={"content": content, "additional_kwargs": {}})
