"""The decision on the message: who answered and why, in `response_metadata["tryage"]`."""

# ruff: noqa: ANN401 - a structured answer is of any type.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk, BaseMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "tryage"


def stamped(answer: Any, record: Mapping[str, Any]) -> Any:
    """Return an answer with the record; what is no message, and holds none, stays as it is."""
    if isinstance(answer, dict) and isinstance(answer.get("raw"), BaseMessage):
        return {**answer, "raw": stamped(answer["raw"], record)}
    if not isinstance(answer, BaseMessage):
        return answer
    # Chat models for local weights do not say their name, which usage is counted under.
    return _with(answer, {"model_name": record["model"], **answer.response_metadata, KEY: record})


class Stamper:
    """Stamps a stream. One chunk only carries the record: merging chunks adds what they carry."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record, self._fresh, self._named = record, True, False

    def __call__(self, chunk: Any) -> Any:
        """Return the next chunk, stamped if it is the first, named if it is the last."""
        if not isinstance(chunk, BaseMessage):
            return chunk
        told = dict(chunk.response_metadata)
        self._named = self._named or "model_name" in told
        if not self._named and _is_last(chunk):
            told["model_name"] = self._record["model"]
        if self._fresh:
            told[KEY] = self._record
        self._fresh = False
        return chunk if told == chunk.response_metadata else _with(chunk, told)


def says(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer: after it, another model cannot step in."""
    if not isinstance(chunk, BaseMessage):
        return True
    return bool(
        chunk.content or getattr(chunk, "tool_call_chunks", None) or chunk.additional_kwargs
    )


def _is_last(chunk: BaseMessage) -> bool:
    return not isinstance(chunk, AIMessageChunk) or chunk.chunk_position == "last"


def _with(message: BaseMessage, metadata: Mapping[str, Any]) -> BaseMessage:
    return message.model_copy(update={"response_metadata": dict(metadata)})
