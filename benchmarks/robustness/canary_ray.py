"""Runs with canaries on Ray: keys in the environment and in measurers.

Searched are the folder of Ray's session (logs of every process), what the processes print, and what
Ray's head keeps: jobs, actors, workers, functions, and the settings of Ray Serve.
"""

# ruff: noqa: ANN401 - Ray's own types.

from __future__ import annotations

import importlib
import os
import secrets
import socket
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from canary_chat import ask_server
from canary_operations import attempt
from canary_servers import QUOTES, model_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_search import Sweep

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ray_serve"

_START_SECONDS = 300.0

_PATIENCE = {  # so that no run fails on a busy machine
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_worker_niceness": "0",  # Ray lets all other processes go before its workers
}

# Ray keeps the token of its first session for as long as the process lives. Each run has a home
# folder of its own, where Ray would look for that token in vain.
_TOKEN = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


# Ray's session -----------------------------------------------------------------------------------


@contextmanager
def _session_folder(sweep: Sweep, **variables: str) -> Iterator[None]:
    """Let Ray keep its session in the folder of the run, and wait for it as long as it takes."""
    variables = {
        **_PATIENCE,
        "RAY_AUTH_TOKEN": _TOKEN,
        **variables,
        "RAY_TMPDIR": str(sweep.folder / "ray"),
        "PYTHONPATH": os.pathsep.join([str(sweep.folder), *map(os.path.abspath, sys.path)]),
    }
    with (
        sweep.environment(**variables),
        mock.patch("ray._private.services.get_node", _patient_get_node()),
    ):
        yield


def _patient_get_node() -> Any:
    """Return Ray's function that looks for its own node; Ray gives up after 30 seconds."""
    from ray._private import services

    get_node = services.get_node

    def wait(*arguments: Any) -> Any:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:  # noqa: PERF203 - each try may fail
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    return wait


def _add_tables(sweep: Sweep, *knows: str) -> None:
    """Keep what Ray's head knows of jobs, processes, actors and functions."""
    import ray
    from ray._private.state import state

    state._connect_and_get_accessor()  # noqa: SLF001 - Ray has no public way without a dashboard
    accessor = state._global_state_accessor  # noqa: SLF001 - as above
    tables = {
        "jobs": accessor.get_job_table(),
        "actors": accessor.get_actor_table(None, None),
        "workers": accessor.get_worker_table(),
    }
    for name, rows in tables.items():
        sweep.add(f"Ray's table of {name}", b"".join(rows), knows=frozenset(knows))
    client = ray._private.worker.global_worker.gcs_client  # noqa: SLF001 - as above
    for space in (b"", b"fun", b"job", b"session", b"serve", b"runtime_env"):
        for key in client.internal_kv_keys(b"", space):
            value = client.internal_kv_get(key, space) or b""
            sweep.add(f"Ray's table {space.decode()!r}", key + value, knows=frozenset(knows))


# Measuring ---------------------------------------------------------------------------------------

_MODULE = "canary_measurers"

# A module of a user: one expert reads its key in the worker, one scorer fails with it.
_MEASURERS = """
import os
from functools import lru_cache

@lru_cache
def model():
    from langchain_openai import ChatOpenAI
    return ChatOpenAI(
        model="gpt-5.4-mini", base_url=os.environ["HOUSE_URL"] + "/v1",
        api_key=os.environ["HOUSE_KEY"], max_retries=0,
    )

def ask(text):
    return model().invoke(text)

def exact(prompt, answer):
    return float(answer == "Yes.")

def broken(prompt, answer):
    raise LookupError("no rating with api_key=" + os.environ["HOUSE_KEY"])

class Broken:
    def __init__(self, expert):
        self.expert = expert

    def identify(self):
        from tryage.scoring.measurement import MeasurerIdentity
        return MeasurerIdentity(self.expert, "broken")

    def measure(self, prompts, budget):
        raise LookupError("no measurement with api_key=" + os.environ["HOUSE_KEY"])
"""


