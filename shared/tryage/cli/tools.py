"""Commands about an agent's tools: `train-tools` learns from use, `tools` picks for a query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.learning import load_reader, read_lines
from tryage.cli.options import EncoderPath, Json, Output, Requirements, Weights, read_preferences
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.tools import Tool
    from tryage.tools.episodes import Episode


def train_tools(
    episodes: Annotated[
        Path,
        typer.Argument(
            metavar="EPISODES", help='JSON lines of {"query", "useful": [names], "tools": [...]}.'
        ),
    ],
    output: Output,
    tools: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON list of tools, for lines that have none."),
    ] = None,
    encoder: EncoderPath = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keeps the state, to go on from.")
    ] = None,
) -> None:
    """Train a tool ranker on what queries needed, and save it."""
    from tryage.tools.training import fit_ranker

    pool = None if tools is None else read_tools(tools)
    known = [_episode(episodes, row, pool) for row in read_lines(episodes)]
    ranker = fit_ranker(known, load_reader(encoder), checkpoint=checkpoint)
    ranker.save_pretrained(output)
    typer.echo(f"Saved to {output}: learned from {len(known):,} queries.")


def tools(
    file: Annotated[Path, typer.Argument(metavar="TOOLS", help="A JSON list of tool schemas.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the user asks.")],
    k: Annotated[int, typer.Option("--k", min=1, help="At most so many tools.")] = 5,
    ranker: Annotated[
        str | None, typer.Option(metavar="PATH", help="A saved ranker or a Hub id.")
    ] = None,
    weight: Weights = None,
    require: Requirements = None,
    as_json: Json = False,
) -> None:
    """Pick the few tools that a query needs."""
    from tryage.tools import ToolRanker

    chooser = ToolRanker.from_pretrained(ranker)
    wanted = read_preferences(weight, require)
    chosen = chooser.select(read_tools(file), query, k, preferences=wanted)
    if as_json:
        typer.echo(json.dumps(chosen.to_dict(k), ensure_ascii=False))
    else:
        typer.echo(chosen.explain(k))


def read_tools(path: Path) -> list[Tool]:
    """Read a JSON list of schemas; beside a schema may stand cost, latency, risk, permissions.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        rows = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} holds no tools: {error}") from error
    if not isinstance(rows, list):
        raise InputError(f"{path} holds a {type(rows).__name__}; expected a JSON list of tools.")
    return [_tool(row) for row in rows]


def _tool(row: Any) -> Tool:  # noqa: ANN401 - any JSON value
    from tryage.tools import Tool

    if not isinstance(row, Mapping):
        raise InputError(f"A tool is a JSON object, got {json.dumps(row)[:80]}.")
    beside = ("cost", "latency", "risk", "permissions")
    return Tool.from_schema(row, **{name: row[name] for name in beside if name in row})


def _episode(path: Path, row: Mapping[str, Any], pool: list[Tool] | None) -> Episode:
    from tryage.tools.episodes import Episode

    query, useful, own = row.get("query"), row.get("useful"), row.get("tools")
    offered = [_tool(tool) for tool in own] if isinstance(own, list) else pool
    if not isinstance(query, str) or not isinstance(useful, list) or offered is None:
        raise InputError(
            f"{path} has a row {json.dumps(row)[:80]}; expected "
            '{"query": "...", "useful": ["name"], "tools": [...]}, or --tools for all rows.'
        )
    return Episode(query, offered, frozenset(map(str, useful)))
