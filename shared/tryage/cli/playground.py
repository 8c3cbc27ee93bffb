"""`tryage playground`: a page to try prompts, preferences and policies on."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.options import RouterPath, load_router
from tryage.cli.terminal import echo, echo_error
from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SQLITE = "sqlite:///"


def playground(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODELS", help="Compared at first, such as gpt-5.4 claude-opus-5."),
    ] = None,
    router: RouterPath = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A Q-table: measured beside predicted.")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Facts about models: JSON, JSONL or CSV.")
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(metavar="FILE", help="A log in SQLite: shows what was learned.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where it listens; others than this computer need no password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 is any free one.")] = 8_321,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which it may be opened, beside its address."),
    ] = None,
    max_upload: Annotated[
        int, typer.Option(min=1_000, help="Bytes of a file that is loaded, at most.")
    ] = 20_000_000,
) -> None:
    """Open a page that shows which model answers a prompt, and why.

    No model is asked, and nothing leaves this computer. Stop it with Ctrl-C.
    """
    require_extra("fastapi", "playground")
    require_extra("uvicorn", "playground")
    # by name, because the library imports no framework
    run = import_module("tryage_playground.run")
    package = import_module("tryage_playground")
    settings = package.PlaygroundSettings(
        **({"models": models} if models else {}),
        allowed_hosts=allowed_host or (),
        max_body=max_upload,
        router=router,
    )
    loaded = None if router is None else load_router(router, prompt_flags=True)
    app = package.create_app(loaded, settings, _read_files(table, library, traffic))
    if (warning := run.describe_reach(host)) is not None:
        echo_error(warning)
    run.serve(app, host=host, port=port, announce=_announce)


def _announce(address: str) -> None:
    echo(f"The playground is at {address} - stop it with Ctrl-C.")


def _read_files(table: Path | None, library: Path | None, traffic: str | None) -> Mapping[str, Any]:
    """Return the names and contents of the files that the page opens with, by kind.

    Raises:
        InputError: one of them cannot be read.
    """
    found = {}
    for kind, path in (("table", table), ("library", library)):
        if path is not None:
            found[kind] = (path.name, _read(path))
    if traffic is not None:
        if "://" in traffic and not traffic.startswith(_SQLITE):
            raise InputError(
                f"--traffic {traffic.partition(':')[0]}: only a file of SQLite can be shown."
            )
        path = Path(traffic.removeprefix(_SQLITE))
        read = import_module("tryage_playground.files").read_traffic_file
        found["traffic"] = (path.name, read(path))
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
