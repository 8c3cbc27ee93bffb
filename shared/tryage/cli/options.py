"""What the commands share: options, and reading them into prompts, preferences and a router."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tryage.errors import FlagError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.preferences import Preferences, Requirement
    from tryage.router import Router

STDIN = "-"

Prompts: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="PROMPT", help="The prompts; '-' reads one a line from stdin."),
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
        help="What an expert must be, as in a flag: 'size<3B', 'license=mit|apache-2.0'",
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
    bool, typer.Option("--json", help="Print JSON, one object a line, for programs.")
]

QTablePath: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="QTABLE",
        help="Rows of prompt, expert, loss or score: .parquet, .csv, .jsonl, or a folder of shards",
    ),
]

LossColumn: TypeAlias = Annotated[
    str,
    typer.Option(
        "--loss",
        metavar="COLUMN",
        help="Where the losses are; loss_per_char compares models of different tokenisers.",
    ),
]

ScoreScale: TypeAlias = Annotated[
    float, typer.Option("--score-scale", metavar="MAX", help="The best score there is.")
]

EncoderPath: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--encoder", metavar="DIR", help="A saved encoder or router; the bundled one by default."
    ),
]

Seed: TypeAlias = Annotated[int, typer.Option(help="The same seed gives the same result.")]

OutputFolder: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to save the router to.")
]


def read_prompts(given: list[str]) -> list[str]:
    """Return the prompts, with '-' replaced by the lines of stdin that hold something.

    Raises:
        InputError: there is none.
    """
    prompts: list[str] = []
    for prompt in given:
        prompts += (
            [line for line in sys.stdin.read().splitlines() if line.strip()]
            if (prompt == STDIN)
            else [prompt]
        )
    if not prompts:
        raise InputError("No prompt was given. Write one in quotes, or one a line to stdin.")
    return prompts


def read_preferences(weights: Iterable[str] | None, required: Iterable[str] | None) -> Preferences:
    """Read `--weight` and `--require`.

    Raises:
        InputError: a weight is not NAME=NUMBER, or a requirement is none.
    """
    from tryage.core.preferences import Preferences

    return Preferences(
        dict(map(_parse_weight, weights or ())), map(_parse_requirement, required or ())
    )


def load_router(path: str | None, *, prompt_flags: bool = False) -> Router:
    """Read the router of a folder, a Hub id or, for None, the bundled one.

    Raises:
        PersistenceError: there is none.
    """
    from tryage.router import Router

    router = Router.from_pretrained(path)
    router.prompt_flags = router.prompt_flags or prompt_flags
    return router


def _parse_weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError as error:
        raise InputError(f"--weight {text!r} is not NAME=NUMBER, such as cost=0.3.") from error


def _parse_requirement(text: str) -> Requirement:
    """Read an item as it stands in a flag: the shell has no grammar of its own."""
    from tryage.core.flag_items import closest_form, parse_item

    item = parse_item(text)
    if item is not None and item.weight is not None:
        name, weight = item.weight
        raise FlagError(f"--require {text!r} is a weight; write --weight {name}={weight:g}.")
    if item is None or item.requirement is None:
        raise FlagError(
            f"--require {text!r} is not a requirement. The nearest valid form is {closest_form(text)!r}."
        )
    return item.requirement


def format_count(value: float | None) -> str:
    """Write a count as people do: 7B, 1.2M, 32k."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= size:
            return f"{value / size:.3g}{suffix}"
    return format_value(value)


def format_value(value: object) -> str:
    """Write a value; - is unknown."""
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_table(rows: Sequence[Sequence[str]], n_left: int = 1) -> list[str]:
    """Align the first `left` columns left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= n_left else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
