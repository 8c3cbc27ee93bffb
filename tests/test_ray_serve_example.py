"""The example of Ray Serve: two replicas share a log in PostgreSQL, and one is killed."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "ray_serve"
if not EXAMPLE.is_dir():
    pytest.skip("the examples are not part of this copy", allow_module_level=True)
serve = pytest.importorskip("ray.serve")
pgserver = pytest.importorskip("pgserver")
pytest.importorskip("langchain_openai")

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

MODELS = ("openai:gpt-5.6", "openai:gpt-5.6-luna")
TIMEOUTS = {  # long, so that no test fails on a busy machine
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
}
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000}
USD_PER_DAY = 0.5


class Provider(BaseHTTPRequestHandler):
    """Answers as OpenAI does; a prompt that says "slowly" takes seconds."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "slowly" in body["messages"][-1]["content"]:
            time.sleep(3.0)
        message = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        data = json.dumps({**head, "choices": [choice], "usage": USAGE}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def provider():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.fixture(scope="module")
def database():
    folder = Path(tempfile.mkdtemp(prefix="tryage-pg-", dir="/tmp"))
    folder.chmod(0o755)  # the server has an account of its own where the tests are root
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def timeouts():
    with pytest.MonkeyPatch.context() as environment:
        for name, value in TIMEOUTS.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def url(provider, database, timeouts):  # noqa: ARG001 - it sets the environment
    """Two replicas on a cluster of this computer; their address."""
    import ray

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sys.path.insert(0, str(EXAMPLE))
    import main

    variables = {
        "OPENAI_API_BASE": provider, "OPENAI_API_KEY": "none", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE), *sys.path]),
    }  # fmt: skip
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False,
        runtime_env={"env_vars": variables}, object_store_memory=80_000_000,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    words = {  # as `serve run` gives them
        "models": ",".join(MODELS),
        "traffic": database,
        "usd_per_day": str(USD_PER_DAY),
        "cpus": "0.5",
    }
    serve.run(main.application(words))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()
    sys.path.remove(str(EXAMPLE))
    sys.modules.pop("main", None)


@pytest.mark.parametrize(
    "traffic", ["postgresql://me:kwozqmtr@db/tryage", "postgresql://me@db/tryage?password=kwozqmtr"]
)
def test_a_password_among_the_words_that_ray_keeps_is_refused_and_not_shown(monkeypatch, traffic):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    main = importlib.import_module("main")
    del sys.modules["main"]
    with pytest.raises(ValueError, match="PGPASSWORD") as refused:
        main.Settings(models="openai:gpt-5.6", traffic=traffic)
    assert "kwozqmtr" not in str(refused.value)


def ask(url, text, **body):
    """Return the answer of a request, None where its connection breaks off."""
    messages = [{"role": "user", "content": text}]
    try:
        return httpx.post(
            f"{url}/v1/chat/completions", json={"messages": messages, **body}, timeout=60
        )
    except httpx.HTTPError:
        return None


def decide(url, wanted, seconds=60):
    """Return what each of the processes decides, by their ids, once a condition holds."""
    found, end = {}, time.monotonic() + seconds
    body = {"messages": [{"role": "user", "content": "What is two and two?"}]}
    while not wanted(found) and time.monotonic() < end:
        answer = httpx.post(f"{url}/v1/decide", json=body, timeout=60)
        if answer.status_code == 200:
            found[int(answer.headers["x-process"])] = answer.json()["scores"]
        time.sleep(0.05)
    assert wanted(found), found
    return found


def test_feedback_to_one_replica_teaches_the_other(url):
    before = decide(url, lambda found: len(found) == 2)
    for i in range(8):
        answer = ask(url, f"What is two and {i}?", model=MODELS[1])
        body = {"id": answer.json()["id"], "score": 0.0}
        assert httpx.post(f"{url}/v1/feedback", json=body, timeout=60).json() == {"is_new": True}
    old = next(iter(before.values()))[MODELS[1]]
    decide(url, lambda found: len(found) == 2 and all(
        scores[MODELS[1]] > old + 0.01 for scores in found.values()
    ))  # fmt: skip


def test_a_replica_that_is_killed_loses_no_request_silently(url):
    processes = list(decide(url, lambda found: len(found) == 2))
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(ask, url, f"slowly, {i}", model=MODELS[1]) for i in range(12)]
        time.sleep(1.5)
        os.kill(processes[0], signal.SIGKILL)
        answers = [call.result() for call in calls]
    statuses = [None if answer is None else answer.status_code for answer in answers]
    assert 200 in statuses  # those of the other replica
    assert all(status is None or status == 200 or status >= 500 for status in statuses)
    decide(url, lambda found: len({*found} - {processes[0]}) == 2)  # it is replaced


def test_both_replicas_together_do_not_overspend_a_hard_budget(url):
    # The dear model by name: a budget that has spent more than its share of the day until now asks
    # the cheap one, and early in the day 200 answers of that one cost less than the budget.
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(ask, url, f"What is two and {i}?", model=MODELS[0]) for i in range(100)
        ]
        answers = [call.result() for call in calls]
    billed = [one.json()["tryage"]["cost"]["billed"] for one in answers if one.status_code == 200]
    refused = [one for one in answers if one.status_code == 429]
    assert len({one.headers["x-process"] for one in answers}) == 2
    assert refused
    assert refused[0].json()["error"]["code"] == "insufficient_quota"
    assert sum(billed) <= USD_PER_DAY + 8 * max(billed, default=0.0)
