"""LangChain's side of the fallback: ask models, annotate their answers, report each decision."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks.manager import adispatch_custom_event, dispatch_custom_event
from langchain_core.messages import AIMessageChunk, BaseMessage

from tryage.chat.fallback import (
    arun_steps,
    fallback_steps,
    run_steps,
)
from tryage.chat.hooks import FallbackHooks, call_key
from tryage.chat.plan import COST_KEY
from tryage.chat.streams import (
    alimit_size,
    apeek_stream,
    aresume_stream,
    limit_size,
    peek_stream,
    resume_stream,
)
from tryage_langchain._answers import answer_problems, answer_size, check_stream
from tryage_langchain._cached_answers import ASYNC_STREAM, STREAM, WHOLE, CacheHooks
from tryage_langchain._evidence import evidence_of
from tryage_langchain._judges import text_of_answer
from tryage_langchain._usage import UsageMeter, usage_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
    from typing import TypeAlias

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.fallback import FallbackSteps
    from tryage.chat.plan import RoutingRecord
    from tryage.chat.streams import PeekedStream
    from tryage.core.decision import Decision
    from tryage.core.usage import TokenUsage
    from tryage_langchain._call import ClientCall, PlannedCall

    Settle: TypeAlias = Callable[[TokenUsage | None], None]

RECORD_KEY = "tryage"
"""Where the response metadata of an answer holds the record."""

ROUTE_EVENT = "tryage_route"

_NOT_CACHED = CacheHooks()


# Whole answers ---------------------------------------------------------------------------------


def invoke_with_fallback(planned_call: PlannedCall) -> Any:
    """Return the answer of the first model that does not fail."""
    meter = UsageMeter()

    def call(child: ClientCall, record: RoutingRecord) -> Any:
        config = _child_config(planned_call, child, record, meter)
        return child.client.invoke(child.messages, config, **child.kwargs)

    return annotate(*run_with_fallback(planned_call, call, meter=meter, cached=WHOLE))


async def ainvoke_with_fallback(planned_call: PlannedCall) -> Any:
    """Do what `invoke_with_fallback` does, asynchronously."""
    meter = UsageMeter()

    def call(child: ClientCall, record: RoutingRecord) -> Any:
        config = _child_config(planned_call, child, record, meter)
        return child.client.ainvoke(child.messages, config, **child.kwargs)

    return annotate(*await arun_with_fallback(planned_call, call, meter=meter, cached=WHOLE))


def run_with_fallback(
    planned_call: PlannedCall,
    call: Callable[[Any, RoutingRecord], Any],
    get_client: Callable[[str], Any] | None = None,
    *,
    meter: UsageMeter,
    cached: CacheHooks = _NOT_CACHED,
) -> tuple[Any, RoutingRecord]:
    """Return what `call` returns for the first model that does not fail, and its record.

    Args:
        planned_call: The call.
        call: Asks a model; it takes what `get_client` returns, and the record.
        get_client: Returns a model by its name; by default the one with the bound arguments.
        meter: Reads the tokens of the answers.
        cached: How a cache keeps and returns answers.
    """
    emit = partial(emit_event, config=planned_call.config)
    client_getter = get_client or planned_call.get_client
    hooks = _hooks(client_getter, emit, call, meter, cached)
    return run_steps(_steps(planned_call, hooks))


async def arun_with_fallback(
    planned_call: PlannedCall,
    call: Callable[[Any, RoutingRecord], Any],
    get_client: Callable[[str], Any] | None = None,
    *,
    meter: UsageMeter,
    cached: CacheHooks = _NOT_CACHED,
) -> tuple[Any, RoutingRecord]:
    """Do what `run_with_fallback` does, with functions whose results are awaited."""
    emit = partial(aemit_event, config=planned_call.config)
    client_getter = get_client or planned_call.aget_client
    hooks = _hooks(client_getter, emit, call, meter, cached)
    return await arun_steps(_steps(planned_call, hooks))


def _hooks(
    get_client: Callable[[str], Any],
    emit: Callable[[RoutingRecord], Any],
    call: Callable[[Any, RoutingRecord], Any],
    meter: UsageMeter,
    cached: CacheHooks,
) -> FallbackHooks:
    """Return how LangChain gets one conversation answered; functions may return awaitables."""
    return FallbackHooks(
        *(get_client, emit, call, answer_problems, meter.read, text_of_answer),
        meter.select,
        evidence_of,
        *cached,
        answer_size=answer_size,
    )


def _steps(planned_call: PlannedCall, hooks: FallbackHooks) -> FallbackSteps:
    deadline = planned_call.call.deadline
    return fallback_steps(planned_call.session, planned_call.plan, hooks, deadline)


def _child_config(
    planned_call: PlannedCall, child: ClientCall, record: RoutingRecord, meter: UsageMeter
) -> RunnableConfig:
    """Return the config of a model's run; the answers of a chain do not show their tokens."""
    config = planned_call.child_config(record)
    return config if child.shows_usage else meter.observe(config, call_key(record))


