"""Ask the planned LLMs one after another until one answers: at once or as a stream."""

# ruff: noqa: ANN401 - an answer may be a response, a model or text.
# ruff: noqa: BLE001 - clients raise anything; `Attempts.failed` judges it, and raises it again.

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any

from tryage_llamaindex._events import announce, says, tagged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from tryage.chat import Attempts, Plan
    from tryage_llamaindex._calls import Call
    from tryage_llamaindex._desk import Desk


def answer(desk: Desk, call: Call, plan: Plan) -> Any:
    """Return the answer of the first LLM that does not fail."""
    attempts = desk.attempts(plan)
    for name in attempts:
        if (ask := _asker(desk, call, attempts, name)) is None:
            continue
        record = _announced(attempts, name)
        try:
            given = ask()
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return tagged(given, record)
    raise AssertionError  # the attempts end with an answer or an error


async def aanswer(desk: Desk, call: Call, plan: Plan) -> Any:
    """Do what `answer` does."""
    attempts = desk.attempts(plan)
    for name in attempts:
        if (ask := await _aasker(desk, call, attempts, name)) is None:
            continue
        record = _announced(attempts, name)
        try:
            given = await ask()
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return tagged(given, record)
    raise AssertionError  # the attempts end with an answer or an error


def stream(desk: Desk, call: Call, plan: Plan) -> Generator[Any, None, None]:
    """Return the stream of the first LLM that does not fail before it says something.

    Routing and the first words happen now, not when the stream is read: only then do LlamaIndex's
    events belong to this call.
    """
    attempts = desk.attempts(plan)
    for name in attempts:
        if (ask := _asker(desk, call, attempts, name)) is None:
            continue
        record = _announced(attempts, name)
        begun: list[Any] = []
        try:
            chunks = ask()
            for chunk in chunks:
                begun.append(chunk)
                if says(chunk):
                    break
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return _rest(begun, chunks, record)
    raise AssertionError  # the attempts end with an answer or an error


async def astream(desk: Desk, call: Call, plan: Plan) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""
    attempts = desk.attempts(plan)
    for name in attempts:
        if (ask := await _aasker(desk, call, attempts, name)) is None:
            continue
        record = _announced(attempts, name)
        begun: list[Any] = []
        try:
            chunks = await ask()
            async for chunk in chunks:
                begun.append(chunk)
                if says(chunk):
                    break
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return _arest(begun, chunks, record)
    raise AssertionError  # the attempts end with an answer or an error


def _rest(
    begun: list[Any], chunks: Iterable[Any], record: dict[str, Any]
) -> Generator[Any, None, None]:
    """Yield a stream from its beginning; who stops reading closes the child's stream too."""
    try:
        for chunk in chain(begun, chunks):
            yield tagged(chunk, record)
    finally:
        if (close := getattr(chunks, "close", None)) is not None:
            close()


async def _arest(
    begun: list[Any], chunks: AsyncGenerator[Any, None], record: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    try:
        for chunk in begun:
            yield tagged(chunk, record)
        async for chunk in chunks:
            yield tagged(chunk, record)
    finally:
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


def _announced(attempts: Attempts, name: str) -> dict[str, Any]:
    record = attempts.record(name)
    announce(record)
    return record


def _asker(desk: Desk, call: Call, attempts: Attempts, name: str) -> Callable[[], Any] | None:
    """Return what asks one child; None, and noted as failed, if it cannot be asked."""
    try:
        return desk.asker(call, attempts.plan, name)
    except Exception as error:
        attempts.failed(name, error, asked=False)
        return None


async def _aasker(
    desk: Desk, call: Call, attempts: Attempts, name: str
) -> Callable[[], Any] | None:
    """Do what `_asker` does; a child that has to be made first is made in a thread."""
    if desk.children.made(name):
        return _asker(desk, call, attempts, name)
    return await asyncio.to_thread(_asker, desk, call, attempts, name)
