"""Ask the planned LLMs one after another until one answers: at once or as a stream."""

# ruff: noqa: ANN401 - an answer may be a response, a model or text.

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tryage.chat.asking import Hands, abegin, adrive, asked, awhole, begin, drive, whole
from tryage_llamaindex._events import announce, says, tagged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from tryage.chat import Plan
    from tryage_llamaindex._calls import Call
    from tryage_llamaindex._desk import Desk


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
