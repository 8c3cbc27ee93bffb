"""Ask the planned LLMs one after another until one answers: at once or as a stream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import ChatResponse, CompletionResponse
from llama_index_instrumentation import get_dispatcher

from tryage.chat.fallback import (
    FallbackHooks,
    apeek_stream,
    aresume_stream,
    arun_steps,
    fallback_steps,
    peek_stream,
    resume_stream,
    run_steps,
)
from tryage.chat.fallback import FallbackSession as AnyDesk
from tryage_llamaindex._call import flag_remover

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from llama_index.core.callbacks.base_handler import BaseCallbackHandler
    from llama_index.core.llms import LLM

    from tryage.chat.router import RoutingPlan
    from tryage_llamaindex._call import LLMCall

RECORD_KEY = "tryage"

_INNER_KEY = "within"

_dispatcher = get_dispatcher(__name__)


def call_with_fallback(session: LLMSession, call: LLMCall, plan: RoutingPlan) -> Any:
    """Return the answer of the first LLM that does not fail."""
    hooks = FallbackHooks(partial(session.caller, call, plan), emit_event, lambda ask, _: ask())
    return annotate(*run_steps(fallback_steps(session, plan, hooks)))


async def acall_with_fallback(session: LLMSession, call: LLMCall, plan: RoutingPlan) -> Any:
    """Do what `answer` does."""
    hooks = FallbackHooks(
        partial(_acaller, session, call, plan), _aemit_event, lambda ask, _: ask()
    )
    return annotate(*await arun_steps(fallback_steps(session, plan, hooks)))


def stream_with_fallback(
    session: LLMSession, call: LLMCall, plan: RoutingPlan
) -> Generator[Any, None, None]:
    """Return the stream of the first LLM that does not fail before it says something.

    Routing and the first words happen now, not when the stream is read: only then do LlamaIndex's
    events belong to this call.
    """
    hooks = FallbackHooks(
        partial(session.caller, call, plan),
        emit_event,
        lambda ask, _: peek_stream(ask(), has_content),
    )
    peeked, record = run_steps(fallback_steps(session, plan, hooks))
    return resume_stream(peeked, partial(annotate, record=record))


async def astream_with_fallback(
    session: LLMSession, call: LLMCall, plan: RoutingPlan
) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""

    async def ask(child: Callable[[], Any], _: Any) -> Any:
        return await apeek_stream(await child(), has_content)

    hooks = FallbackHooks(partial(_acaller, session, call, plan), _aemit_event, ask)
    peeked, record = await arun_steps(fallback_steps(session, plan, hooks))
    return aresume_stream(peeked, partial(annotate, record=record))


async def _acaller(
    session: LLMSession, call: LLMCall, plan: RoutingPlan, name: str
) -> Callable[[], Any]:
    """Return what asks one child; one that has to be made first is made in a thread."""
    if session.clients.is_built(name):
        return session.caller(call, plan, name)
    return await asyncio.to_thread(session.caller, call, plan, name)


async def _aemit_event(record: dict[str, Any]) -> None:
    emit_event(record)


@dataclass(frozen=True)
class LLMSession(AnyDesk["LLM"]):
    """A desk of LLMs.

    `handlers` are the callbacks of TryageLLM, which count every answer once; `handed_down` are its
    settings for children that report themselves; `copies` keeps what was made of them.
    """

    handlers: Sequence[BaseCallbackHandler]
    forwarded_settings: dict[str, Any]
    configured_copies: dict[tuple[str, bool], tuple[object, LLM]]

    def caller(self, call: LLMCall, plan: RoutingPlan, name: str) -> Callable[[], Any]:
        """Return what asks one child.

        Raises:
            Exception: the child cannot be made, or cannot be asked this.
        """
        child = self.clients.get_client(name)
        call.check(child)
        child = self._with_handlers(name, child, emits_events=call.child_emits_events)
        return lambda: call.invoke(child, flag_remover(plan, call.conversation))

    def _with_handlers(self, name: str, child: LLM, *, emits_events: bool) -> LLM:
        """Return the child so that every callback is told of an answer once.

        A quiet child tells those that TryageLLM does not tell; a loud one tells all.
        """
        own = list(child.callback_manager.handlers)
        reported = [id(handler) for handler in (own if emits_events else self.handlers)]
        if emits_events:
            handlers = own + [one for one in self.handlers if id(one) not in reported]
        else:
            handlers = [one for one in own if id(one) not in reported]
        update = self.forwarded_settings if emits_events else {}
        if len(handlers) == len(own) and not update:
            return child
        key = (id(child), tuple(map(id, handlers)), repr(update))
        held = self.configured_copies.get((name, emits_events))
        if held is None or held[0] != key:
            # A copy shares the client. It is kept: clients that are made when first used stay.
            manager = CallbackManager([])
            manager.handlers = handlers  # given to it, none would mean those of Settings
            copy = child.model_copy(update={"callback_manager": manager, **update})
            held = self.configured_copies[name, emits_events] = key, copy
        return held[1]


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


def emit_event(record: dict[str, Any]) -> None:
    """Send the event within the span that is open."""
    event = RoutingDecisionEvent(model=record["model"], reason=record["reason"], record=record)
    _dispatcher.event(event)


def annotate(answer: Any, record: dict[str, Any]) -> Any:
    """Return an answer with the record beside the message; what is no response stays as it is.

    Never on the message: providers send what its kwargs hold back with the next request.
    """
    if not isinstance(answer, (ChatResponse, CompletionResponse)):
        return answer
    held = answer.additional_kwargs
    if RECORD_KEY in held:  # the child chooses too: its record is needed to read its tool calls
        record = {**record, _INNER_KEY: held[RECORD_KEY]}
    return answer.model_copy(update={"additional_kwargs": {**held, RECORD_KEY: record}})


def strip_annotation(response: ChatResponse) -> tuple[str | None, ChatResponse]:
    """Return who answered, None if nobody says so, and the response as that one gave it."""
    held = dict(response.additional_kwargs)
    record = held.pop(RECORD_KEY, None)
    if not isinstance(record, dict):
        return None, response
    if _INNER_KEY in record:
        held[RECORD_KEY] = record[_INNER_KEY]
    return record.get("model"), response.model_copy(update={"additional_kwargs": held})


def has_content(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer: after it, another model cannot step in."""
    if isinstance(chunk, CompletionResponse):
        return bool(chunk.delta or chunk.text)
    if isinstance(chunk, ChatResponse):
        message = chunk.message
        spoken = [block for block in message.blocks if getattr(block, "text", True)]
        return bool(chunk.delta or spoken or message.additional_kwargs)
    return True
