"""Run the server with uvicorn: where it listens, and how it stops."""

from __future__ import annotations

import logging
import pickle
import warnings
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tryage
from tryage.core.redaction import describe_error
from tryage.core.validation import check_integer, is_loopback, require_extra
from tryage.errors import InputError, TryageError
from tryage.sockets import listen
from tryage.telemetry.environment import instrument_from_environment
from tryage_server.app import create_app
from tryage_server.settings import KEYS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    import uvicorn
    from fastapi import FastAPI

    from tryage_langchain.chat import ChatTryage
    from tryage_server.settings import ServerSettings

_log = logging.getLogger(__name__)

# The library and this package, which quote no prompt and no answer.
_OWN_FOLDERS = (Path(tryage.__file__).parent, Path(__file__).parent)

# A worker imports LangChain before it answers its parent, which ends those that do not answer.
_WORKER_SECONDS = 30


def serve(  # noqa: PLR0913 - where it listens, and what it serves
    chat: ChatTryage,
    settings: ServerSettings,
    *,
    host: str,
    port: int,
    workers: int = 1,
    make_chat: Callable[[], ChatTryage] | None = None,
) -> None:
    """Answer requests until the process is told to stop; then let answers end.

    With several `workers`, as many processes listen at the same address, and one that ends is
    replaced. Each has what `make_chat` returns, which may follow a file, else a copy of `chat`.

    Raises:
        InputError: others than this computer could ask without a key, a model cannot be made,
            nothing can listen there, or with several workers, `chat` cannot be sent to them or
            metrics are asked for.
        MissingExtraError: uvicorn is not installed.
    """
    require_extra("uvicorn", "server")
    import uvicorn

    check_address(host, settings)
    check_models(chat)
    listen(host, port).close()  # uvicorn would end without a word of what to do
    make_worker_app = partial(_make_worker_app, make_chat=make_chat)
    make_app = create_app if workers == 1 else make_worker_app
    config = uvicorn.Config(
        partial(make_app, chat, settings),
        factory=True,  # each process makes its own application
        host=host,
        port=port,
        workers=check_integer("workers", workers, 1),
        timeout_worker_healthcheck=_WORKER_SECONDS,
        log_level="info",
        access_log=False,  # addresses may hold keys
        timeout_graceful_shutdown=max(round(settings.stop_seconds), 1),
    )
    with warnings.catch_warnings():
        warnings.showwarning = _log_warning
        if workers == 1:
            uvicorn.Server(config).run()
        else:
            check_workers(chat, settings)
            _run_workers(config)


def _log_warning(  # noqa: PLR0913 - as `warnings.showwarning`
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - `warnings` passes it
    line: str | None = None,  # noqa: ARG001 - the same
) -> None:
    """Log where a package warns of something, but not its words, which may quote an answer."""
    place = Path(filename)
    is_own = any(place.is_relative_to(folder) for folder in _OWN_FOLDERS)
    words = str(message) if is_own else f"{category.__name__} of {place.parent.name}/{place.name}"
    _log.warning("%s (line %d)", words, lineno)


def _make_worker_app(
    chat: ChatTryage, settings: ServerSettings, make_chat: Callable[[], ChatTryage] | None = None
) -> FastAPI:
    """Return the application of one of several processes, with telemetry of its own."""
    warnings.showwarning = _log_warning  # this process has warnings of its own
    instrument_from_environment()
    return create_app(chat if make_chat is None else _made_or_copied(make_chat, chat), settings)


def _made_or_copied(make_chat: Callable[[], ChatTryage], chat: ChatTryage) -> ChatTryage:
    """Return a chat model of this process; of a file that is wrong now, the copy that is valid."""
    try:
        return make_chat()
    except TryageError as error:
        _log.warning(
            "This worker keeps the last valid settings until SIGHUP, because the new ones are "
            "wrong.\n%s",
            error,
        )
        return chat


def _run_workers(config: uvicorn.Config) -> None:
    """Run the processes of a server; they share one socket, so the system divides connections."""
    from uvicorn.supervisors import Multiprocess

    with closing(config.bind_socket()) as listener:
        Multiprocess(config, [listener]).run()


def check_workers(chat: ChatTryage, settings: ServerSettings) -> None:
    """Raise if a chat model cannot be served by several processes.

    Raises:
        InputError: it cannot be sent to them, or the metrics of one of them are asked for.
    """
    if settings.metrics:
        raise InputError(
            "Each worker has metrics of its own, and /metrics would show those of any. Export them "
            "with OTEL_EXPORTER_OTLP_ENDPOINT, or run one worker."
        )
    try:
        pickle.dumps(chat)
    except Exception as error:  # noqa: BLE001 - each object raises its own
        raise InputError(
            f"The models cannot be sent to several workers ({describe_error(error)}). Name them by "
            "strings such as openai:gpt-5.6, or run one worker."
        ) from None


def check_address(host: str, settings: ServerSettings) -> None:
    """Raise if others than this computer could ask without a key.

    Raises:
        InputError: they could.
    """
    if settings.keys or is_loopback(host):
        return
    raise InputError(
        f"Everyone could ask at {host}: set {KEYS_VARIABLE} to one or more keys of 16 characters "
        "or more, divided by commas, or listen on 127.0.0.1."
    )


def check_models(chat: ChatTryage) -> None:
    """Make the client of every model, so that a missing key is known before anybody asks.

    Raises:
        InputError: some cannot be made.
    """
    clients, problems = chat._clients, []  # noqa: SLF001 - a package of the same project
    for name in clients:
        try:
            clients.get_client(name)
        except Exception as error:  # noqa: BLE001, PERF203 - each client's package raises its own
            problems.append(f"{name}: {describe_error(error)}")
    if problems:
        listed = "\n  ".join(problems)
        raise InputError(
            f"These models cannot be asked:\n  {listed}\nSet the keys of their providers, install "
            "the packages, correct the names, or leave the models out."
        )
