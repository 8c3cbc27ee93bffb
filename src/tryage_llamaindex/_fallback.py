"""Ask the planned LLMs one after another until one answers; report which, to every observer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import ChatResponse, CompletionResponse
from llama_index_instrumentation import get_dispatcher

from tryage.chat.fallback import (
    FallbackSession,
    arun_steps,
    fallback_steps,
    run_steps,
)
from tryage.chat.hooks import FallbackHooks, call_key
from tryage.chat.plan import COST_KEY
from tryage.chat.streams import (
    PeekedStream,
    abandon_if_unread,
    alimit_size,
    apeek_stream,
    aresume_stream,
    limit_size,
    peek_stream,
    resume_stream,
)
from tryage_llamaindex._answers import answer_problems, answer_size, chunk_size
from tryage_llamaindex._cached_answers import (
    astream_from_cache,
    from_cache,
    stream_from_cache,
    to_cache,
)
from tryage_llamaindex._evidence import evidence_of, log_probability_settings
from tryage_llamaindex._judges import text_of_answer, text_of_chunk
from tryage_llamaindex._messages import flag_remover
from tryage_llamaindex._usage import UsageMeter, usage_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from llama_index.core.callbacks.base_handler import BaseCallbackHandler
    from llama_index.core.llms import LLM

    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.core.usage import TokenUsage
    from tryage_llamaindex._call import LLMCall

RECORD_KEY = "tryage"

_INNER_RECORD_KEY = "within"

_EVENT_COSTS = ("expected", "billed", "best_single", "dearest")

_dispatcher = get_dispatcher(__name__)


# The four ways to call -------------------------------------------------------------------------


def call_with_fallback(session: LLMSession, call: LLMCall, plan: RoutingPlan) -> Any:
    """Return the answer of the first LLM that does not fail."""
    meter = UsageMeter(is_hidden=call.child_emits_events)

    def ask(caller: Callable[[], Any], record: RoutingRecord) -> Any:
        meter.start(call_key(record))
        return caller()

    hooks = _hooks(partial(session.caller, call, plan), emit_event, ask, meter, from_cache)
    return annotate(*_run(session, call, plan, hooks))


async def acall_with_fallback(session: LLMSession, call: LLMCall, plan: RoutingPlan) -> Any:
    """Async version of `call_with_fallback`."""
    meter = UsageMeter(is_hidden=call.child_emits_events)

    async def ask(caller: Callable[[], Any], record: RoutingRecord) -> Any:
        meter.start(call_key(record))
        return await caller()

    hooks = _hooks(partial(_acaller, session, call, plan), _aemit_event, ask, meter, from_cache)
    return annotate(*await _arun(session, call, plan, hooks))


def stream_with_fallback(
    session: LLMSession, call: LLMCall, plan: RoutingPlan
) -> Generator[Any, None, None]:
    """Return the stream of the first LLM that does not fail before its first content.

    The LLM is asked now, not when the stream is read: only now do LlamaIndex's events belong to
    this call.
    """
    meter = UsageMeter(is_hidden=call.child_emits_events)

    def ask(caller: Callable[[], Any], record: RoutingRecord) -> Any:
        meter.start(call_key(record))
        return peek_stream(limit_size(caller(), chunk_size), has_content)

    hooks = _hooks(partial(session.caller, call, plan), emit_event, ask, meter, stream_from_cache)
    stream, record = _run(session, call, plan, hooks)
    annotator = StreamAnnotator(record, meter)
    stream = annotator.settling(stream)
    return abandon_if_unread(resume_stream(stream, annotator), stream)


async def astream_with_fallback(
    session: LLMSession, call: LLMCall, plan: RoutingPlan
) -> AsyncGenerator[Any, None]:
    """Async version of `stream_with_fallback`."""
    meter = UsageMeter(is_hidden=call.child_emits_events)

    async def ask(caller: Callable[[], Any], record: RoutingRecord) -> Any:
        meter.start(call_key(record))
        return await apeek_stream(alimit_size(await caller(), chunk_size), has_content)

    hooks = _hooks(
        partial(_acaller, session, call, plan), _aemit_event, ask, meter, astream_from_cache
    )
    stream, record = await _arun(session, call, plan, hooks)
    annotator = StreamAnnotator(record, meter)
    stream = annotator.settling(stream)
    return abandon_if_unread(aresume_stream(stream, annotator), stream)


def _hooks(
    get_client: Callable[[str], Any],
    emit: Callable[[RoutingRecord], Any],
    ask: Callable[[Any, RoutingRecord], Any],
    meter: UsageMeter,
    from_cache: Callable[[Any], Any],
) -> FallbackHooks:
    """Return what asks the LLMs, and reads their answers."""
    return FallbackHooks(
        get_client,
        emit,
        ask,
        answer_problems,
        meter.read,
        text_of_answer,
        meter.select,
        read_evidence=evidence_of,
        to_cache=to_cache,
        from_cache=from_cache,
        answer_size=answer_size,
    )


def _run(
    session: LLMSession, call: LLMCall, plan: RoutingPlan, hooks: FallbackHooks
) -> tuple[Any, RoutingRecord]:
    """Return the answer and its record, which the lists around the call get too."""
    answer, record = run_steps(fallback_steps(session, plan, hooks, call.deadline))
    call.settings.add_record(record)
    if not isinstance(answer, PeekedStream):
        emit_cost_event(record)
    return answer, record


async def _arun(
    session: LLMSession, call: LLMCall, plan: RoutingPlan, hooks: FallbackHooks
) -> tuple[Any, RoutingRecord]:
    """Async version of `_run`."""
    answer, record = await arun_steps(fallback_steps(session, plan, hooks, call.deadline))
    call.settings.add_record(record)
    if not isinstance(answer, PeekedStream):
        emit_cost_event(record)
    return answer, record


async def _acaller(
    session: LLMSession, call: LLMCall, plan: RoutingPlan, name: str
) -> Callable[[], Any]:
    """Return what asks one child; a child that is not made yet is made in a thread."""
    if session.clients.is_built(name):
        return session.caller(call, plan, name)
    return await asyncio.to_thread(session.caller, call, plan, name)


@dataclass(frozen=True)
class LLMSession(FallbackSession["LLM"]):
    """The router and the LLMs of one TryageLLM.

    `handlers` are the callbacks of TryageLLM, which count every answer once. `forwarded_settings`
    are its settings for children that report to callbacks themselves. `configured_copies` keeps the
    copies of children, with the key under which each was made.
    """

    handlers: Sequence[BaseCallbackHandler]
    forwarded_settings: dict[str, Any]
    configured_copies: dict[tuple[str, bool], tuple[object, LLM]]

    def caller(self, call: LLMCall, plan: RoutingPlan, name: str) -> Callable[[], Any]:
        """Return what asks one child.

        Raises:
            Exception: the child cannot be made, or cannot answer this call.
        """
        child = self.clients.get_client(name)
        call.check(child)
        settings = {}
        if self.asks_log_probabilities(plan, name):
            settings = log_probability_settings(child)
        child = self._configure(name, child, settings, emits_events=call.child_emits_events)
        return lambda: call.invoke(child, flag_remover(plan, call.conversation))

    def _configure(
        self, name: str, child: LLM, settings: dict[str, Any], *, emits_events: bool
    ) -> LLM:
        """Return the child with settings, and callbacks such that each gets an answer once.

        A child that emits no events of its own still has handlers that TryageLLM lacks. A child
        that emits them reports to its own handlers and to those of TryageLLM.
        """
        own_handlers = list(child.callback_manager.handlers)
        if emits_events:
            handlers = own_handlers + _exclude_handlers(self.handlers, own_handlers)
            update = {**self.forwarded_settings, **settings}
        else:
            handlers = _exclude_handlers(own_handlers, self.handlers)
            update = settings
        if len(handlers) == len(own_handlers) and not update:
            return child
        key = (id(child), tuple(map(id, handlers)), repr(update))
        entry = self.configured_copies.get((name, emits_events))
        if entry is None or entry[0] != key:
            # A copy shares the client. It is kept, so that a client made at first use stays.
            manager = CallbackManager([])
            manager.handlers = handlers  # as an argument, an empty list means those of Settings
            configured_child = child.model_copy(update={"callback_manager": manager, **update})
            entry = self.configured_copies[name, emits_events] = key, configured_child
        return entry[1]


def _exclude_handlers(
    handlers: Sequence[BaseCallbackHandler], excluded_handlers: Sequence[BaseCallbackHandler]
) -> list[BaseCallbackHandler]:
    ids = set(map(id, excluded_handlers))
    return [handler for handler in handlers if id(handler) not in ids]


# What observers and answers say ----------------------------------------------------------------


class RoutingDecisionEvent(BaseEvent):
    """Which model is asked and why; sent before it starts, and again for every fallback.

    `record` equals `response.additional_kwargs["tryage"]`: model, reason, how, scores, the models
    that failed before, and the costs, which are not known before the answer.
    """

    model: str
    reason: str
    record: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the event."""
        return "RoutingDecisionEvent"


