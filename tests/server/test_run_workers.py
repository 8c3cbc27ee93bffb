"""Several processes behind one address."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import httpx
import pytest
from langchain_core.runnables import RunnableLambda
from starlette.testclient import TestClient

from tryage.errors import InputError
from tryage_langchain import ChatTryage
from tryage_server.run import _make_worker_app, check_workers
from tryage_server.settings import ServerSettings

MAIN = """
import os, sys
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from tryage import Router
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage
from tryage_server.run import serve
from tryage_server.settings import ServerSettings

def answer(_):
    return AIMessage(str(os.getpid()))

if __name__ == "__main__":
    router = Router(FixedPerception({"small": 0.1}))
    chat = ChatTryage.from_models({"small": RunnableLambda(answer)}, router=router)
    serve(chat, ServerSettings(), host="127.0.0.1", port=int(sys.argv[1]), workers=2)
"""

BODY = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def url(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "main.py", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)  # noqa: S603 - our own
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def ask(url):
    """Return the process that answers, None if none does."""
    try:
        answer = httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=10)
    except httpx.HTTPError:
        return None
    return int(answer.json()["choices"][0]["message"]["content"])


def wait_for(url, condition, seconds=120):
    """Ask until the processes that have answered meet a condition; return them."""
    found, end = set(), time.monotonic() + seconds
    while not condition(found) and time.monotonic() < end:
        found.add(ask(url))
        found.discard(None)
        time.sleep(0.02)
    assert condition(found), found
    return found


@pytest.mark.slow
def test_two_processes_answer_and_one_that_is_killed_is_replaced(url):
    first, second = wait_for(url, lambda found: len(found) == 2)
    os.kill(first, signal.SIGKILL)
    wait_for(url, lambda found: len(found - {first, second}) == 1 and second in found)


def test_what_several_processes_cannot_do_is_told_before_they_start():
    chat = ChatTryage.from_models({"small": RunnableLambda(lambda _: "hello")})
    with pytest.raises(InputError, match="cannot be sent to several workers"):
        check_workers(chat, ServerSettings())
    chat = ChatTryage.from_models(["openai:gpt-5.6"])
    check_workers(chat, ServerSettings())
    with pytest.raises(InputError, match="metrics of its own"):
        check_workers(chat, ServerSettings(metrics=True))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tryage.toml"


def write(file, *models):
    file.write_text("\n".join(f'[[models]]\nmodel = "openai:{one}"' for one in models))


def chat_of(file):
    return ChatTryage.from_config(file, watch=True)


def names(client):
    return [one["id"] for one in client.get("/v1/models").json()["data"] if ":" in one["id"]]


def test_a_worker_follows_the_file_of_settings(file, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    write(file, "gpt-5.6")
    copy = pickle.loads(pickle.dumps(chat_of(file)))  # noqa: S301 - our own
    app = _make_worker_app(copy, ServerSettings(), partial(chat_of, file))
    with TestClient(app) as client:
        write(file, "gpt-5.6", "gpt-5.6-luna")
        end = time.monotonic() + 60
        while len(names(client)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert names(client) == ["openai:gpt-5.6", "openai:gpt-5.6-luna"]


def test_a_worker_that_starts_while_the_file_is_wrong_has_the_settings_of_before(
    file, monkeypatch, caplog
):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    write(file, "gpt-5.6")
    copy = pickle.loads(pickle.dumps(chat_of(file)))  # noqa: S301 - our own
    file.write_text("models = [")
    with TestClient(_make_worker_app(copy, ServerSettings(), partial(chat_of, file))) as client:
        assert names(client) == ["openai:gpt-5.6"]
    assert "keeps the last valid settings" in caplog.text