def annotate(answer: Any, record: RoutingRecord) -> Any:
    """Return an answer with the record; an answer without a message stays as it is."""
    if isinstance(answer, dict) and isinstance(answer.get("raw"), BaseMessage):
        return {**answer, "raw": annotate(answer["raw"], record)}
    if not isinstance(answer, BaseMessage):
        return answer
    # Usage is counted by model name, which chat models for local weights do not give.
    return _with_metadata(
        answer, {"model_name": record["model"], **answer.response_metadata, RECORD_KEY: record}
    )


def _with_metadata(message: BaseMessage, metadata: Mapping[str, Any]) -> BaseMessage:
    return message.model_copy(update={"response_metadata": dict(metadata)})


# Streams ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamAdapter:
    """How models stream: how a stream opens, which chunks have content, what annotates them.

    `open` and `aopen` take a model, messages, the config of its run and keyword arguments.
    `annotator` takes the record, and what is told the tokens of the whole answer. `cached` and
    `acached` say how a cache keeps and returns what is streamed.
    """

    open: Callable[[Any, Any, RunnableConfig, dict[str, Any]], Iterator[Any]]
    aopen: Callable[[Any, Any, RunnableConfig, dict[str, Any]], AsyncIterator[Any]]
    has_content: Callable[[Any], bool]
    annotator: Callable[[RoutingRecord, Settle], Callable[[Any], Any]]
    cached: CacheHooks = _NOT_CACHED
    acached: CacheHooks = _NOT_CACHED


class ChunkAnnotator:
    """Annotates a stream.

    Only one chunk carries the record, because merging adds metadata up. The last one carries what
    is known only then, the costs: where the record of the first has None, merging takes them.
    """

    def __init__(self, record: RoutingRecord, settle: Settle) -> None:
        self._record, self._settle = record, settle
        self._is_first, self._has_model_name = True, False
        self._usage: TokenUsage | None = None
        self._n_steps = 0

    def __call__(self, chunk: Any) -> Any:
        """Return the next chunk: the first with the record, the last with its costs and a name."""
        if not isinstance(chunk, BaseMessage):
            return chunk
        if (usage := usage_of(chunk)) is not None:
            self._usage = usage if self._usage is None else self._usage + usage
        metadata = dict(chunk.response_metadata)
        self._has_model_name |= "model_name" in metadata
        if _is_last(chunk):
            self._settle(self._usage)
            metadata |= self._last_metadata()
        if self._is_first:
            metadata[RECORD_KEY] = self._first_record()
        self._is_first = False
        return chunk if metadata == chunk.response_metadata else _with_metadata(chunk, metadata)

    def _first_record(self) -> RoutingRecord:
        """Return the record as it is now: the last chunk adds the steps that come until then."""
        costs = dict(self._record[COST_KEY])
        self._n_steps = len(costs.get("steps", ()))
        return {**self._record, COST_KEY: costs}

    def _last_metadata(self) -> dict[str, Any]:
        """Return what only the last chunk says."""
        name = {} if self._has_model_name else {"model_name": self._record["model"]}
        costs = {key: usd for key, usd in self._record[COST_KEY].items() if key != "expected"}
        if "steps" in costs:
            costs["steps"] = costs["steps"][self._n_steps :]
        is_known = any(usd is not None for usd in costs.values())
        return {**name, RECORD_KEY: {COST_KEY: costs}} if is_known else name


def _is_last(chunk: BaseMessage) -> bool:
    return not isinstance(chunk, AIMessageChunk) or chunk.chunk_position == "last"