class RoutingCostEvent(BaseEvent):
    """What an answer cost, in USD; sent after it, for a stream when it has been read.

    None is unknown. `billed` is by the tokens that the provider reports, `best_single` and
    `dearest` are what other models would have cost for them.
    """

    model: str
    expected: float | None
    billed: float | None
    best_single: float | None
    dearest: float | None

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the event."""
        return "RoutingCostEvent"


def emit_event(record: dict[str, Any]) -> None:
    """Send the event within the open span."""
    event = RoutingDecisionEvent(model=record["model"], reason=record["reason"], record=record)
    _dispatcher.event(event)


def emit_cost_event(record: dict[str, Any]) -> None:
    """Send what an answer cost within the open span."""
    costs = {name: record[COST_KEY][name] for name in _EVENT_COSTS}
    _dispatcher.event(RoutingCostEvent(model=record["model"], **costs))


async def _aemit_event(record: dict[str, Any]) -> None:
    emit_event(record)


def annotate(answer: Any, record: dict[str, Any]) -> Any:
    """Return a response with the record next to the message; other answers stay as they are.

    The record is never part of the message: providers send its kwargs with the next request.
    """
    if not isinstance(answer, (ChatResponse, CompletionResponse)):
        return answer
    kwargs = answer.additional_kwargs
    if RECORD_KEY in kwargs:  # the child is a TryageLLM: its record is needed to read tool calls
        record = {**record, _INNER_RECORD_KEY: kwargs[RECORD_KEY]}
    return answer.model_copy(update={"additional_kwargs": {**kwargs, RECORD_KEY: record}})


class StreamAnnotator:
    """Annotates the chunks of a stream, all with one record.

    When the stream ends, its costs are written into that record, so the chunks have them, too.
    """

    def __init__(self, record: RoutingRecord, meter: UsageMeter) -> None:
        self._record, self._meter = record, meter
        self._usage: TokenUsage | None = None

    def __call__(self, chunk: Any) -> Any:
        """Return the next chunk with the record."""
        # Chunks count all tokens so far, so the last number is that of the whole answer.
        self._usage = usage_of(chunk) or self._usage
        return annotate(chunk, self._record)

    def settling(self, stream: PeekedStream) -> PeekedStream:
        """Return the stream, which settles with the tokens of its chunks when it ends."""

        def settle(_: TokenUsage | None) -> None:
            stream.settle(self._meter.read(None) if self._usage is None else self._usage)
            emit_cost_event(self._record)

        return replace(stream, settle=settle, text_of=text_of_chunk)


def strip_annotation(response: ChatResponse) -> tuple[str | None, ChatResponse]:
    """Return the name of the child that answered, None if unknown, and its own response."""
    kwargs = dict(response.additional_kwargs)
    record = kwargs.pop(RECORD_KEY, None)
    if not isinstance(record, dict):
        return None, response
    if _INNER_RECORD_KEY in record:
        kwargs[RECORD_KEY] = record[_INNER_RECORD_KEY]
    return record.get("model"), response.model_copy(update={"additional_kwargs": kwargs})


def has_content(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer, after which no other model can answer."""
    if isinstance(chunk, CompletionResponse):
        return bool(chunk.delta or chunk.text)
    if isinstance(chunk, ChatResponse):
        message = chunk.message
        filled_blocks = [block for block in message.blocks if getattr(block, "text", True)]
        return bool(chunk.delta or filled_blocks or message.additional_kwargs)
    return True
