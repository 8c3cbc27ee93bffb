"""The tokens of answers: in a response as its provider reports them, or seen by a callback only."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.llms import ChatResponse, CompletionResponse

from tryage.chat.streams import PeekedStream
from tryage.chat.usage import TokenUsage, add_usages, fields_of, read_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where the responses of providers hold the tokens. Mistral's stream has its chunks as `data`.
_REPORT_NAMES = ("usage", "usage_metadata")

_OTHER_TIERS = ("priority", "flex")

_usages: ContextVar[list[TokenUsage | None] | None] = ContextVar("tryage_usages", default=None)


def usage_of(answer: object) -> TokenUsage | None:
    """Return the tokens of a response, None if nothing says them.

    Of a stream that has ended already, its last chunk that says them counts: chunks add up.
    """
    if isinstance(answer, PeekedStream):
        found = (usage_of(chunk) for chunk in reversed(answer.first_chunks))
        return next((usage for usage in found if usage is not None), None)
    if not isinstance(answer, (ChatResponse, CompletionResponse)):
        return None
    raw = fields_of(answer.raw)
    if raw.get("service_tier") in _OTHER_TIERS:
        return TokenUsage(has_other_rates=True)
    usages = (read_usage(report) for report in _reports(raw) if report)
    known = next((usage for usage in usages if usage is not None), None)
    return read_usage(answer.additional_kwargs) if known is None else known


def _reports(raw: Any) -> Iterator[Any]:
    """Yield what may be a report of tokens in the raw response of a provider."""
    for name in _REPORT_NAMES:
        yield raw.get(name)
    yield fields_of(raw.get("data")).get("usage")
    yield raw if "prompt_eval_count" in raw else None


class UsageHandler(BaseCallbackHandler):
    """Notes the tokens of the answers that children give in a call which does not show them.

    Children keep it, so it serves all calls: `start` opens the list of the current one, which the
    beginning of an answer finds in its context, and its end by the id of the event.
    """

    def __init__(self) -> None:
        super().__init__(event_starts_to_ignore=[], event_ends_to_ignore=[])
        self._lists: dict[str, list[TokenUsage | None]] = {}

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,  # noqa: ARG002 - the signature of a handler
        event_id: str = "",
        parent_id: str = "",  # noqa: ARG002 - the signature of a handler
        **_: Any,
    ) -> str:
        """Note to which call an answer belongs."""
        usages = _usages.get()
        if event_type == CBEventType.LLM and usages is not None:
            self._lists[event_id] = usages
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,  # noqa: ARG002 - the signature of a handler
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **_: Any,
    ) -> None:
        """Note the tokens of an answer."""
        usages, values = self._lists.pop(event_id, None), payload or {}
        answer = values.get(EventPayload.RESPONSE) or values.get(EventPayload.COMPLETION)
        if usages is not None and answer is not None:
            usages.append(usage_of(answer))

    def start_trace(self, trace_id: str | None = None) -> None:
        """Do nothing: traces are of no use here."""

    def end_trace(
        self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None
    ) -> None:
        """Do nothing: traces are of no use here."""


USAGE_HANDLER = UsageHandler()
"""The handler of all children that report to callbacks themselves."""


class UsageMeter:
    """Reads the tokens of the answers to one call, of one child after the other.

    `is_hidden` says that the answers do not show their tokens, because they are models of pydantic;
    then the callbacks of the child see them.
    """

    def __init__(self, *, is_hidden: bool) -> None:
        self._is_hidden = is_hidden
        self._usages: list[TokenUsage | None] = []

    def start(self) -> None:
        """Begin to count the tokens of the child that is asked next, in the current context."""
        if self._is_hidden:
            self._usages = []
            _usages.set(self._usages)

    def read(self, answer: object) -> TokenUsage | None:
        """Return the tokens of the answer of the child that was asked last."""
        return add_usages(self._usages) if self._is_hidden else usage_of(answer)
