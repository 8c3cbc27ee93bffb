"""Images, sounds, videos and documents in a message: what a model must be able to read."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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


def media_counts(blocks: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how many items of each kind there are, by the fields of a `Turn` that count them."""
    fields = (_field_of(block) for block in blocks)
    return Counter(field for field in fields if field is not None)


def media_digest(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest that distinguishes images and sounds, without keeping them."""
    media_blocks = [block for block in blocks if block.get("type") != "text"]
    if not media_blocks:
        return ""
    return hashlib.sha256(json.dumps(media_blocks, default=str).encode()).hexdigest()


def _field_of(block: Mapping[str, Any]) -> str | None:
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
