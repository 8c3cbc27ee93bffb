"""Run the playground with uvicorn, by default for this computer alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.validation import is_loopback, require_extra
from tryage.sockets import listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

DEFAULT_HOST = "127.0.0.1"


def describe_reach(host: str) -> str | None:
    """Return what others than this computer can do at an address, None if they do not reach it."""
    if is_loopback(host):
        return None
    return (
        f"Everyone who reaches {host} can open the page, load files into it and see those that are "
        f"loaded: there is no password. Without --host only this computer can ({DEFAULT_HOST})."
    )


def serve(app: FastAPI, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Answer requests until the process is told to stop.

    `announce` is called with the address when the page can be opened.

    Raises:
        InputError: nothing can listen there.
        MissingExtraError: uvicorn is not installed.
    """
    require_extra("uvicorn", "playground")
    import uvicorn

    listener = listen(host, port)
    config = uvicorn.Config(app, log_level="warning", access_log=False)  # a link may hold a prompt
    shown = f"[{host}]" if ":" in host else host
    announce(f"http://{shown}:{listener.getsockname()[1]}/")
    uvicorn.Server(config).run(sockets=[listener])
