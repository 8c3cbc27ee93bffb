"""`tryage serve`: a server of OpenAI's protocol in front of several models."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from tryage.cli.onboard import read_candidates
from tryage.cli.options import RouterPath, load_router
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.telemetry.environment import instrument_from_environment

_FILES = (".toml", ".json")


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODELS...",
            help='Strings such as "openai:gpt-5.6", or one TOML or JSON file as for onboard.',
        ),
    ],
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
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 is any free one.")] = 8_000,
    deadline: Annotated[
        float, typer.Option(min=0.001, help="Seconds for an answer, over all models.")
    ] = 600.0,
    max_requests: Annotated[
        int, typer.Option(min=1, help="How many are answered at the same time.")
    ] = 200,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request at most.")] = 10_000_000,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Show metrics for Prometheus at /metrics.")
    ] = False,
) -> None:
    """Answer requests of OpenAI's protocol: each goes to the right one of several models.

    Clients send one of the keys in the variable TRYAGE_SERVER_KEYS (divided by commas). Without
    keys, it listens on this computer alone. The keys of providers come from their own variables.
    Spans and metrics go where the variables of OpenTelemetry say, such as
    OTEL_EXPORTER_OTLP_ENDPOINT.
    """
    require_extra("fastapi", "server")
    require_extra("langchain.chat_models", "agents")
    # by name, because the library imports no framework
    server, run = import_module("tryage_server.settings"), import_module("tryage_server.run")
    settings = server.ServerSettings(
        keys=server.keys_from_environment(),
        max_body=max_body,
        metrics=metrics,
        max_requests=max_requests,
        deadline=deadline,
    )
    run.check_address(host, settings)
    instrument_from_environment(prometheus=metrics)
    chat = _make_chat(
        models,
        router=None if router is None else load_router(router),
        preferences=preset,
        default=default,
        traffic=traffic,
    )
    run.serve(chat, settings, host=host, port=port)


def _make_chat(models: list[str], **settings: Any) -> Any:  # noqa: ANN401 - a ChatTryage, which the library does not import
    """Return the chat model over strings, or over the models of a file.

    Raises:
        InputError: a model or a setting is wrong.
    """
    from pydantic import ValidationError

    chat = import_module("tryage_langchain").ChatTryage
    given = {name: value for name, value in settings.items() if value is not None}
    sources: Any = models
    if len(models) == 1 and Path(models[0]).suffix.lower() in _FILES:
        candidates = read_candidates(Path(models[0]))
        sources = {one.expert.name: one.client for one in candidates}
        given["experts"] = [one.expert for one in candidates]
    try:
        return chat.from_models(sources, **given)
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise InputError("; ".join(problems)) from None
