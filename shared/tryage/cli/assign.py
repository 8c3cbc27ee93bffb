"""The command `assign`: which prompt of a file goes to which expert, within limits for all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tryage.cli.options import (
    Requirements,
    RouterPath,
    load_router,
    parse_preferences,
    read_jsonl,
)
from tryage.cli.outputs import check_output_file
from tryage.cli.terminal import echo, shows_progress
from tryage.errors import InputError
from tryage.files import write_text


def assign(
    prompts: Annotated[
        Path, typer.Argument(metavar="FILE", help='JSON lines, each with a "prompt".')
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            callback=check_output_file,
            help='Write the lines of FILE with their "expert", "cost" and "predicted_loss".',
        ),
    ],
    budget: Annotated[
        float | None, typer.Option(metavar="USD", help="What all prompts together may cost.")
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="The number of prompts an expert may get."),
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="The mean predicted quality, for the least money."),
    ] = None,
    require: Requirements = None,
    router: RouterPath = None,
) -> None:
    """Assign all prompts of a file at once, the best within a budget and capacities."""
    from tqdm import tqdm

    from tryage.policies.assignment import assign as assign_prompts

    rows = read_jsonl(prompts)
    texts = [_text(prompts, number, row) for number, row in enumerate(rows, start=1)]
    with tqdm(total=len(texts), file=sys.stderr, disable=not shows_progress()) as bar:
        assignment = assign_prompts(
            load_router(router),
            texts,
            budget=budget,
            capacity=dict(map(_parse_capacity, capacity or ())),
            min_quality=min_quality,
            preferences=parse_preferences(None, require),
            progress=lambda n_done: bar.update(n_done - bar.n),
        )
    values = zip(
        rows,
        assignment.experts,
        assignment.costs.tolist(),
        assignment.losses.tolist(),
        strict=True,
    )
    lines = [
        json.dumps(
            row | {"expert": expert, "cost": cost, "predicted_loss": loss}, ensure_ascii=False
        )
        for row, expert, cost, loss in values
    ]
    write_text(output, "\n".join(lines) + "\n")
    echo(f"{assignment}. Written to {output}.")


def _text(path: Path, number: int, row: dict[str, object]) -> str:
    text = row.get("prompt")
    if not isinstance(text, str):
        raise InputError(f'{path}, object {number}: expected a "prompt" that is a text.')
    return text


def _parse_capacity(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    if not name or not number.strip().isdigit():
        raise InputError(f"--capacity {text!r}: expected NAME=NUMBER, such as gpt-5.6=1000.")
    return name.strip(), int(number)
