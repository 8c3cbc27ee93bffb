"""Runs with canaries in the environment, in settings and in files of keys, while commands work."""

# ruff: noqa: ANN401 - processes and answers are of any type.

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from canary_chat import NAMES, ask_in_all_ways, ask_server, make_router
from canary_operations import as_header, attempt, command, quoting
from canary_search import as_url_part
from canary_servers import QUOTES, model_server

from tryage import Router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from canary_search import Sweep

ENVIRONMENT = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "TRYAGE_SERVER_KEYS",
    "HOUSE_KEY",
)
"""Variables with keys that a shell has exported when a command starts."""

_MODEL = """
[[models]]
name = "{name}"
model = "openai:gpt-5.4-mini"
api_key_env = "HOUSE_KEY"
base_url = "{url}/v1"
settings = {{max_retries = 0}}
"""

_MEASURER = """
import os
from functools import partial
from langchain_openai import ChatOpenAI
from tryage.scoring import GenerationMeasurer
from tryage.scoring.replies import Answer

def exact(prompt, answer):
    return float(answer == "Yes.")

def model():
    return ChatOpenAI(
        model="gpt-5.4-mini", base_url=os.environ["HOUSE_URL"] + "/v1",
        api_key=os.environ["HOUSE_KEY"], max_retries=0,
    )

asked = GenerationMeasurer("asked", model(), exact, retries=0)
"""


# Files that the commands work on -----------------------------------------------------------------

_TOPICS = ("sum", "prove", "code", "poem")
_EXPERTS = ("gpt-5.4-mini", "gpt-5.4", "claude-opus-5")


def _write_inputs(sweep: Sweep, url: str) -> None:
    """Write a table of outcomes, prompts, tools, settings and a log of decisions."""
    rows = [
        {
            "prompt": f"{topic} {i}",
            "expert": expert,
            "loss": 0.1 * ((i + j + k) % 9),
            "cost": 10.0 ** (k - 5),
            "category": topic,
        }
        for i in range(10)
        for j, topic in enumerate(_TOPICS)
        for k, expert in enumerate(_EXPERTS)
    ]
    _write_lines("outcomes.jsonl", rows)
    prompts = [{"prompt": one["prompt"], "category": one["category"]} for one in rows[::3]]
    _write_lines("prompts.jsonl", prompts)
    _write_lines("own.jsonl", [{"prompt": f"Is {i} a number?", "answer": "Yes."} for i in range(3)])
    Path("models.toml").write_text("".join(_MODEL.format(name=one, url=url) for one in NAMES))
    log = '[traffic]\nurl = "postgresql://me:${HOUSE_PASSWORD}@127.0.0.1:9/db"\n'
    limits = '[[policies]]\nkind = "Budget"\nusd_per_request = 1.0\n'
    Path("tryage.toml").write_text(Path("models.toml").read_text() + limits + log)
    Path(f"{_module(sweep)}.py").write_text(_MEASURER)


