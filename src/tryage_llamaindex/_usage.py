"""The tokens of answers: in a response as its provider reports them, or in LlamaIndex's events."""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.llms import ChatResponse, CompletionResponse
from llama_index_instrumentation import get_dispatcher
from pydantic import PrivateAttr

from tryage.chat.streams import PeekedStream
from tryage.core.usage import TokenUsage, add_usages, fields_of, read_usage
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index.core.instrumentation.events import BaseEvent

# Where the responses of providers hold the tokens. Mistral's stream has its chunks as `data`.
_REPORT_NAMES = ("usage", "usage_metadata")

_OTHER_TIERS = ("priority", "flex")


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


class HiddenUsages:
    """The tokens of the answers within one call that does not show them."""

    def __init__(self) -> None:
        self._usages: list[TokenUsage | None] = []
        self._raws: list[object] = []

    def add(self, answer: ChatResponse | CompletionResponse | None) -> None:
        """Add an answer, unless it is only another form of one that was added.

        Many LLMs complete with their own chat, and report both.
        """
        raw = None if answer is None else answer.raw
        if raw is not None and any(raw is other for other in self._raws):
            return
        self._raws.append(raw)
        self._usages.append(usage_of(answer))

    @property
    def total(self) -> TokenUsage | None:
        """The tokens of all, None if there is none, or those of one are unknown."""
        return add_usages(self._usages)


_current_usages: ContextVar[HiddenUsages | None] = ContextVar("tryage_hidden_usages", default=None)


class UsageEventHandler(BaseEventHandler):
    """Notes the tokens of the answers that LLMs give in a call which does not show them.

    The beginning of an answer finds the call in its context, and its end by the span, because the
    end of a stream may be in another context.
    """

    # Weak, because an answer that fails has no end: an entry goes with its call.
    _calls: weakref.WeakValueDictionary[str, HiddenUsages] = PrivateAttr(
        default_factory=weakref.WeakValueDictionary
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "UsageEventHandler"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        """Note the beginning or the end of an answer."""
        if isinstance(event, (LLMChatStartEvent, LLMCompletionStartEvent)):
            usages = _current_usages.get()
            if usages is not None:
                self._calls[event.span_id or ""] = usages
        elif isinstance(event, (LLMChatEndEvent, LLMCompletionEndEvent)):
            ended = self._calls.pop(event.span_id or "", None)
            if ended is not None:
                ended.add(event.response)


_handler = UsageEventHandler()
_handler_lock = ForkSafeLock()


def observe_usages() -> None:
    """Add the handler to LlamaIndex's root dispatcher, once for a process."""
    root = get_dispatcher()
    with _handler_lock:
        if not any(handler is _handler for handler in root.event_handlers):
            root.add_event_handler(_handler)


class UsageMeter:
    """Reads the tokens of the answers to one call, of the child that was asked last.

    `is_hidden` says that the answers do not show their tokens, because they are models of pydantic;
    then the events of the child show them.
    """

    def __init__(self, *, is_hidden: bool) -> None:
        self._is_hidden = is_hidden
        self._usages = HiddenUsages()
        self._usages_by_name: dict[str, HiddenUsages] = {}

    def start(self, name: str) -> None:
        """Begin to count the tokens of the child that is asked next, in the current context."""
        if self._is_hidden:
            self._usages = usages = self._usages_by_name[name] = HiddenUsages()
            _current_usages.set(usages)

    def select(self, name: str) -> None:
        """Read the tokens of this child next, where two were asked at the same time."""
        self._usages = self._usages_by_name.get(name, self._usages)

    def read(self, answer: object) -> TokenUsage | None:
        """Return the tokens of the answer of the child that was asked last."""
        return self._usages.total if self._is_hidden else usage_of(answer)
