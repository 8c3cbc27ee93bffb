"""What stands before every request of the server."""

import asyncio
import time

import pytest
from starlette.exceptions import HTTPException

from tryage_server.limits import LimitMiddleware
from tryage_server.settings import ServerSettings


def scope(path="/v1/models", kind="http"):
    return {"type": kind, "path": path, "headers": []}


@pytest.mark.parametrize("start", [scope("/health"), scope(kind="lifespan")])
def test_what_is_no_request_of_the_api_passes(start):
    passed = []

    async def app(given, *_):
        passed.append(given)

    middleware = LimitMiddleware(app, ServerSettings(keys=["a key of some length"]))
    asyncio.run(middleware(start, None, None))
    assert passed == [start]


def test_a_body_is_counted_over_all_its_parts():
    parts = iter([b"12345", b"67890", b"x"])

    async def receive():
        return {"type": "http.request", "body": next(parts)}

    async def app(_, limited, __):
        await limited()
        await limited()
        with pytest.raises(HTTPException) as caught:
            await limited()
        assert caught.value.status_code == 413

    middleware = LimitMiddleware(app, ServerSettings(max_body=10))
    asyncio.run(middleware(scope(), receive, None))


def test_a_request_that_fails_is_no_longer_counted():
    async def fail(*_):
        raise RuntimeError

    middleware = LimitMiddleware(fail, ServerSettings(max_requests=1))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            asyncio.run(middleware(scope(), None, None))


def test_a_process_that_is_late_refuses_requests_until_it_is_in_time_again():
    async def answer_slowly(*_):
        await asyncio.sleep(0)
        time.sleep(1.0)  # no other request gets a turn
        await asyncio.sleep(0.3)

    async def ask(middleware):
        sent = []

        async def send(message):
            sent.append(message)

        await middleware(scope(), None, send)
        return sent[0] if sent else None

    async def ask_all():
        middleware = LimitMiddleware(answer_slowly, ServerSettings(max_delay=0.2))
        first = asyncio.create_task(ask(middleware))
        await asyncio.sleep(0.1)
        refused = await ask(middleware)
        await first
        middleware = LimitMiddleware(answer_slowly, ServerSettings(max_delay=10.0))
        first = asyncio.create_task(ask(middleware))
        await asyncio.sleep(0.1)
        return refused, await ask(middleware)

    refused, passed = asyncio.run(ask_all())
    assert refused["status"] == 503
    assert (b"retry-after", b"1") in refused["headers"]
    assert passed is None