def _write_lines(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("\n".join(map(json.dumps, rows)))


def _module(sweep: Sweep) -> str:
    """Return the name of a module that no other run of this process has imported."""
    return "own_models_" + re.sub(r"\W", "_", f"{sweep.form}_{sweep.folder.name}")


def _write_log(url: str) -> None:
    """Write decisions and feedback into a log."""
    router = Router.from_pretrained(traffic=url).subset(_EXPERTS)
    for i in range(12):
        decision = router.route(f"sum {i}")
        router.feedback(decision.id, score=float(i % 2))
    router.traffic.close()


@contextmanager
def _house(sweep: Sweep) -> Iterator[Any]:
    """Serve a model, and set all variables; only the model may see the key of the house."""
    values = {name: sweep.canary(name) for name in ENVIRONMENT}
    values["TRYAGE_SERVER_KEYS"] += "0" * 16  # shorter keys are refused
    password = as_url_part(sweep.canary("HOUSE_PASSWORD"))
    with (
        model_server(sweep, "the model", "HOUSE_KEY") as server,
        sweep.environment(**values, HOUSE_PASSWORD=password, HOUSE_URL=server.url),
    ):
        yield server


# Commands of the shell ---------------------------------------------------------------------------

_LOG = "sqlite:///log.db"

_POLICIES = ("-p", "budget usd_per_request=0.001", "-p", "quality-gap gap=0.05")

_COMMANDS = (
    ("train", "outcomes.jsonl", "-o", "trained"),
    ("evaluate", "outcomes.jsonl", "--folds", "2", "--json", "e.json", "--plots", "pictures"),
    ("evaluate", "--traffic", _LOG, "--policy", "always:gpt-5.4"),
    ("simulate", "outcomes.jsonl", *_POLICIES, "--json", "s.json", "--plot", "s.png"),
    ("simulate", "outcomes.jsonl", "--config", "tryage.toml"),
    ("simulate", "--traffic", _LOG, *_POLICIES),
    ("plot", "front", "outcomes.jsonl", "-o", "front.png", "--json", "front.json"),
    ("plot", "front", "prompts.jsonl", "-o", "front.html"),
    ("plot", "calibration", "outcomes.jsonl", "-o", "calibration.svg"),
    ("plot", "difficulty", "prompts.jsonl", "-o", "difficulty.png"),
    ("plot", "latent", "prompts.jsonl", "-o", "latent.png"),
    ("plot", "shares", "--traffic", _LOG, "-o", "shares.png"),
    ("plot", "onboarding", "--traffic", _LOG, "-o", "ratings.png"),
    ("plot", "onboarding", "models.answers.jsonl", "--prompts", "own.jsonl", "-o", "settled.png"),
    ("report", "--traffic", _LOG, "-o", "report.html"),
    ("traffic", "show", "--traffic", _LOG),
    ("route", "sum 1", "--config", "tryage.toml", "--json"),
    ("explain", "sum 1", "--config", "tryage.toml"),
    ("pareto", "sum 1", "--config", "tryage.toml", "--constraint", "cost"),
    ("assign", "prompts.jsonl", "--budget", "1", "-o", "assigned.jsonl"),
    ("experts",),
    ("tools", "tools.json", "Will it rain?"),
    ("models", "show", "gpt-5.4-mini"),
    ("config", "check", "tryage.toml"),
)


def shell_commands(sweep: Sweep) -> None:
    """Commands of the shell beside keys in the environment and in what the settings name."""
    with _house(sweep) as server:
        _write_inputs(sweep, server.url)
        _write_log(_LOG)
        tool = {"name": "weather", "description": "Tells whether it rains."}
        Path("tools.json").write_text(json.dumps([tool]))
        for server.quotes in ("as it is", "as Base64", None):
            server.status = 400
            _ask_models(sweep)
        for words in _COMMANDS:
            command(sweep, *words)
        url = f"postgresql://me:{as_url_part(sweep.canary('password in a word'))}@127.0.0.1:9/db"
        for words in (("simulate", *_POLICIES), ("evaluate",), ("plot", "shares")):
            command(sweep, *words, "--traffic", url)


def _ask_models(sweep: Sweep) -> None:
    """Onboard and score the models of the house."""
    command(
        *(sweep, "onboard", "models.toml", "--prompts", "own.jsonl", "--only-own"),
        *("-o", "taught", "--page", "page.html"),
    )
    command(sweep, "score", "own.jsonl", "-e", f"{_module(sweep)}:asked", "-o", "table")


def serve_command(sweep: Sweep) -> None:
    """`tryage serve` as a process: what it prints, writes, answers and sends."""
    with _house(sweep) as server:
        _write_inputs(sweep, server.url)
        with _serving(sweep) as url:
            _ask_process(sweep, server, url, os.environ["TRYAGE_SERVER_KEYS"])
            _ask_process(sweep, server, url, sweep.canary("wrong key of a client"))


@contextmanager
def _serving(sweep: Sweep) -> Iterator[str]:
    """Run `tryage serve` in the block, and keep what it prints; yield its address."""
    words = [sys.executable, "-m", "tryage", "serve", "--config", "tryage.toml", "--port", "0"]
    path = os.pathsep.join([str(sweep.folder), *map(os.path.abspath, sys.path)])
    variables = {**os.environ, "PYTHONPATH": path, "OTEL_TRACES_EXPORTER": "none"}
    with Path("served.log").open("wb") as log:
        process = subprocess.Popen(words, env=variables, stdout=log, stderr=log)
        try:
            yield _address(process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _address(process: Any, seconds: float = 240.0) -> str:
    """Return where the server listens, once it says so.

    Raises:
        RuntimeError: it has ended, or said nothing in time.
    """
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        printed = Path("served.log").read_text(errors="replace")
        if found := re.search(r"http://127\.0\.0\.1:\d+", printed):
            return found[0]
        time.sleep(0.2)
    raise RuntimeError(f"The server has not started: {Path('served.log').read_text()[-2000:]}")


def _ask_process(sweep: Sweep, server: Any, url: str, bearer: str) -> None:
    import httpx

    headers = [(b"authorization", f"Bearer {bearer}".encode())]
    with httpx.Client(base_url=url, timeout=60) as client:
        for server.quotes in (*QUOTES, None):
            ask_server(sweep, client, headers)


# Files of keys -----------------------------------------------------------------------------------


def key_files(sweep: Sweep) -> None:
    """Keys in ~/.netrc, ~/.pgpass and the Hub's token file, which clients read by themselves."""
    password = _escaped(sweep.canary("~/.netrc"), '\\"')
    written = {
        ".netrc": f'machine 127.0.0.1 login me password "{password}"\n',
        ".pgpass": f"127.0.0.1:9:db:me:{_escaped(sweep.canary('~/.pgpass'), ':')}\n",
        "hub-token": as_header(sweep.canary("token file of the Hub")),
    }
    home = sweep.folder / "home"
    for name, text in written.items():
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    with sweep.environment(PGPASSFILE=str(home / ".pgpass")):
        _read_netrc(sweep)
        _read_pgpass(sweep)
        _read_hub_token(sweep, written["hub-token"])
    for name in written:  # where they were given, so no leak
        (home / name).unlink()


def _escaped(value: str, signs: str) -> str:
    """Return a value with a backslash before each of some signs."""
    return "".join(f"\\{sign}" if sign in signs else sign for sign in value)


def _read_netrc(sweep: Sweep) -> None:
    """Ask with a client that reads ~/.netrc, and quotes it as a password and as Base64."""
    from httpx import Client, NetRCAuth
    from langchain_openai import ChatOpenAI

    from tryage_langchain import ChatTryage

    auth = NetRCAuth(str(sweep.folder / "home" / ".netrc"))
    with model_server(sweep, "the model", "~/.netrc") as server:
        model = ChatOpenAI(
            model="gpt-5.4-mini",
            api_key="not-needed",
            base_url=f"{server.url}/v1",
            http_client=Client(auth=auth),
            max_retries=0,
        )
        chat = ChatTryage.from_models(dict.fromkeys(NAMES, model), router=make_router())
        ask_in_all_ways(sweep, chat, [server])
        sweep.add_pickle("pickle", chat)


def _read_pgpass(sweep: Sweep) -> None:
    """Open a log whose password the driver reads from ~/.pgpass."""
    from tryage.traffic.traffic import Traffic

    url = "postgresql://me@127.0.0.1:9/db"
    log = attempt(sweep, "log", partial(Traffic, url, timeout=0.1))
    if log is not None:
        router = Router(make_router().perception, traffic=log)
        router.route("Hi")
        log.flush(0.2)
        sweep.add("repr", f"{log!r} {router!r}")
        sweep.add_pickle("pickle of a router", router)
        log.close(0.2)
    command(sweep, "traffic", "show", "--traffic", url)


def _read_hub_token(sweep: Sweep, token: str) -> None:
    """Use a Hub that wants the token of the file and quotes it; ~/.netrc is for its host, too."""
    from huggingface_hub import constants

    from tryage.testing import LocalHub

    path = str(sweep.folder / "home" / "hub-token")
    with (
        LocalHub(token=token) as hub,
        hub.patched(sweep.folder / "cache"),
        mock.patch.object(constants, "HF_TOKEN_PATH", path),
        sweep.environment(TRYAGE_HOME=str(sweep.folder / "tryage")),
    ):
        del os.environ["HF_TOKEN"]  # it would come before the file
        hub.add("org/model", downloads=10, pipeline_tag="text-generation", tags=["license:mit"])
        command(sweep, "hub", "sync", "--limit", "5")
        for how in ("as it is", "as Base64"):
            hub.clear_faults()
            hub.fail(quoting(how, 400), times=None)
            command(sweep, "hub", "sync", "--limit", "5")
            attempt(sweep, "push", partial(Router.from_pretrained().push_to_hub, "tester/r"))
            attempt(sweep, "load", partial(Router.from_pretrained, "tester/r"))
    knows = frozenset({"token file of the Hub"})
    sweep.add("asked with the token of the file", any(one.token == token for one in hub.requests))
    for request in hub.requests:
        sweep.add_request("requests of the Hub", request, knows)


COMMAND_RUNS = (shell_commands, serve_command, key_files)