def has_content(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer: after it no other model can answer."""
    if not isinstance(chunk, BaseMessage):
        return True
    return bool(
        chunk.content or getattr(chunk, "tool_call_chunks", None) or chunk.additional_kwargs
    )


CHUNK_ADAPTER = StreamAdapter(
    lambda child, messages, config, kwargs: child.stream(messages, config, **kwargs),
    lambda child, messages, config, kwargs: child.astream(messages, config, **kwargs),
    has_content,
    ChunkAnnotator,
    STREAM,
    ASYNC_STREAM,
)


def stream_with_fallback(
    planned_call: PlannedCall, adapter: StreamAdapter = CHUNK_ADAPTER
) -> Iterator[Any]:
    """Yield the answer of the first model that does not fail before its stream has content."""
    meter = UsageMeter()

    def call(child: ClientCall, record: RoutingRecord) -> Any:
        config = _child_config(planned_call, child, record, meter)
        chunks = adapter.open(child.client, child.messages, config, child.kwargs)
        chunks = limit_size(chunks, answer_size)
        return check_stream(peek_stream(chunks, adapter.has_content))

    stream, record = run_with_fallback(planned_call, call, meter=meter, cached=adapter.cached)
    stream = _metered(stream, meter)
    yield from resume_stream(stream, adapter.annotator(record, stream.settle))


async def astream_with_fallback(
    planned_call: PlannedCall, adapter: StreamAdapter = CHUNK_ADAPTER
) -> AsyncGenerator[Any, None]:
    """Do what `stream_with_fallback` does, asynchronously."""
    meter = UsageMeter()

    async def call(child: ClientCall, record: RoutingRecord) -> Any:
        config = _child_config(planned_call, child, record, meter)
        chunks = adapter.aopen(child.client, child.messages, config, child.kwargs)
        chunks = alimit_size(chunks, answer_size)
        return check_stream(await apeek_stream(chunks, adapter.has_content))

    stream, record = await arun_with_fallback(
        planned_call, call, meter=meter, cached=adapter.acached
    )
    stream = _metered(stream, meter)
    annotate_chunk = adapter.annotator(record, stream.settle)
    async with aclosing(aresume_stream(stream, annotate_chunk)) as chunks:
        async for chunk in chunks:
            yield chunk


def _metered(stream: PeekedStream, meter: UsageMeter) -> PeekedStream:
    """Return a stream that asks the meter for its tokens where its chunks do not show them."""

    def settle(usage: TokenUsage | None) -> None:
        stream.settle(meter.read(None) if usage is None else usage)

    return replace(stream, settle=settle, text_of=text_of_answer)


# Events ----------------------------------------------------------------------------------------


def emit_event(record: RoutingRecord, config: RunnableConfig) -> None:
    """Send the custom event, and write to LangGraph's `custom` stream, which shows no events."""
    _write_to_stream(record, config)
    if _has_listener(config):
        dispatch_custom_event(ROUTE_EVENT, record, config=config)


async def aemit_event(record: RoutingRecord, config: RunnableConfig) -> None:
    """Do what `emit_event` does, asynchronously."""
    _write_to_stream(record, config)
    if _has_listener(config):
        await adispatch_custom_event(ROUTE_EVENT, record, config=config)


def _has_listener(config: RunnableConfig) -> bool:
    """Tell whether there is a run to which an event can belong, and a handler that listens."""
    manager = config.get("callbacks")
    return bool(getattr(manager, "parent_run_id", None) and getattr(manager, "handlers", None))


def _write_to_stream(record: RoutingRecord, config: RunnableConfig) -> None:
    runtime = config.get("configurable", {}).get("__pregel_runtime")
    if runtime is not None and "langgraph" in sys.modules:
        runtime.stream_writer({ROUTE_EVENT: record})


def emit_decision(
    decision: Decision, manager: CallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Send a whole decision if a handler listens: a large one takes a while to serialize."""
    if manager.handlers:
        dispatch_custom_event(ROUTE_EVENT, decision.to_dict(), config=config)


async def aemit_decision(
    decision: Decision, manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Do what `emit_decision` does, asynchronously."""
    if manager.handlers:
        await adispatch_custom_event(ROUTE_EVENT, decision.to_dict(), config=config)
