"""Clients that send or read too slowly, as the server meets them."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableGenerator

BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}], "stream": True}).encode()


class EndlessModel:
    """Streams large chunks for ever, and notes when its stream is closed."""

    def __init__(self):
        self.closed = threading.Event()

    async def stream(self, _):
        try:
            while True:
                yield AIMessageChunk("x" * 1_000_000)
        finally:
            self.closed.set()


@pytest.fixture
def model():
    return EndlessModel()


@pytest.fixture
def url(start_server, make_chat, model):
    chat = make_chat({"small": RunnableGenerator(model.stream)})
    return start_server(chat, max_requests=1, client_seconds=0.3)


def connect(url, body, length):
    """Send a request of a stated length, and return the connection."""
    parsed = httpx.URL(url)
    connection = socket.create_connection((parsed.host, parsed.port), timeout=20)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parsed.host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def wait_until_free(url):
    """Wait until the one request that the server answers at a time is over."""
    end = time.monotonic() + 20
    while httpx.get(f"{url}/v1/models").status_code == 503 and time.monotonic() < end:
        time.sleep(0.05)
    assert httpx.get(f"{url}/v1/models").status_code == 200


def test_a_request_whose_rest_does_not_come_is_given_up(url):
    with connect(url, BODY[:20], len(BODY)) as connection:
        assert b" 408 " in connection.recv(1_000).splitlines()[0]
        wait_until_free(url)


def test_a_stream_that_nobody_reads_is_given_up_and_its_model_no_longer_asked(url, model):
    with connect(url, BODY, len(BODY)):
        assert model.closed.wait(20)
        wait_until_free(url)
