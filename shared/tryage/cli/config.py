"""`tryage config`: check a file of settings, and print the schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import EXIT_FAILED, ConfigPath, JsonFlag
from tryage.cli.outputs import check_output_file
from tryage.cli.terminal import echo, echo_json
from tryage.config.code import import_object
from tryage.core.presets import DEFAULT_PRESET
from tryage.core.validation import require_extra
from tryage.errors import ConfigError
from tryage.files import write_text

if TYPE_CHECKING:
    from tryage.chat.configured import ConfiguredRouter
    from tryage.config.load import LoadedConfig
    from tryage.core.preferences import Preferences

app = typer.Typer(
    help="Check tryage.toml, the file of settings, and help editors with it.", no_args_is_help=True
)

FilePath = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]", help="By default tryage.toml or pyproject.toml here or above."
    ),
]


@app.command()
def check(file: FilePath = None, config: ConfigPath = None, as_json: JsonFlag = False) -> None:
    """Tell what is wrong with a file, all at once and each with its line; no model is asked.

    The whole router is made: the models, the policies, the log and the files that it names.
    """
    from tryage.chat.configured import configure
    from tryage.config.load import load_config

    try:
        configured = configure(load_config(file or config))
        _import_code(configured.loaded)
    except ConfigError as error:
        for problem in error.problems:
            if as_json:
                echo_json(problem._asdict())
            else:
                echo(str(problem), err=True)
        raise typer.Exit(EXIT_FAILED) from error
    if not as_json:
        for line in _summary(configured):
            echo(line)


@app.command()
def schema(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", callback=check_output_file, help="Write it here."
        ),
    ] = None,
) -> None:
    """Print the JSON schema of tryage.toml, with which editors complete and check it.

    The first line of the file names it for Even Better TOML and taplo: #:schema ./FILE.
    """
    require_extra("pydantic", "config")
    from tryage.config.schema_file import json_schema

    if output is None:
        typer.echo(json_schema(), nl=False)
        return
    write_text(output, json_schema())
    echo(f"Written to {output}. The first line of tryage.toml names it: #:schema ./{output.name}")


def _import_code(loaded: LoadedConfig) -> None:
    """Import what tables name as code, which only chat models need.

    Raises:
        ConfigError: something is not there.
    """
    for i, table in enumerate(loaded.config.models):
        if table.client is not None:
            with loaded.at("models", i, "client"):
                import_object(table.client, loaded.folder_of("models", i))
    if loaded.config.chat.judge is not None:
        with loaded.at("chat", "judge"):
            import_object(loaded.config.chat.judge, loaded.folder)


def _summary(configured: ConfiguredRouter) -> list[str]:
    """Say what the settings mean."""
    router, loaded = configured.router, configured.loaded
    names = router.library.names
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    policies = [repr(policy) for policy in configured.policies]
    traffic = router.traffic
    lines = {
        "models": shown,
        "preferences": _describe(router.preferences),
        "default": router.default or "none",
        "policies": " | ".join(policies) or "none",
        "log": "none" if traffic is None else repr(traffic),
    }
    return [f"{loaded.path} is valid.", *(f"  {name:<12} {text}" for name, text in lines.items())]


def _describe(preferences: Preferences) -> str:
    """Write preferences on one line: numbers, weights and requirements, as they are given."""
    said = preferences.to_dict()
    weights, _ = said.pop("weights"), said.pop("requirements")
    words = [f"{name}={value}" for name, value in {**said, **weights}.items()]
    words += [requirement.describe() for requirement in preferences.requirements]
    if not preferences.has_trade_off:
        words.insert(0, f"{DEFAULT_PRESET}, as nothing is said of what an answer may cost")
    return ", ".join(words)
