"""Commands about experts and tools: `experts`, `tools` and `train-tools`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.options import (
    CheckpointFolder,
    EncoderPath,
    JsonFlag,
    OutputFolder,
    Requirements,
    RouterPath,
    Weights,
    format_count,
    format_value,
    hide_downloads,
    load_router,
    parse_preferences,
    read_json,
    read_jsonl,
    resolve_encoder,
)
from tryage.cli.terminal import echo, echo_json, echo_table, shows_progress
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.core.expert import Expert
    from tryage.tools.episodes import Episode
    from tryage.tools.tool import Tool

_EXPERT_COLUMNS: tuple[tuple[str, Callable[[Expert], str]], ...] = (
    ("expert", lambda expert: expert.name),
    ("size", lambda expert: format_count(expert.parameters)),
    ("released", lambda expert: format_value(expert.released)),
    ("license", lambda expert: format_value(expert.license)),
    ("$/M in", lambda expert: format_value(expert.input_price)),
    ("$/M out", lambda expert: format_value(expert.output_price)),
    ("latency s", lambda expert: format_value(expert.latency)),
    ("context", lambda expert: format_count(expert.context_length)),
    ("downloads", lambda expert: format_count(expert.downloads)),
)

_TOOL_FIELDS = ("cost", "latency", "risk", "permissions", "server")  # which a schema lacks


def experts(
    router: RouterPath = None, require: Requirements = None, as_json: JsonFlag = False
) -> None:
    """List the experts and what is known about them."""
    library = load_router(router).library
    is_satisfied = parse_preferences(None, require).satisfied(library).tolist()
    listed_experts = [
        expert for expert, is_met in zip(library, is_satisfied, strict=True) if is_met
    ]
    if as_json:
        for expert in listed_experts:
            echo_json(expert.to_dict())
        return
    rows = [
        [format_cell(expert) for _, format_cell in _EXPERT_COLUMNS] for expert in listed_experts
    ]
    echo_table([[heading for heading, _ in _EXPERT_COLUMNS], *rows])
    echo(f"{len(listed_experts):,} of {len(library):,} experts; - is unknown.")


def tools(
    file: Annotated[Path, typer.Argument(metavar="TOOLS", help="A JSON list of tool schemas.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the user asks.")],
    k: Annotated[int, typer.Option("--k", min=1, help="The largest number of tools.")] = 5,
    ranker: Annotated[
        str | None, typer.Option(metavar="PATH", help="A saved ranker or a Hub id.")
    ] = None,
    weight: Weights = None,
    require: Requirements = None,
    as_json: JsonFlag = False,
) -> None:
    """Pick the few tools that a query needs."""
    from tryage.tools.ranker import ToolRanker

    hide_downloads(ranker)
    loaded_ranker = ToolRanker.from_pretrained(ranker)
    preferences = parse_preferences(weight, require)
    selection = loaded_ranker.select(_read_tools(file), query, k, preferences=preferences)
    if as_json:
        echo_json(selection.to_dict(k))
    else:
        echo(selection.explain(k))


def train_tools(
    episodes: Annotated[
        Path,
        typer.Argument(
            metavar="EPISODES", help='JSON lines of {"query", "useful": [names], "tools": [...]}.'
        ),
    ],
    output: OutputFolder,
    tools: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON list of tools, for lines without tools."),
    ] = None,
    encoder_path: EncoderPath = None,
    checkpoint: CheckpointFolder = None,
) -> None:
    """Train a tool ranker on past queries and save it."""
    from tryage.tools.training import fit_ranker

    shared_tools = None if tools is None else _read_tools(tools)
    parsed_episodes = [_parse_episode(episodes, row, shared_tools) for row in read_jsonl(episodes)]
    ranker = fit_ranker(
        parsed_episodes,
        resolve_encoder(encoder_path),
        checkpoint=checkpoint,
        progress=shows_progress(),
    )
    ranker.save_pretrained(output)
    echo(f"Saved to {output}: learned from {len(parsed_episodes):,} queries.")


def _parse_episode(path: Path, row: Mapping[str, Any], shared_tools: list[Tool] | None) -> Episode:
    """Parse a query and the tools that it needed, among its own tools or else the shared ones."""
    from tryage.tools.episodes import Episode

    query, useful, own_tools = row.get("query"), row.get("useful"), row.get("tools")
    available_tools = (
        [_parse_tool(tool) for tool in own_tools] if isinstance(own_tools, list) else shared_tools
    )
    if not isinstance(query, str) or not isinstance(useful, list) or available_tools is None:
        raise InputError(
            f"{path} has a row {json.dumps(row)[:80]}; expected "
            '{"query": "...", "useful": ["name"], "tools": [...]}, or --tools for all rows.'
        )
    return Episode(query, available_tools, frozenset(map(str, useful)))


def _read_tools(path: Path) -> list[Tool]:
    """Read a JSON list of schemas; a schema may also hold the fields that it lacks."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path} holds a {type(rows).__name__}; expected a JSON list of tools.")
    return [_parse_tool(row) for row in rows]


def _parse_tool(row: Any) -> Tool:  # noqa: ANN401 - any JSON value
    from tryage.tools.tool import Tool

    if not isinstance(row, Mapping):
        raise InputError(f"A tool is a JSON object, got {json.dumps(row)[:80]}.")
    return Tool.from_schema(row, **{name: row[name] for name in _TOOL_FIELDS if name in row})
