"""The server in front of two scripted models, run by uvicorn on a free port of this computer."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import uvicorn

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel
from tryage_server import ServerSettings, create_app


@pytest.fixture
def make_chat():
    """Make ChatTryage over models by name; a prompt that names one is sent to it."""

    def make(models, **settings):
        names = list(models)

        def losses(prompt):
            return [0.0 if name in prompt else 0.5 + i / 10 for i, name in enumerate(names)]

        router = Router(FunctionPerception(names, losses))
        return ChatTryage.from_models(models, router=router, **settings)

    return make


@pytest.fixture
def models():
    return {name: ScriptedChatModel(model=name) for name in ("small", "large")}


@pytest.fixture
def chat(make_chat, models):
    return make_chat(models)


@pytest.fixture
def start_server():
    """Run an application until the test ends; return its address."""
    running = []

    def start(chat, **settings):
        app = create_app(chat, ServerSettings(**settings))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread, listener))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def url(start_server, chat):
    return start_server(chat)


@pytest.fixture(scope="module")
def meter_provider():
    """Metrics in the registry of Prometheus's client, which is one for the whole process."""
    pytest.importorskip("opentelemetry.exporter.prometheus")
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider

    provider = MeterProvider([PrometheusMetricReader()], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@pytest.fixture
def counted(telemetry, meter_provider):
    """Write metrics for Prometheus, and spans into memory."""
    from tryage.telemetry import instrument, uninstrument

    instrument(telemetry.tracer_provider, meter_provider)
    yield telemetry
    uninstrument()