def ray_engine(sweep: Sweep) -> None:
    """Score on workers of Ray, with keys in the environment and in a measurer."""
    from tryage.scoring import Ray

    (sweep.folder / f"{_MODULE}.py").write_text(_MEASURERS)
    held = "key in a measurer"
    with model_server(sweep, "the model", "HOUSE_KEY", held) as server:
        variables = {
            "HOUSE_KEY": sweep.canary("HOUSE_KEY"),
            "HOUSE_URL": server.url,
            "OPENAI_API_KEY": sweep.canary("OPENAI_API_KEY"),
            "RAY_HOUSE_TOKEN": sweep.canary("variable that begins as Ray's do"),
        }
        engine = Ray(workers=1, num_cpus=0.5)
        sys.path.insert(0, str(sweep.folder))
        try:
            with _session_folder(sweep, **variables), engine.connect():
                _score_in_all_ways(sweep, engine, server, sweep.canary(held))
                _add_tables(sweep, held)  # actors get their measurer through Ray's head
        finally:
            sys.path.remove(str(sweep.folder))
            sys.modules.pop(_MODULE, None)


def _score_in_all_ways(sweep: Sweep, engine: Any, server: Any, key: str) -> None:
    """Score while the server quotes keys, with an unknown key, with broken code, and with none."""
    from langchain_anthropic import ChatAnthropic

    from tryage.core.expert import Expert
    from tryage.scoring.answers import GenerationMeasurer

    code = importlib.import_module(_MODULE)
    claude = ChatAnthropic(
        model="claude-opus-5", api_key=key, base_url=server.url, max_retries=0
    )  # unlike the clients of OpenAI, it can be pickled
    make = partial(GenerationMeasurer, retries=0, measures_readability=False)
    asking = [make("asked", code.ask, code.exact), make("held", claude, code.exact)]
    for i, (server.quotes, server.status) in enumerate(
        [("as it is", 400), ("escaped as JSON", 401), ("as Base64", 500), (None, 200)]
    ):
        _score(sweep, engine, asking, f"table{i}")
    _score(sweep, engine, [make("unrated", code.ask, code.broken)], "unrated")
    _score(sweep, engine, [code.Broken(Expert("unmeasured"))], "unmeasured")


def _score(sweep: Sweep, engine: Any, measurers: Any, folder: str) -> None:
    from tryage.scoring import score

    run = partial(score, ["Hi", "Ho"], measurers, folder, engine=engine, progress=False)
    sweep.add("report of a score", attempt(sweep, "score", run))


# Ray Serve ---------------------------------------------------------------------------------------


def ray_serve(sweep: Sweep) -> None:
    """Serve the example of Ray Serve, with keys in the environment of all its processes."""
    import ray
    from ray import serve

    with (
        model_server(sweep, "OpenAI", "OPENAI_API_KEY") as first,
        model_server(sweep, "Anthropic", "ANTHROPIC_API_KEY") as second,
    ):
        variables = {
            "OPENAI_API_KEY": sweep.canary("OPENAI_API_KEY"),
            "OPENAI_API_BASE": f"{first.url}/v1",
            "ANTHROPIC_API_KEY": sweep.canary("ANTHROPIC_API_KEY"),
            "ANTHROPIC_API_URL": second.url,
            "TRYAGE_SERVER_KEYS": sweep.canary("TRYAGE_SERVER_KEYS") + "0" * 16,
            "PGPASSWORD": sweep.canary("PGPASSWORD"),
        }
        sys.path.insert(0, str(EXAMPLE))
        try:
            with _session_folder(sweep, **variables), _serving() as url:
                _ask_replica(sweep, url, variables["TRYAGE_SERVER_KEYS"], [first, second])
                _add_tables(sweep)
        finally:
            if ray.is_initialized():  # else this would start another one
                serve.shutdown()
            ray.shutdown()
            sys.path.remove(str(EXAMPLE))
            sys.modules.pop("main", None)


@contextmanager
def _serving() -> Iterator[str]:
    """Serve the example on a Ray of this computer, and yield its address."""
    import ray
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    main = importlib.import_module("main")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=80_000_000,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    words = {
        "models": "openai:gpt-5.6,anthropic:claude-opus-5",
        "traffic": "postgresql://me@127.0.0.1:9/db",
        "replicas": "1",
        "cpus": "0.5",
    }
    serve.run(main.application(words))
    yield f"http://127.0.0.1:{port}"


def _ask_replica(sweep: Sweep, url: str, key: str, servers: list[Any]) -> None:
    import httpx

    with httpx.Client(base_url=url, timeout=120) as client:
        for bearer in (key, sweep.canary("wrong key of a client")):
            headers = [(b"authorization", f"Bearer {bearer}".encode())]
            for quotes in (*QUOTES, None):
                for server in servers:
                    server.quotes = quotes
                ask_server(sweep, client, headers)


RAY_RUNS = (ray_engine, ray_serve)
