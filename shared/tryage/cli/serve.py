"""`tryage serve`: a server of OpenAI's protocol in front of several models."""

from __future__ import annotations

import signal
import threading
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.options import ConfigPath, RouterPath, load_router, said_only
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.telemetry.environment import instrument_from_environment

if TYPE_CHECKING:
    from tryage.config.document import Overrides
    from tryage.config.schema import ServerTable

_FILES = (".toml", ".json")

_SQLITE = "sqlite:///"

# A preset replaces these keys of a file, which would otherwise replace what the preset says.
_TRADE_OFF = dict.fromkeys(("answer_value", "latency_value", "tolerance"))


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODELS]...",
            help='Strings such as "openai:gpt-5.6", or one TOML or JSON file as for --config.',
        ),
    ] = None,
    config: ConfigPath = None,
    router: RouterPath = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="best, balanced (default) or thrifty.")
    ] = None,
    default: Annotated[
        str | None, typer.Option(metavar="NAME", help="Answers if no choice is possible.")
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(metavar="URL", help="The log, such as sqlite:///tryage.db.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Where it listens; 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="8000; 0 is any free one.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds for an answer, over all models; 600.")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="How many each process answers at a time; 200.")
    ] = None,
    max_body: Annotated[
        int | None, typer.Option(min=1, help="Bytes of a request at most; 10,000,000.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Show metrics for Prometheus at /metrics.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with limits and cool-downs of its own.")
    ] = 1,
) -> None:
    """Answer requests of OpenAI's protocol: each goes to the right one of several models.

    Options replace what the file says. A file that changes is in force at once, or after SIGHUP;
    one that is wrong changes nothing. Clients send one of the keys in the variable
    TRYAGE_SERVER_KEYS (divided by commas). Without keys, it listens on this computer alone. The
    keys of providers come from their own variables. Spans and metrics go where the variables of
    OpenTelemetry say, such as OTEL_EXPORTER_OTLP_ENDPOINT.
    """
    require_extra("fastapi", "server")
    require_extra("langchain.chat_models", "agents")
    # by name, because the library imports no framework
    server, run = import_module("tryage_server.settings"), import_module("tryage_server.run")
    file, strings = _sources(models or [], config)
    limits = {"deadline": deadline, "max_requests": max_requests, "max_body": max_body}
    said = said_only({"host": host, "port": port, "metrics": metrics or None, **limits})
    table = _server_table(file, said)
    words = ("deadline", "max_requests", "max_delay", "max_body", "stop_seconds", "metrics")
    settings = server.ServerSettings(
        keys=server.keys_from_environment(), **{word: getattr(table, word) for word in words}
    )
    run.check_address(table.host, settings)
    instrument_from_environment(prometheus=table.metrics)
    if file is None:
        loaded = None if router is None else load_router(router)
        make_chat = None  # a copy in each worker is the same
        chat = _chat_of_strings(
            strings, router=loaded, preferences=preset, default=default, traffic=traffic
        )
    else:
        make_chat = partial(_chat_of_file, file, _overrides(router, preset, default, traffic))
        chat = make_chat()
    address = {"host": table.host, "port": table.port}
    run.serve(chat, settings, **address, workers=workers, make_chat=make_chat)


def _sources(models: list[str], config: str | None) -> tuple[str | None, list[str]]:
    """Return the file of settings, or the strings that name models.

    Raises:
        InputError: there are both, or neither, or a file is not alone.
    """
    files = [model for model in models if Path(model).suffix.lower() in _FILES]
    if (config is None) == (not models):
        raise InputError(
            'Give models, such as "openai:gpt-5.6", or a file of settings with --config, and not '
            "both."
        )
    if files and len(models) > 1:
        raise InputError(
            f"{files[0]} is a file of settings: it stands alone, and names all models."
        )
    return (files[0], []) if files else (config, models)


def _server_table(file: str | None, said: dict[str, object]) -> ServerTable:
    """Return where the server listens, and its limits: of the options, else of the file."""
    from tryage.config.load import load_config
    from tryage.config.schema import ServerTable

    if file is None:
        return ServerTable.model_validate(said)
    return load_config(file, overrides={"server": said}).config.server


def _overrides(
    router: str | None, preset: str | None, default: str | None, traffic: str | None
) -> Overrides:
    """Return what the options replace in the file; their paths are relative to this folder."""
    path = None if traffic is None else traffic.removeprefix(_SQLITE)
    if path is not None and path != traffic and path not in ("", ":memory:"):
        traffic = f"{_SQLITE}{Path.cwd() / path}"
    return {
        "router": said_only({"path": router, "default": default}),
        "preferences": {} if preset is None else {**_TRADE_OFF, "preset": preset},
        "traffic": said_only({"url": traffic}),
    }


def _chat_of_file(file: str, overrides: Overrides) -> Any:  # noqa: ANN401 - a ChatTryage, which the library does not import
    """Return the chat model of a file, which follows its changes and SIGHUP."""
    chat = import_module("tryage_langchain").ChatTryage.from_config(
        file, watch=True, overrides=overrides
    )
    if hasattr(signal, "SIGHUP"):
        # A handler interrupts whatever runs, which may hold the lock of a log.
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=chat.reload).start())
    return chat


def _chat_of_strings(models: list[str], **settings: Any) -> Any:  # noqa: ANN401 - as above
    """Return the chat model over strings.

    Raises:
        InputError: a model or a setting is wrong.
    """
    from pydantic import ValidationError

    given = {name: value for name, value in settings.items() if value is not None}
    try:
        return import_module("tryage_langchain").ChatTryage.from_models(models, **given)
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise InputError("; ".join(problems)) from None
