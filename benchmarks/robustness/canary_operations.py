"""Runs with canaries beside the calls: settings, the Hub, logs, commands, measuring, telemetry."""

# ruff: noqa: ANN401 - answers and chat models are of any type.

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary_chat import NAMES, ask_in_all_ways, make_router
from canary_search import as_url_part
from canary_servers import QUOTES, model_server

from tryage import Router
from tryage.errors import TryageError
from tryage.testing.hub.http import FakeResponse, LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_search import Sweep

    from tryage.testing.hub.http import FakeRequest


def command(sweep: Sweep, *words: str, stdin: str = "") -> None:
    """Run a command of the shell in this process, and keep what it prints."""
    from typer.testing import CliRunner

    from tryage.cli import app

    done = CliRunner().invoke(app, list(words), input=stdin)
    sweep.add(f"output of the command: tryage {words[0]}", f"{done.output} {done.stderr}")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        sweep.add_error(f"error of the command: tryage {words[0]}", done.exception)


def attempt(sweep: Sweep, what: str, call: Callable[[], Any]) -> Any:
    """Return what a call returns; keep its error."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever it raises is searched
        if isinstance(error, (TryageError, ValueError)):
            sweep.add_error(f"error of Tryage, {what}", error)
        else:
            sweep.add(f"errors of clients, {what}", f"{error!r}")
        return None


# Settings ----------------------------------------------------------------------------------------

# Files of settings in which a secret stands where none may, or where a variable is meant.
_WRONG_FILES = {
    "key of a model": '[[models]]\nmodel = "openai:m"\napi_key = {secret}',
    "key in settings": '[[models]]\nmodel = "openai:m"\nsettings = {{api_key = {secret}}}',
    "header in settings": '[[models]]\nmodel = "openai:m"\n'
    "settings = {{default_headers = {{Authorization = {secret}}}}}",
    "list in settings": '[[models]]\nmodel = "openai:m"\n'
    'settings = {{http_auth = ["me", {secret}]}}',
    "password in base_url": '[[models]]\nmodel = "openai:m"\nbase_url = "http://me:{url}@host/v1"',
    "query of base_url": '[[models]]\nmodel = "openai:m"\nbase_url = "http://host/v1?key={url}"',
    "api_key_env": '[[models]]\nmodel = "openai:m"\napi_key_env = {secret}',
    "variable in base_url": '[[models]]\nmodel = "openai:m"\nbase_url = "http://${{{plain}}}/v1"',
    "type of api_key_env": '[[models]]\nmodel = "openai:m"\napi_key_env = [{secret}]',
    "password of the log": '[traffic]\nurl = "postgresql://me:{url}@host/db"',
    "password in the query of the log": '[traffic]\nurl = "postgresql://me@host/db?password={url}"',
    "password of no known log": '[traffic]\nurl = "mysql://me:{url}@host/db"',
    "key of a log": '[traffic]\nurl = "sqlite:///x.db"\npassword = {secret}',
    "key of the server": "[server]\nkeys = [{secret}]",
    "key in a broken line": '[[models]]\nmodel = "openai:m"\napi_key = {secret} x',
    "token of a rule": '[[rules]]\nroute_to = "m"\ntoken = {secret}',
}


def settings_files(sweep: Sweep) -> None:
    """Files of settings with secrets in them: checks, errors and watching."""
    for place, text in _WRONG_FILES.items():
        value = sweep.canary(place)
        path = sweep.folder / "home" / "tryage.toml"
        words = {"secret": json.dumps(value), "url": as_url_part(value), "plain": value}
        path.write_text(text.format(**words))
        command(sweep, "config", "check", str(path))
        command(sweep, "route", "Hi", "--config", str(path))
        attempt(sweep, "settings", partial(Router.from_config, path))
        attempt(sweep, "settings of a chat model", partial(_chat_of, path))
        path.unlink()


def _chat_of(path: Path) -> Any:
    from tryage_langchain import ChatTryage

    return ChatTryage.from_config(path)


def settings_variables(sweep: Sweep) -> None:
    """Make everything of settings whose secrets come from variables."""
    from tryage_langchain import ChatTryage

    key, password = sweep.canary("api_key_env"), sweep.canary("${VARIABLE} in the log's url")
    with model_server(sweep, "the model", "api_key_env") as server:
        path = sweep.folder / "tryage.toml"
        path.write_text(
            "".join(
                f'[[models]]\nname = "{name}"\nmodel = "openai:gpt-5.4-mini"\n'
                f'api_key_env = "HOUSE_KEY"\nbase_url = "{server.url}/v1"\n'
                "settings = {max_retries = 0}\n"
                for name in NAMES
            )
            + '[traffic]\nurl = "postgresql://me:${HOUSE_PASSWORD}@127.0.0.1:9/db"\n'
        )
        with sweep.environment(HOUSE_KEY=key, HOUSE_PASSWORD=as_url_part(password)):
            chat = ChatTryage.from_config(path, watch=True)
            ask_in_all_ways(sweep, chat, [server])
            sweep.add("repr", f"{chat!r} {chat.model_dump()} {chat._configured!r}")  # noqa: SLF001 - all that can be printed
            path.write_text(path.read_text() + "\n[router]\nno = 1\n")
            chat.reload()
            sweep.add_pickle("pickle", chat)
            command(sweep, "config", "check", str(path))
            chat.close()


# The Hub -----------------------------------------------------------------------------------------


def quoting(how: str, status: int) -> Callable[..., FakeResponse]:
    """Return a fault of the Hub that quotes the token in its body and in a header."""

    def answer(request: FakeRequest, _: object) -> FakeResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        words = f"We cannot serve {QUOTES[how](token)} here."
        headers = {"Content-Type": "application/json"}
        if words.isascii() and words.isprintable():
            headers["X-Error-Message"] = words
        return FakeResponse(status, json.dumps({"error": words}).encode(), headers)

    return answer


def as_header(value: str) -> str:
    """Return a secret without the characters that a header or a token of the Hub cannot have."""
    return value.replace(" ", "").replace("\\", "")


def hub_commands(sweep: Sweep) -> None:
    """Sync, search, push and load against a Hub that quotes the token in its errors."""
    from tryage.testing import LocalHub

    token = as_header(sweep.canary("HF_TOKEN"))
    with LocalHub(token=token) as hub, hub.patched(sweep.folder / "cache"):
        hub.add("org/model", downloads=10, pipeline_tag="text-generation", tags=["license:mit"])
        with sweep.environment(TRYAGE_HOME=str(sweep.folder / "tryage")):
            command(sweep, "hub", "sync", "--limit", "5")
            command(sweep, "hub", "search", "model")
            router = Router.from_pretrained()
            attempt(sweep, "push", partial(router.push_to_hub, "tester/r"))
            attempt(sweep, "load", partial(Router.from_pretrained, "tester/r"))
            for how in ("as it is", "as Base64"):
                for status in (401, 400):
                    hub.clear_faults()
                    hub.fail(quoting(how, status), times=None)
                    command(sweep, "hub", "sync", "--limit", "5")
                    attempt(sweep, "push", partial(router.push_to_hub, "tester/s"))
                    attempt(sweep, "push", partial(router.push_to_hub, "tester/s", token=token))
                    attempt(sweep, "load", partial(Router.from_pretrained, "tester/s"))
                    attempt(sweep, "load", partial(Router.from_pretrained, "tester/s", token=token))
                    attempt(sweep, "Hub", partial(Router.from_hub, limit=2))
    for request in hub.requests:
        sweep.add_request("requests of the Hub", request, frozenset({"HF_TOKEN"}))


def hub_addresses(sweep: Sweep) -> None:
    """Passwords in the addresses of the Hub, of a proxy and of a snapshot of models."""
    url = "http://me:{}@127.0.0.1:9"
    secrets = {
        name: url.format(as_url_part(sweep.canary(name))) for name in ("HF_ENDPOINT", "HTTPS_PROXY")
    }
    command_words = ("hub", "sync", "--limit", "1")
    with sweep.environment(HF_ENDPOINT=secrets["HF_ENDPOINT"]):
        command(sweep, *command_words)
    with sweep.environment(HTTPS_PROXY=secrets["HTTPS_PROXY"], HF_HUB_ETAG_TIMEOUT="1"):
        command(sweep, *command_words)
        attempt(sweep, "load", partial(Router.from_pretrained, "org/router"))
        command(sweep, "models", "update", "https://127.0.0.1:9/models.json.gz")
    presigned = f"?sig={as_url_part(sweep.canary('query of a snapshot'))}&n=1"
    plain = f"?t={as_url_part(sweep.canary('query of no known name'))}"
    with LoopbackServer(lambda _: FakeResponse(403, b"no")) as server:
        for query in (presigned, plain):
            command(sweep, "models", "update", f"{server.url}/models.json.gz{query}")
    with LoopbackServer(lambda _: FakeResponse(200, b"no")) as server:
        for query in (presigned, plain):
            command(sweep, "models", "update", f"{server.url}/models.json.gz{query}")


# The log of the traffic --------------------------------------------------------------------------

_URLS = {
    "password of the log": "postgresql://me:{}@127.0.0.1:9/db",
    "password in the query": "postgresql://me@127.0.0.1:9/db?password={}",
    "password of an unknown kind": "mysql://me:{}@127.0.0.1:9/db",
    "password with a wrong port": "postgresql://me:{}@127.0.0.1:port/db",
    "password without a host": "postgresql://me:{}",
}


def traffic_addresses(sweep: Sweep) -> None:
    """Use logs with a password in their URL: errors, commands, representations and pickles."""
    from tryage.traffic.traffic import Traffic

    for place, pattern in _URLS.items():
        url = pattern.format(as_url_part(sweep.canary(place)))
        log = attempt(sweep, "log", partial(Traffic, url, timeout=0.1))
        if log is not None:
            sweep.add("repr", f"{log!r} {log._database!r} {log._writer!r}")  # noqa: SLF001 - all that can be printed
            sweep.add_pickle("pickle of a log", log)
            router = make_router()
            router = Router(router.perception, traffic=log)
            router.route("Hi")
            log.flush(0.2)
            sweep.add("repr", repr(router))
            sweep.add_pickle("pickle of a router", router)
            attempt(sweep, "feedback", partial(router.feedback, "x", 1.0))
            attempt(sweep, "learning", partial(router.learned_since, 0.0))
            log.close(0.2)
        for words in (("show",), ("export", "x.jsonl"), ("prune", "--days", "1")):
            command(sweep, "traffic", *words, "--traffic", url)
        command(sweep, "report", "--traffic", url, "-o", "report.html")


# Measuring ---------------------------------------------------------------------------------------


def measuring(sweep: Sweep) -> None:
    """Scoring and onboarding models whose server quotes the key: tables, journals and errors."""
    from langchain_openai import ChatOpenAI

    from tryage.onboarding.config import OnboardingConfig
    from tryage.scoring import score
    from tryage.scoring.answers import GenerationMeasurer

    with model_server(sweep, "the model", "key of a measured model") as server:
        model = ChatOpenAI(
            model="gpt-5.4-mini",
            base_url=f"{server.url}/v1",
            api_key=sweep.canary("key of a measured model"),
            max_retries=0,
        )
        for i, quotes in enumerate((*QUOTES, None)):
            server.quotes, server.status = quotes, 400
            measurer = GenerationMeasurer("m", model, lambda *_: 1.0, retries=0)
            run = partial(score, ["Hi", "Ho"], [measurer], f"table{i}", progress=False)
            sweep.add("report of a score", attempt(sweep, "score", run))
            own = OnboardingConfig(questions=(), rivals=False)
            router = Router.from_pretrained()
            onboard = partial(
                router.onboard_models,
                {"new": model},
                prompts=[{"prompt": "Hi", "answer": "Yes."}],
                config=own,
                journal=Path(f"journal{i}.jsonl"),
                progress=False,
            )
            found = attempt(sweep, "onboard", onboard)
            if found is not None:
                sweep.add("report of onboarding", f"{found[1]!r} {found[1]}")
                found[0].save_pretrained(f"taught{i}")


# Telemetry and the playground --------------------------------------------------------------------

_TRACED = """
from tryage import Router
from tryage.telemetry.environment import instrument_from_environment
instrument_from_environment()
Router.from_pretrained().route("Hi")
"""


def telemetry_exporters(sweep: Sweep) -> None:
    """Export to a collector with a key, which quotes it in its refusal."""
    knows = ("OTEL_EXPORTER_OTLP_HEADERS",)
    headers = f"x-corp={as_url_part(sweep.canary(*knows))}"
    requests: list[FakeRequest] = []

    def collect(request: FakeRequest) -> FakeResponse:
        requests.append(request)
        return FakeResponse(403, f"no {request.headers.get('X-Corp')}".encode())

    with LoopbackServer(collect) as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": headers,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OPENAI_API_KEY": sweep.canary("OPENAI_API_KEY"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            [sys.executable, "-c", _TRACED], env=variables, capture_output=True, check=False
        )
    lines = [line for line in done.stderr.splitlines() if b"export" not in line]
    sweep.add("output of a traced program", done.stdout + b"\n".join(lines))
    sweep.add("log of opentelemetry", done.stderr)
    for request in requests:
        sweep.add_request("requests of the collector", request, frozenset(knows))


def playground_page(sweep: Sweep) -> None:
    """Open the playground with a prompt and files with keys: pages, addresses and logs."""
    from starlette.testclient import TestClient

    from tryage_playground import create_app

    prompt = sweep.canary("prompt of the playground")
    library = [{"name": "m", "input_price": 1.0, "api_key": sweep.canary("key in a library")}]
    client = TestClient(create_app(), base_url="http://localhost")
    answer = client.post("/results", data={"prompt": f"{prompt} Hello", "model": ["gpt-5.4"]})
    sweep.add("address of the playground", answer.headers)
    for name, content in (("l.json", json.dumps(library)), ("t.csv", f"prompt\n{prompt}")):
        for kind in ("library", "table"):
            file = {"file": (name, content.encode())}
            done = client.post(f"/load/{kind}", files=file, data={"prompt": prompt})
            sweep.add("address of the playground", done.headers)
    for path in ("/", "/static/none"):
        sweep.add("page of the playground", client.get(path).text)


# Prompts -----------------------------------------------------------------------------------------

PROMPT_PLACES = ("system prompt", "prompt", "flag", "answer of a tool", "prompt of the shell")


def prompts(sweep: Sweep) -> None:
    """Canaries as prompts: they are in no log, file, pickle, record, repr or trace of Tryage."""
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    from tryage.testing import MemoryTelemetry
    from tryage_langchain import ChatTryage

    said = {place: sweep.canary(place) for place in PROMPT_PLACES}
    call = {"name": "look", "args": {}, "id": "1"}
    messages = [
        SystemMessage(said["system prompt"]),
        HumanMessage(f"{said['prompt']} [Flag: model={said['flag']}] small"),
        AIMessage("", tool_calls=[call]),
        ToolMessage(said["answer of a tool"], tool_call_id="1"),
    ]
    url = f"sqlite:///{sweep.folder}/prompts.db"
    with (
        MemoryTelemetry() as telemetry,
        model_server(sweep, "the model", *PROMPT_PLACES) as server,
    ):
        model = ChatOpenAI(model="m", base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        base = make_router()
        router = Router(base.perception, prompt_flags=True)
        chat = ChatTryage.from_models(dict.fromkeys(NAMES, model), router=router, traffic=url)
        for given in (messages, messages[:2]):
            for server.quotes in (None, "as it is"):
                for ask in (chat.invoke, lambda one: list(chat.stream(one))):
                    _ask_about(sweep, ask, given)
        sweep.add("repr", f"{chat!r} {chat._session!r} {chat.route(messages)!r}")  # noqa: SLF001 - all that can be printed
        sweep.add("health", chat.health())
        sweep.add("pickle of ChatTryage", pickle.dumps(chat._session.chat_router))  # noqa: SLF001 - its clients hold connections
        sweep.add("spans", " ".join(span.to_json() for span in telemetry.spans()))
        sweep.add("metrics", telemetry.metrics_json())
        chat.traffic.close()
    _route_prompts(sweep, said["prompt"], said["flag"])
    command(sweep, "traffic", "export", "prompts.jsonl", "--traffic", url)


def _ask_about(sweep: Sweep, ask: Callable[[Any], Any], messages: Any) -> None:
    """Keep the record of an answer; errors of servers quote prompts, which is theirs to do."""
    with suppress(Exception):
        answers = ask(messages)
        for one in answers if isinstance(answers, list) else [answers]:
            sweep.add("record of an answer", one.response_metadata.get("tryage"))


def _route_prompts(sweep: Sweep, prompt: str, flag: str) -> None:
    """Route with the bundled router; what it saves and pickles is free of the prompt."""
    with LoopbackServer(lambda _: FakeResponse(200, b"")):
        router = Router.from_pretrained(traffic="sqlite:///routed.db", prompt_flags=True)
        for text in (prompt, f"{prompt} [Flag: model={flag}]"):
            with suppress(TryageError):
                router.route(text)
        router.route_batch([prompt] * 3)
        sweep.add("pickle of a router", pickle.dumps(router))
        sweep.add("repr", repr(router))
        router.save_pretrained("saved")
        router.traffic.close()


OPERATION_RUNS = (
    settings_files,
    settings_variables,
    hub_commands,
    hub_addresses,
    traffic_addresses,
    measuring,
    telemetry_exporters,
    playground_page,
    prompts,
)
