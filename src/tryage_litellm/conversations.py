"""Requests of LiteLLM, which are in OpenAI's words, as conversations."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tryage.chat.conversation import Conversation, Turn

if TYPE_CHECKING:
    from tryage.chat.conversation import Role

_ROLES: Mapping[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

# The type of a part of a message -> the field of a turn that counts such parts.
_FIELDS = {
    "image_url": "images",
    "input_image": "images",
    "image": "images",
    "input_audio": "audio",
    "video_url": "videos",
    "file": "files",
    "input_file": "files",
    "document": "files",
}

_TEXT_TYPES = ("text", "input_text", "output_text")

_MAX_HEAD = 100  # characters of the data of a file that say which kind it is


def read_conversation(messages: Sequence[Any], request: Mapping[str, Any]) -> Conversation:
    """Return the conversation of a request; what is not in OpenAI's form counts as no text.

    `request` holds the arguments beside the messages: tools, the format and length of the answer,
    the user, and LiteLLM's session and tags.
    """
    metadata = _mapping(request.get("metadata"))
    thread = request.get("litellm_session_id") or metadata.get("session_id")
    user = request.get("user")
    return Conversation(
        [_to_turn(message) for message in messages if isinstance(message, Mapping)],
        tools="\n".join(json.dumps(tool, default=str) for tool in request.get("tools") or ()),
        structured_output=_mapping(request.get("response_format")).get("type") == "json_schema",
        answer_tokens=_answer_tokens(request),
        thread=thread if isinstance(thread, str) else None,
        keys={"user_id": user} if isinstance(user, str) else {},
        tags=tuple(tag for tag in _sequence(metadata.get("tags")) if isinstance(tag, str)),
    )


def _answer_tokens(request: Mapping[str, Any]) -> int | None:
    """Return how long the answer may be, None without a limit."""
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    return limit if isinstance(limit, int) else None


def _to_turn(message: Mapping[str, Any]) -> Turn:
    content, calls = message.get("content"), message.get("tool_calls")
    parts = [part for part in _sequence(content) if isinstance(part, Mapping)]
    fields = map(_media_field, parts)
    counts: dict[str, Any] = Counter(field for field in fields if field is not None)
    return Turn(
        _ROLES.get(str(message.get("role")), "system"),
        text=content if isinstance(content, str) else _text(parts),
        calls=json.dumps(calls, default=str) if calls else "",
        digest=_digest(parts),
        **counts,
    )


def _text(parts: Sequence[Mapping[str, Any]]) -> str:
    texts = (part.get("text") for part in parts if part.get("type") in _TEXT_TYPES)
    return "\n".join(text for text in texts if isinstance(text, str))


def _media_field(part: Mapping[str, Any]) -> str | None:
    field = _FIELDS.get(str(part.get("type")))
    return "pdfs" if field == "files" and _is_pdf(part) else field


def _is_pdf(part: Mapping[str, Any]) -> bool:
    """Tell whether a file is a PDF: by its data, the type that is told, or its name."""
    file = _mapping(part.get("file")) or _mapping(part.get("source")) or part
    data = str(file.get("file_data") or file.get("file_id") or "")[:_MAX_HEAD].casefold()
    kind = str(file.get("format") or file.get("media_type") or "").casefold()
    name = str(file.get("filename") or data).casefold()
    return "application/pdf" in (kind, data.removeprefix("data:").partition(";")[0]) or (
        name.endswith(".pdf")
    )


def _digest(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest that distinguishes images and sounds, without keeping them."""
    media = [part for part in parts if part.get("type") not in _TEXT_TYPES]
    if not media:
        return ""
    return hashlib.sha256(json.dumps(media, default=str).encode()).hexdigest()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
