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

from tryage.chat.fallback import Desk as AnyDesk
from tryage.chat.fallback import Hands, abegin, adrive, asked, awhole, begin, drive, whole
from tryage_llamaindex._call import unflagged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from llama_index.core.callbacks.base_handler import BaseCallbackHandler
    from llama_index.core.llms import LLM

    from tryage.chat.router import Plan
    from tryage_llamaindex._call import Call

KEY = "tryage"

_INNER = "within"

_dispatcher = get_dispatcher(__name__)


def answer(desk: Desk, call: Call, plan: Plan) -> Any:
    """Return the answer of the first LLM that does not fail."""
    hands = Hands(partial(desk.asker, call, plan), announce, lambda ask, _: ask())
    return tagged(*drive(asked(desk, plan, hands)))


async def aanswer(desk: Desk, call: Call, plan: Plan) -> Any:
    """Do what `answer` does."""
    hands = Hands(partial(_aasker, desk, call, plan), _aannounce, lambda ask, _: ask())
    return tagged(*await adrive(asked(desk, plan, hands)))


def stream(desk: Desk, call: Call, plan: Plan) -> Generator[Any, None, None]:
    """Return the stream of the first LLM that does not fail before it says something.

    Routing and the first words happen now, not when the stream is read: only then do LlamaIndex's
    events belong to this call.
    """
    hands = Hands(partial(desk.asker, call, plan), announce, lambda ask, _: begin(ask(), says))
    begun, record = drive(asked(desk, plan, hands))
    return whole(begun, partial(tagged, record=record))


async def astream(desk: Desk, call: Call, plan: Plan) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""

    async def ask(child: Callable[[], Any], _: Any) -> Any:
        return await abegin(await child(), says)

    hands = Hands(partial(_aasker, desk, call, plan), _aannounce, ask)
    begun, record = await adrive(asked(desk, plan, hands))
    return awhole(begun, partial(tagged, record=record))


async def _aasker(desk: Desk, call: Call, plan: Plan, name: str) -> Callable[[], Any]:
    """Return what asks one child; one that has to be made first is made in a thread."""
    if desk.children.made(name):
        return desk.asker(call, plan, name)
    return await asyncio.to_thread(desk.asker, call, plan, name)


async def _aannounce(record: dict[str, Any]) -> None:
    announce(record)


@dataclass(frozen=True)
class Desk(AnyDesk["LLM"]):
    """A desk of LLMs.

    `handlers` are the callbacks of TryageLLM, which count every answer once; `handed_down` are its
    settings for children that report themselves; `copies` keeps what was made of them.
    """

    handlers: Sequence[BaseCallbackHandler]
    handed_down: dict[str, Any]
    copies: dict[tuple[str, bool], tuple[object, LLM]]

    def asker(self, call: Call, plan: Plan, name: str) -> Callable[[], Any]:
        """Return what asks one child.

        Raises:
            Exception: the child cannot be made, or cannot be asked this.
        """
        child = self.children.get_model(name)
        call.check(child)
        child = self._telling(name, child, loud=call.loud)
        return lambda: call.ask(child, unflagged(plan, call.conversation))

    def _telling(self, name: str, child: LLM, *, loud: bool) -> LLM:
        """Return the child so that every callback is told of an answer once.

        A quiet child tells those that TryageLLM does not tell; a loud one tells all.
        """
        own = list(child.callback_manager.handlers)
        told = [id(handler) for handler in (own if loud else self.handlers)]
        if loud:
            handlers = own + [one for one in self.handlers if id(one) not in told]
        else:
            handlers = [one for one in own if id(one) not in told]
        update = self.handed_down if loud else {}
        if len(handlers) == len(own) and not update:
            return child
        key = (id(child), tuple(map(id, handlers)), repr(update))
        held = self.copies.get((name, loud))
        if held is None or held[0] != key:
            # A copy shares the client. It is kept: clients that are made when first used stay.
            manager = CallbackManager([])
            manager.handlers = handlers  # given to it, none would mean those of Settings
            copy = child.model_copy(update={"callback_manager": manager, **update})
            held = self.copies[name, loud] = key, copy
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
