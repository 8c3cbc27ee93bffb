"""A run with canaries in LiteLLM's proxy: what Tryage makes of its keys, deployments and errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary_search import as_url_part
from canary_servers import QUOTES, model_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_search import Sweep
    from canary_servers import ModelServer


# What a user writes beside the settings of the proxy, and a second callback that keeps all that
# Tryage shows of itself after each request.
_ROUTING = """
import json, logging, os, pickle
from litellm.integrations.custom_logger import CustomLogger
from tryage import Router
from tryage.testing import FunctionPerception
from tryage_litellm import TryageCallback

kept = logging.FileHandler("tryage.log")
for name in ("tryage", "tryage_litellm", "py.warnings"):
    logging.getLogger(name).addHandler(kept)
    logging.getLogger(name).setLevel(logging.DEBUG)
logging.captureWarnings(True)

def losses(prompt):
    return [0.0, 1.0, 2.0] if "small" in prompt else [2.0, 1.0, 0.0]

router = Router(FunctionPerception(["openai/small", "openai/large", "anthropic/claude"], losses))
logged = TryageCallback(groups=["logged"], router=router, traffic="sqlite:///proxy.db")
unlogged = TryageCallback(groups=["unlogged"], router=router, traffic=os.environ.get("HOUSE_LOG"))

def show(callback):
    for shown in (repr(callback), repr(callback.savings()), repr(callback._routers._routers)):
        yield shown.encode()
    try:
        yield pickle.dumps(callback)
    except Exception as error:
        yield repr(error).encode()

class Watcher(CustomLogger):
    def keep(self, kwargs):
        parameters = kwargs.get("litellm_params") or {}
        metadata = [parameters.get(key) or {} for key in ("metadata", "litellm_metadata")]
        records = json.dumps([one.get("tryage") for one in metadata])
        parts = [records.encode(), *show(logged), *show(unlogged)]
        with open("shown", "ab") as file:
            file.write(b"\\n".join([*parts, b""]))

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.keep(kwargs)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self.keep(kwargs)

watcher = Watcher()
"""

GROUPS = ("logged", "unlogged")


def litellm_proxy(sweep: Sweep) -> None:
    """LiteLLM's proxy with TryageCallback: its logs, records, headers, files and requests."""
    first_knows = ("key of a deployment", "header of a deployment")
    with (
        model_server(sweep, "OpenAI", *first_knows) as first,
        model_server(sweep, "the second OpenAI", "key in a variable") as second,
        model_server(sweep, "Anthropic", "ANTHROPIC_API_KEY") as third,
    ):
        servers = [first, second, third]
        settings = _settings(sweep, servers)
        variables = {
            "LITELLM_MASTER_KEY": "sk-" + sweep.canary("LITELLM_MASTER_KEY"),  # others are refused
            "SECOND_KEY": sweep.canary("key in a variable"),
            "ANTHROPIC_API_KEY": sweep.canary("ANTHROPIC_API_KEY"),
        }
        if find_spec("psycopg") is not None:  # the lane of LiteLLM has no driver
            password = as_url_part(sweep.canary("password of the log"))
            variables["HOUSE_LOG"] = f"postgresql://me:{password}@127.0.0.1:9/db"
        with sweep.environment(**variables), _proxy(settings) as url:
            for key in (variables["LITELLM_MASTER_KEY"], "sk-" + sweep.canary("wrong key")):
                _ask_in_all_ways(sweep, url, key, servers)
    sweep.add("log of litellm", Path("proxy.log").read_bytes())
    Path("proxy.log").unlink()


def _settings(sweep: Sweep, servers: list[ModelServer]) -> dict[str, Any]:
    """Return what stands in `config.yaml`."""
    first, second, third = servers
    header = {"X-Corp-Route": sweep.canary("header of a deployment")}
    deployments = [
        {
            "model": "openai/small",
            "api_base": f"{first.url}/v1",
            "api_key": sweep.canary("key of a deployment"),
            "extra_headers": header,
        },
        {
            "model": "openai/large",
            "api_base": f"{second.url}/v1",
            "api_key": "os.environ/SECOND_KEY",
        },
        {"model": "anthropic/claude", "api_base": third.url},
    ]
    return {
        "model_list": [
            {"model_name": group, "litellm_params": one} for group in GROUPS for one in deployments
        ],
        "litellm_settings": {
            "callbacks": ["routing.logged", "routing.unlogged", "routing.watcher"],
            "num_retries": 2,
        },
        "router_settings": {"retry_after": 0, "disable_cooldowns": True},
    }


@contextmanager
def _proxy(settings: dict[str, Any]) -> Iterator[str]:
    """Run LiteLLM's proxy in this folder, and yield its address."""
    Path("config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    Path("routing.py").write_text(_ROUTING)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["-c", "from litellm import run_server; run_server()", "--config", "config.yaml"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    variables = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "DEBUG",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "NO_DOCS": "True",
    }
    with Path("proxy.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], env=variables, stdout=log, stderr=log)
        try:
            _wait(process, f"http://127.0.0.1:{port}/health/liveliness")
            Path("config.yaml").unlink()  # keys were given in it, so they are no leak there
            yield f"http://127.0.0.1:{port}"
            time.sleep(2.0)  # LiteLLM calls its callbacks after it has answered
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait(process: Any, url: str, seconds: float = 900.0) -> None:  # noqa: ANN401 - a process
    """Wait until the proxy answers.

    Raises:
        RuntimeError: it has ended, or not started in time.
    """
    import httpx

    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"The proxy has not started: {Path('proxy.log').read_text()[-3000:]}")


def _ask_in_all_ways(sweep: Sweep, url: str, key: str, servers: list[ModelServer]) -> None:
    """Ask while the first servers fail, while all fail, and while none does."""
    import httpx

    headers = [(b"authorization", f"Bearer {key}".encode())]
    with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
        for quotes in (*QUOTES, None):
            for n_failing in range(1, len(servers) + 1) if quotes else (0,):
                for i, server in enumerate(servers):
                    server.quotes = quotes if i < n_failing else None
                    server.status = 429 if n_failing == 1 else 500
                _ask(sweep, client)


def _ask(sweep: Sweep, client: Any) -> None:  # noqa: ANN401 - httpx's
    messages = [{"role": "user", "content": "small talk"}]
    for group in GROUPS:
        for stream in (False, True):
            body = {"model": group, "messages": messages, "stream": stream}
            answer = client.post("/v1/chat/completions", json=body)
            own = [name for name in answer.headers if name.startswith("x-tryage")]
            sweep.add("headers of Tryage", [answer.headers[name] for name in own])
            kind = "answers" if answer.status_code == 200 else "errors of clients, by LiteLLM"
            sweep.add(kind, answer.text)
    body = {"model": "logged", "messages": messages, "metadata": {"tryage_preferences": "no"}}
    sweep.add("error of Tryage, preferences", client.post("/v1/chat/completions", json=body).text)


LITELLM_RUNS = (litellm_proxy,)
