"""Ask the planned models one after another until one answers: at once or as a stream."""

# ruff: noqa: ANN401 - a structured answer is of any type.

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import run_in_executor

from tryage.chat.asking import Hands, abegin, adrive, asked, awhole, begin, drive, whole
from tryage_langchain._chat.chatting import child_config, forwarded
from tryage_langchain._chat.stamping import Stamper, says, stamped
from tryage_langchain._chat.telling import atell, tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

    from langchain_core.runnables import RunnableConfig

    from tryage.chat import Plan
    from tryage_langchain._chat.chatting import Call, ChatDesk
    from tryage_langchain._chat.children import Child


def answer(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Any:
    """Return the answer of the first model that does not fail."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        return child.invoke(messages, child_config(config, record), **call.kwargs)

    return stamped(*drive(asked(desk, plan, hands(desk, call, config, ask))))


async def aanswer(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Any:
    """Do what `answer` does."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        return child.ainvoke(messages, child_config(config, record), **call.kwargs)

    return stamped(*await adrive(asked(desk, plan, ahands(desk, call, config, ask))))


@dataclass(frozen=True)
class Way:
    """How models stream: what is called, what of it is a part of the answer, and what stamps it.

    `open` and `aopen` take a model, messages, the config of its run and keyword arguments.
    """

    open: Callable[[Any, Any, RunnableConfig, dict[str, Any]], Iterator[Any]]
    aopen: Callable[[Any, Any, RunnableConfig, dict[str, Any]], AsyncIterator[Any]]
    says: Callable[[Any], bool]
    stamper: Callable[[dict[str, Any]], Callable[[Any], Any]]


CHUNKS = Way(
    lambda child, messages, config, kwargs: child.stream(messages, config, **kwargs),
    lambda child, messages, config, kwargs: child.astream(messages, config, **kwargs),
    says,
    Stamper,
)


def stream(
    desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig, way: Way = CHUNKS
) -> Iterator[Any]:
    """Yield the answer of the first model that does not fail before it says something."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        return begin(way.open(child, messages, child_config(config, record), call.kwargs), way.says)

    begun, record = drive(asked(desk, plan, hands(desk, call, config, ask)))
    yield from whole(begun, way.stamper(record))


async def astream(
    desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig, way: Way = CHUNKS
) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        own = child_config(config, record)
        return abegin(way.aopen(child, messages, own, call.kwargs), way.says)

    begun, record = await adrive(asked(desk, plan, ahands(desk, call, config, ask)))
    async with aclosing(awhole(begun, way.stamper(record))) as chunks:
        async for chunk in chunks:
            yield chunk


def hands(
    desk: ChatDesk, call: Call, config: RunnableConfig, ask: Callable[[Any, dict[str, Any]], Any]
) -> Hands:
    """Return how models are made, told of and asked."""
    return Hands(partial(bound_child, desk, call), partial(tell, config=config), ask)


def ahands(
    desk: ChatDesk, call: Call, config: RunnableConfig, ask: Callable[[Any, dict[str, Any]], Any]
) -> Hands:
    """Do what `hands` does, for calls that are awaited."""
    return Hands(partial(abound_child, desk, call), partial(atell, config=config), ask)


def bound_child(desk: ChatDesk, call: Call, name: str) -> Child:
    """Return a model with what is declared.

    Raises:
        Exception: it cannot be made, or has no such thing.
    """
    return call.bound.replay(desk.child(name))


async def abound_child(desk: ChatDesk, call: Call, name: str) -> Child:
    """Do what `bound_child` does; a model that has to be made first is made in an executor."""
    if desk.children.made(name):
        return bound_child(desk, call, name)
    return await run_in_executor(None, bound_child, desk, call, name)
