"""Stop what is done for a client that no longer waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has closed its connection, so it reads no answer."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it when the client closes its connection.

    The body of the request must have been read.

    Raises:
        ClientGoneError: the client is gone, and the work has been cancelled.
        Exception: the work has failed.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        await _cancel(watch)
        await _cancel(task)
    raise ClientGoneError


async def _disconnected(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it has ended; what it raises then is of no use."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
