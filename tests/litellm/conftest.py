"""Models behind OpenAI's protocol on this computer, and LiteLLM's own proxy in front of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

# Without it, the import of litellm waits nine seconds for a list of prices from the internet.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

pytest.importorskip("litellm")

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

KEY = "sk-0123456789abcdef0123456789abcdef"


class FakeModels(ThreadingHTTPServer):
    """Answers with the name of the model that is asked; one in `down` answers with 503, in
    `refused` with 400.

    `asked` lists the models that were asked, `bodies` what they were sent.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked, self.bodies, self.down, self.refused = [], [], set(), set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body["model"])
        self.server.bodies.append(body)
        if body["model"] in self.server.down:
            self._send(503, "application/json", json.dumps({"error": {"message": "overloaded"}}))
        elif body["model"] in self.server.refused:
            self._send(400, "application/json", json.dumps({"error": {"message": "malformed"}}))
        elif self.path.endswith("/messages"):
            self._send(200, "application/json", json.dumps(_message(body["model"])))
        elif body.get("stream"):
            self._send(200, "text/event-stream", "".join(_events(body["model"])))
        else:
            self._send(200, "application/json", json.dumps(_completion(body)))

    def _send(self, status, kind, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _completion(body):
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": f"Hello from {body['model']}"}
    if body.get("tools"):
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    reason = "tool_calls" if body.get("tools") else "stop"
    choice = {"index": 0, "finish_reason": reason, "message": message}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": USAGE,
    }


def _message(model):
    """Return an answer in Anthropic's form."""
    text = {"type": "text", "text": f"Hello from {model}"}
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [text],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _events(model):
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model}
    for word in ("Hello ", f"from {model}"):
        choice = {"index": 0, "delta": {"role": "assistant", "content": word}}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    ending = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield f"data: {json.dumps({**head, 'choices': [ending], 'usage': USAGE})}\n\n"
    yield "data: [DONE]\n\n"


@pytest.fixture(scope="session")
def proxy_key():
    return KEY


@pytest.fixture(scope="module")
def models():
    server = FakeModels()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(autouse=True)
def _all_models_are_up(models):
    models.asked.clear()
    models.bodies.clear()
    models.down.clear()
    models.refused.clear()


@pytest.fixture(scope="module")
def start_proxy(tmp_path_factory):
    """Start LiteLLM's proxy with a file of settings until the module's tests end."""
    running = []

    def start(config, **files):
        folder = tmp_path_factory.mktemp("proxy")
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = (folder / "log").open("w")
        command = ["-c", "from litellm import run_server; run_server()", "--config", "config.yaml"]
        options = ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        environment = {
            "LITELLM_MASTER_KEY": KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(folder),
            "NO_DOCS": "True",
        }
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *command, *options],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        running.append((process, log))
        url = f"http://127.0.0.1:{port}"
        _wait(process, f"{url}/health/liveliness", folder / "log")
        return url

    yield start
    for process, log in running:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _wait(process, url, log, seconds=240):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"The proxy has not started:\n{log.read_text()[-3000:]}")
