"""Ask the planned models one after another until one answers: at once or as a stream."""

# ruff: noqa: ANN401 - a structured answer is of any type.
# ruff: noqa: BLE001 - clients raise anything; `Attempts.failed` judges it, and raises it again.

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import run_in_executor

from tryage_langchain._chat.chatting import child_config, forwarded
from tryage_langchain._chat.stamping import Stamper, says, stamped
from tryage_langchain._chat.telling import atell, tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from langchain_core.runnables import RunnableConfig

    from tryage.chat import Attempts, Plan
    from tryage_langchain._chat.chatting import Call, ChatDesk
    from tryage_langchain._chat.children import Child


def answer(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Any:
    """Return the answer of the first model that does not fail."""
    attempts, messages = desk.attempts(plan), forwarded(call, plan)
    for name in attempts:
        if (child := bound_child(desk, call, attempts, name)) is None:
            continue
        record = attempts.record(name)
        tell(record, config)
        try:
            given = child.invoke(messages, child_config(config, name, record), **call.kwargs)
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return stamped(given, record)
    raise AssertionError  # the attempts end with an answer or an error


async def aanswer(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Any:
    """Do what `answer` does."""
    attempts, messages = desk.attempts(plan), forwarded(call, plan)
    for name in attempts:
        if (child := await abound_child(desk, call, attempts, name)) is None:
            continue
        record = attempts.record(name)
        await atell(record, config)
        try:
            given = await child.ainvoke(messages, child_config(config, name, record), **call.kwargs)
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return stamped(given, record)
    raise AssertionError  # the attempts end with an answer or an error


def stream(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Iterator[Any]:
    """Yield the answer of the first model that does not fail before it says something."""
    attempts, messages = desk.attempts(plan), forwarded(call, plan)
    for name in attempts:
        if (child := bound_child(desk, call, attempts, name)) is None:
            continue
        record = attempts.record(name)
        tell(record, config)
        own = child_config(config, name, record)
        with closing(_chunks(child, messages, own, call.kwargs)) as chunks:
            begun: list[Any] = []
            try:
                for chunk in chunks:
                    begun.append(chunk)
                    if says(chunk):
                        break
            except Exception as error:
                attempts.failed(name, error)
                continue
            desk.chat.served(plan, name)
            stamp = Stamper(record)
            yield from map(stamp, begun)
            yield from map(stamp, chunks)
            return


async def astream(
    desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig
) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""
    attempts, messages = desk.attempts(plan), forwarded(call, plan)
    for name in attempts:
        if (child := await abound_child(desk, call, attempts, name)) is None:
            continue
        record = attempts.record(name)
        await atell(record, config)
        own = child_config(config, name, record)
        async with aclosing(_achunks(child, messages, own, call.kwargs)) as chunks:
            begun: list[Any] = []
            try:
                async for chunk in chunks:
                    begun.append(chunk)
                    if says(chunk):
                        break
            except Exception as error:
                attempts.failed(name, error)
                continue
            desk.chat.served(plan, name)
            stamp = Stamper(record)
            for chunk in begun:
                yield stamp(chunk)
            async for chunk in chunks:
                yield stamp(chunk)
            return


def _chunks(
    child: Child, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> Generator[Any, None, None]:
    """Stream a child as a generator, which can be closed whatever the child returns."""
    yield from child.stream(messages, config, **kwargs)


async def _achunks(
    child: Child, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    chunks = child.astream(messages, config, **kwargs)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        # Without this an answer that nobody reads to its end leaves its run open.
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


def bound_child(desk: ChatDesk, call: Call, attempts: Attempts, name: str) -> Child | None:
    """Return a model with what is declared; None, and noted as failed, if it cannot be had."""
    try:
        return call.bound.replay(desk.child(name))
    except Exception as error:
        attempts.failed(name, error, asked=False)
        return None


async def abound_child(desk: ChatDesk, call: Call, attempts: Attempts, name: str) -> Child | None:
    """Do what `bound_child` does; a model that has to be made first is made in an executor."""
    if desk.children.made(name):
        return bound_child(desk, call, attempts, name)
    return await run_in_executor(None, bound_child, desk, call, attempts, name)
