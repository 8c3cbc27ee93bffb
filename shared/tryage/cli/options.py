"""What the commands share: their options, how they read their inputs, and how they print tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tryage.errors import FlagError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.preferences import Preferences, Requirement
    from tryage.perception.encoder import Encoder
    from tryage.router import Router

STDIN = "-"

EXIT_INTERRUPTED = 130  # the exit code of a program that Ctrl-C stopped

Prompts: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="PROMPT", help="The prompts; '-' reads one per line from stdin."),
]

Weights: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--weight", "-w", metavar="NAME=NUMBER", help="How much a constraint counts: cost=0.3"
    ),
]

Requirements: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        "-r",
        metavar="ITEM",
        help="What an expert must satisfy, as in a flag: 'size<3B', 'license=mit|apache-2.0'",
    ),
]

Flags: TypeAlias = Annotated[
    bool, typer.Option("--flags", help="Obey flags such as [Flag: smallest model] in the prompts.")
]

RouterPath: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--router", metavar="PATH", help="A saved router or a Hub id; the bundled one by default."
    ),
]

JsonFlag: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs, one object per line.")
]

QTablePath: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="QTABLE",
        help="Rows of prompt, expert, and loss or score: a .parquet, .csv or .jsonl file, or a "
        "folder of shards.",
    ),
]

LossColumn: TypeAlias = Annotated[
    str,
    typer.Option(
        "--loss",
        metavar="COLUMN",
        help="The column of the losses; loss_per_char compares models with different tokenizers.",
    ),
]

MergeNames: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--merge-names",
        help="Make one expert of those whose names differ in case alone, with their mean loss.",
    ),
]

ScoreScale: TypeAlias = Annotated[
    float, typer.Option("--score-scale", metavar="MAX", help="The best possible score.")
]

EncoderPath: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--encoder", metavar="DIR", help="A saved encoder or router; the bundled one by default."
    ),
]

Seed: TypeAlias = Annotated[int, typer.Option(help="The same seed gives the same result.")]

OutputFolder: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to save the result to.")
]


def read_prompts(arguments: list[str]) -> list[str]:
    """Return the prompts; the lines of stdin that are not blank replace '-'.

    Raises:
        InputError: there is no prompt.
    """
    prompts: list[str] = []
    for prompt in arguments:
        prompts += _read_stdin() if prompt == STDIN else [prompt]
    if not prompts:
        raise InputError("No prompt was given. Write one in quotes, or one per line to stdin.")
    return prompts


def _read_stdin() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """Read JSON lines.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    rows = [_parse_row(path, number, line) for number, line in enumerate(lines, start=1)]
    return [row for row in rows if row is not None]


def _parse_row(path: Path, number: int, line: str) -> dict[str, object] | None:
    """Parse a line; a blank one and the JSON value null are no row."""
    try:
        row = json.loads(line) if line.strip() else None
    except ValueError as error:
        raise InputError(f"{path}, line {number} is not JSON: {error}") from error
    if row is not None and not isinstance(row, dict):
        raise InputError(f"{path}, line {number} is not a JSON object: {line[:60]}")
    return row


def parse_preferences(
    weights: Iterable[str] | None, requirements: Iterable[str] | None
) -> Preferences:
    """Read `--weight` and `--require`.

    Raises:
        InputError: a weight is not NAME=NUMBER, or an item is not a requirement.
    """
    from tryage.core.preferences import Preferences

    return Preferences(
        dict(map(_parse_weight, weights or ())), map(_parse_requirement, requirements or ())
    )


def _parse_weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError as error:
        raise InputError(f"--weight {text!r} is not NAME=NUMBER, such as cost=0.3.") from error


def _parse_requirement(text: str) -> Requirement:
    """Read an item with the grammar of flags: the command line has no grammar of its own."""
    from tryage.core.flag_items import closest_form, parse_item

    item = parse_item(text)
    if item is not None and item.weight is not None:
        name, weight = item.weight
        raise FlagError(f"--require {text!r} is a weight; write --weight {name}={weight:g}.")
    if item is None or item.requirement is None:
        raise FlagError(
            f"--require {text!r} is not a requirement. "
            f"The nearest valid form is {closest_form(text)!r}."
        )
    return item.requirement


def load_router(path: str | None, *, prompt_flags: bool = False) -> Router:
    """Load the router of a folder or a Hub id; None means the bundled router.

    Raises:
        PersistenceError: there is no router.
    """
    from tryage.router import Router

    router = Router.from_pretrained(path)
    router.prompt_flags = router.prompt_flags or prompt_flags
    return router


def resolve_encoder(folder: Path | None) -> Encoder:
    """Load the encoder of an encoder's or a router's folder; None means the bundled encoder.

    Raises:
        PersistenceError: there is no encoder.
    """
    from tryage.perception.persistence import load_encoder
    from tryage.perception.pretrained import BUNDLED_FOLDER

    folder = BUNDLED_FOLDER if folder is None else folder
    encoder_folder = folder / "encoder"
    return load_encoder(encoder_folder if encoder_folder.is_dir() else folder)


def format_count(value: float | None) -> str:
    """Abbreviate a count: 7B, 1.2M, 32k; an unknown one is "-"."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= size:
            return f"{value / size:.3g}{suffix}"
    return format_value(value)


def format_value(value: object) -> str:
    """Write a value; an unknown one is "-"."""
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_table(rows: Sequence[Sequence[str]], n_left_aligned: int = 1) -> list[str]:
    """Align the first `n_left_aligned` columns to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= n_left_aligned else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
