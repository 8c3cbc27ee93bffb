"""The real tool-choice sets in ../shared/data as episodes: a query, its tools, the useful ones."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.core.validation import require_extra
from tryage.tools import Tool
from tryage.tools.episodes import Episode

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ABSENT = (
    f"The tool-choice sets are not at {DATA}. They are not part of the repository; put them there, "
    "one folder per set, or train on your own with: tryage train-tools episodes.jsonl"
)
PROVIDERS = ("huggingface", "torchhub", "tensorflowhub")
_MAX_DESCRIPTION = 600  # characters of a model card's description


def load() -> dict[str, list[Episode]]:
    """Read every set; exit with a message if the folder is missing.

    metatool, sealtools and the three parts of apibench choose among all their tools, bfcl among a
    few per query; `irrelevance` are the queries of bfcl that need none of their tools.
    """
    if not (DATA / "tool_metatool").is_dir():
        sys.exit(ABSENT)
    require_extra("pyarrow", "evaluate")
    return {
        "metatool": metatool(),
        "sealtools": list(_pooled("tool_sealtools", [_to_tool(row) for row in _rows("sealtools")])),
        **{name: list(_apis(name)) for name in PROVIDERS},
        **_functions(),
    }


def metatool() -> list[Episode]:
    """Read one set: queries that choose among 199 tools."""
    return list(_pooled("tool_metatool", [_to_tool(row) for row in _rows("metatool")]))


def _rows(name: str, part: str = "tools") -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(DATA / f"tool_{name}" / f"{part}.parquet").to_pylist()


def _to_tool(row: dict[str, Any]) -> Tool:
    arguments = json.loads(row.get("parameters_json") or "{}")
    described = {name: str(one.get("description", "")) for name, one in arguments.items()}
    return Tool(row["tool"], row["description"] or "", described)


def _pooled(name: str, tools: list[Tool]) -> Iterator[Episode]:
    """Yield queries that choose among all tools of a set."""
    known = {tool.name for tool in tools}
    for row in _rows(name.removeprefix("tool_"), "queries"):
        useful = known & set(_names(row["gold_tools"]))
        if useful:
            yield Episode(row["query"], tools, frozenset(useful))


def _apis(provider: str) -> Iterator[Episode]:
    """Yield the queries of one provider of apibench; a tool is a model with its description."""
    rows = [row for row in _rows("apibench") if row["provider"] == provider]
    tools = {row["tool"]: Tool(row["tool"], _describe(row)) for row in rows}
    pool = list(tools.values())
    for row in _rows("apibench", "queries"):
        if row["provider"] == provider and row["gold_tool"] in tools:
            yield Episode(row["query"], pool, frozenset({row["gold_tool"]}))


def _describe(row: dict[str, Any]) -> str:
    card = (row["description"] or "")[:_MAX_DESCRIPTION]
    return f"{row['domain']}. {row['functionality']}. {card}"


def _functions() -> dict[str, list[Episode]]:
    """Read bfcl: each query has functions of its own; they may all be irrelevant."""
    found: dict[str, list[Episode]] = {"bfcl": [], "irrelevance": []}
    for row in _rows("bfcl_v4", "queries"):
        schemas = json.loads(row["functions_json"])
        offered = {tool.name: tool for tool in map(Tool.from_schema, schemas)}
        useful = frozenset(set(_names(row["gold_tools"])) & set(offered))
        name = "irrelevance" if "irrelevance" in row["category"] else "bfcl"
        if useful or name == "irrelevance":
            found[name].append(Episode(row["query"], list(offered.values()), useful))
    return found


def _names(value: Any) -> list[str]:  # noqa: ANN401 - a list, or a list written as a string
    return list(ast.literal_eval(value)) if isinstance(value, str) else list(value or [])
