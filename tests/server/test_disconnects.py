"""Clients that close their connection before the answer is there."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from langchain_core.runnables import RunnableLambda
from starlette.requests import Request

from tryage_server.disconnects import ClientGoneError, while_connected

HELLO = [{"role": "user", "content": "hello"}]


class WaitingModel:
    """Waits for ever, and notes that it was asked and that its call was cancelled."""

    def __init__(self):
        self.asked, self.cancelled = threading.Event(), threading.Event()

    async def answer(self, _):
        self.asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.mark.parametrize("stream", [False, True])
def test_the_call_of_the_model_is_cancelled_when_the_client_is_gone(
    start_server, make_chat, stream
):
    model = WaitingModel()
    chat = make_chat({"small": RunnableLambda(lambda _: None, afunc=model.answer)})
    url = start_server(chat)

    async def ask_and_leave():
        async with httpx.AsyncClient(timeout=60) as client:
            body = {"messages": HELLO, "stream": stream}
            request = asyncio.create_task(client.post(f"{url}/v1/chat/completions", json=body))
            assert await asyncio.to_thread(model.asked.wait, 10)
            request.cancel()

    asyncio.run(ask_and_leave())
    assert model.cancelled.wait(10)
    assert httpx.get(f"{url}/v1/models").status_code == 200


def request_of(*messages):
    """Return a request that receives these messages, then waits."""
    remaining = list(messages)

    async def receive():
        return remaining.pop(0) if remaining else await asyncio.Future()

    return Request({"type": "http"}, receive)


def test_an_answer_or_an_error_that_comes_first_is_passed_on():
    async def work(value):
        if isinstance(value, Exception):
            raise value
        return value

    async def check():
        assert await while_connected(request_of({"type": "http.request"}), work(1)) == 1
        with pytest.raises(ZeroDivisionError):
            await while_connected(request_of(), work(ZeroDivisionError()))
        with pytest.raises(ClientGoneError):
            await while_connected(request_of({"type": "http.disconnect"}), asyncio.sleep(60))

    asyncio.run(check())
