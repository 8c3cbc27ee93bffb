"""What observers are told: the event of a decision, and the record on every answer."""

# ruff: noqa: ANN401 - an answer may be a response, a model or text.

from __future__ import annotations

from typing import Any

from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import ChatResponse, CompletionResponse
from llama_index_instrumentation import get_dispatcher

KEY = "tryage"
_INNER = "within"
_dispatcher = get_dispatcher(__name__)


class RoutingDecisionEvent(BaseEvent):
    """Who is asked, and why; sent before that model starts, again when another has to step in.

    `record` is what `response.additional_kwargs["tryage"]` holds too: model, reason, how, scores,
    and who failed before.
    """

    model: str
    reason: str
    record: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the event."""
        return "RoutingDecisionEvent"


def announce(record: dict[str, Any]) -> None:
    """Send the event within the span that is open."""
    event = RoutingDecisionEvent(model=record["model"], reason=record["reason"], record=record)
    _dispatcher.event(event)


def tagged(answer: Any, record: dict[str, Any]) -> Any:
    """Return an answer with the record beside the message; what is no response stays as it is.

    Never on the message: providers send what its kwargs hold back with the next request.
    """
    if not isinstance(answer, (ChatResponse, CompletionResponse)):
        return answer
    held = answer.additional_kwargs
    if KEY in held:  # the child chooses too: its record is needed to read its tool calls
        record = {**record, _INNER: held[KEY]}
    return answer.model_copy(update={"additional_kwargs": {**held, KEY: record}})


def untagged(response: ChatResponse) -> tuple[str | None, ChatResponse]:
    """Return who answered, None if nobody says so, and the response as that one gave it."""
    held = dict(response.additional_kwargs)
    record = held.pop(KEY, None)
    if not isinstance(record, dict):
        return None, response
    if _INNER in record:
        held[KEY] = record[_INNER]
    return record.get("model"), response.model_copy(update={"additional_kwargs": held})


def says(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer: after it, another model cannot step in."""
    if isinstance(chunk, CompletionResponse):
        return bool(chunk.delta or chunk.text)
    if isinstance(chunk, ChatResponse):
        message = chunk.message
        spoken = [block for block in message.blocks if getattr(block, "text", True)]
        return bool(chunk.delta or spoken or message.additional_kwargs)
    return True
