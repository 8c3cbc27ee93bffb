"""Commands about the experts: `experts` lists what is known, `onboard` teaches a new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.learning import read_lines
from tryage.cli.options import (
    Json,
    Output,
    Requirements,
    RouterPath,
    load_router,
    read_preferences,
)
from tryage.cli.table import aligned, count, plain
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.experts import Expert


def experts(router: RouterPath = None, require: Requirements = None, as_json: Json = False) -> None:
    """List the experts and what is known about them."""
    library = load_router(router).library
    met = read_preferences(None, require).satisfied(library)
    known = [expert for expert, wanted in zip(library, met.tolist(), strict=True) if wanted]
    if as_json:
        for expert in known:
            typer.echo(json.dumps(expert.to_dict(), ensure_ascii=False))
        return
    for line in aligned([[head for head, _ in _COLUMNS], *map(_row, known)]):
        typer.echo(line)
    typer.echo(f"{len(known):,} of {len(library):,} experts; - is unknown.")


def onboard(
    router: Annotated[str, typer.Argument(metavar="ROUTER", help="A saved router or a Hub id.")],
    expert: Annotated[
        str, typer.Argument(metavar="EXPERT", help="Its name, or a JSON file with what is known.")
    ],
    losses: Annotated[
        Path, typer.Argument(metavar="LOSSES", help="JSON lines of prompt and loss, or score.")
    ],
    output: Output,
) -> None:
    """Teach a router a new expert, from some losses."""
    chooser, newcomer, measured = load_router(router), _expert(expert), _losses(losses)
    taught = chooser.onboard(newcomer, measured)
    taught.save_pretrained(output)
    typer.echo(
        f"Saved to {output}: {newcomer.name} learned from {len(measured):,} prompts, "
        f"{len(taught.library):,} experts."
    )


def _expert(given: str) -> Expert:
    """Read an expert from a JSON file; anything else is its name."""
    from tryage.experts import Expert

    if not given.endswith(".json"):
        return Expert(given)
    try:
        return Expert.from_dict(json.loads(Path(given).read_text("utf-8")))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{given} holds no expert: {error}") from error


def _losses(path: Path) -> dict[str, float]:
    """Read the loss of each prompt; a score counts as 1 - score."""
    losses: dict[str, float] = {}
    for row in read_lines(path):
        prompt, loss, score = row.get("prompt"), row.get("loss"), row.get("score")
        value = 1.0 - score if loss is None and isinstance(score, (int, float)) else loss
        if not isinstance(prompt, str) or not isinstance(value, (int, float)):
            raise InputError(
                f"{path} has a row {json.dumps(row)[:80]}; "
                'expected {"prompt": "...", "loss": 0.3}, or a score from 0 to 1 instead of it.'
            )
        losses[prompt] = float(value)
    return losses


_COLUMNS: tuple[tuple[str, Callable[[Expert], str]], ...] = (
    ("expert", lambda e: e.name),
    ("size", lambda e: count(e.parameters)),
    ("released", lambda e: plain(e.released)),
    ("license", lambda e: plain(e.license)),
    ("$/M in", lambda e: plain(e.input_price)),
    ("$/M out", lambda e: plain(e.output_price)),
    ("latency s", lambda e: plain(e.latency)),
    ("context", lambda e: count(e.context_length)),
    ("downloads", lambda e: count(e.downloads)),
)


def _row(expert: Expert) -> list[str]:
    return [show(expert) for _, show in _COLUMNS]
