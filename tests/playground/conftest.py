"""The playground over the bundled router, run by uvicorn on a free port."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import uvicorn
from starlette.testclient import TestClient

from tryage import Router
from tryage_playground import PlaygroundSettings, create_app
from tryage_playground.files import FileStore
from tryage_playground.pool import RouterPool


@pytest.fixture(scope="session")
def base_router():
    return Router.from_pretrained(prompt_flags=True)


@pytest.fixture(scope="session")
def pool(base_router):
    return RouterPool(base_router)


@pytest.fixture
def files():
    return FileStore()


@pytest.fixture(scope="session")
def app():
    return create_app(settings=PlaygroundSettings(max_body=100_000))


@pytest.fixture
def client(app):
    return TestClient(app, base_url="http://127.0.0.1:8321")


@pytest.fixture(scope="session")
def address(app):
    """Run the playground until all tests have ended; return its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()
