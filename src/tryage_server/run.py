"""Run the server with uvicorn: where it listens, and how it stops."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from tryage.core.redaction import describe_error
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage_server.app import create_app
from tryage_server.settings import KEYS_VARIABLE

if TYPE_CHECKING:
    from tryage_langchain.chat import ChatTryage
    from tryage_server.settings import ServerSettings


def serve(chat: ChatTryage, settings: ServerSettings, *, host: str, port: int) -> None:
    """Answer requests until the process is told to stop; then let answers end.

    Raises:
        InputError: others than this computer could ask without a key, or a model cannot be made.
        MissingExtraError: uvicorn is not installed.
    """
    require_extra("uvicorn", "server")
    import uvicorn

    check_address(host, settings)
    check_models(chat)
    config = uvicorn.Config(
        create_app(chat, settings),
        host=host,
        port=port,
        log_level="info",
        access_log=False,  # addresses may hold keys
        timeout_graceful_shutdown=max(round(settings.stop_seconds), 1),
    )
    uvicorn.Server(config).run()


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


def is_loopback(host: str) -> bool:
    """Tell whether only this computer reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # another name
        return False
