"""Judge a saved tool ranker on requests and tools of other benchmarks, which no training has seen.

    pip download --no-deps agentdojo==0.1.35 bfcl-eval==2026.3.23 -d wheels
    unzip -q 'wheels/*.whl' -d packages   # once for each file
    python benchmarks/tools/outside.py packages --minilm FOLDER [--ranker FOLDER]

Read are requests that need functions of all APIs of BFCL's conversations (`multi_turn`), one or
several functions among all that a part of BFCL has, an API among the eight of the conversations,
described by its functions (`servers`), and the user tasks of AgentDojo's four suites. `--ranker`
is the folder of another ranker on the bundled encoder, such as an older one. Nothing is trained.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from evaluate import bm25, similarity
from folds import CachedEncoder
from transfer import Results, drawn

from tryage.perception.persistence import load_encoder
from tryage.tools import Tool, ToolRanker
from tryage.tools.episodes import Episode
from tryage.tools.persistence import BUNDLED_FOLDER as BUNDLED_RANKER
from tryage.tools.persistence import load_ranker_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 400  # requests of a set
PARTS = ("simple_python", "live_simple", "parallel_multiple", "simple_java")
NOT_SERVERS = ("memory", "web_search")  # parts of other tests
SUITE_INTRODUCTION = re.compile(r"^.*?Tool description: ")


def read(packages: Path) -> dict[str, list[Episode]]:
    """Read every set."""
    data = packages / "bfcl_eval" / "data"
    servers = _servers(data)
    turns = list(_turns(data, [tool for tools in servers.values() for tool in tools]))
    return {
        **{part: list(_pooled(data, part)) for part in PARTS},
        "multi_turn": turns,
        "servers": list(_by_server(turns, servers)),
        "agentdojo": list(_agentdojo(packages / "agentdojo" / "default_suites" / "v1")),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _answers(data: Path, part: str) -> dict[str, Any]:
    rows = _rows(data / "possible_answer" / f"BFCL_v4_{part}.json")
    return {row["id"]: row["ground_truth"] for row in rows}


def _pooled(data: Path, part: str) -> Iterator[Episode]:
    """Yield requests among the functions of all requests of a part; the first of a name counts."""
    rows, answers = _rows(data / f"BFCL_v4_{part}.json"), _answers(data, part)
    pool: dict[str, Tool] = {}
    for row in rows:
        for schema in row["function"]:
            pool.setdefault(schema["name"].casefold(), Tool.from_schema(schema))
    tools = list(pool.values())
    for row in rows:
        own = {schema["name"]: Tool.from_schema(schema) for schema in row["function"]}
        needed = [own[name] for call in answers[row["id"]] for name in call]
        if set(needed) <= set(tools):
            names = frozenset(tool.name for tool in needed)
            yield Episode(row["question"][0][-1]["content"], tools, names)


def _servers(data: Path) -> dict[str, list[Tool]]:
    """Read the functions of each API; a function that several have is that of the first."""
    servers: dict[str, list[Tool]] = {}
    known: set[str] = set()
    for path in sorted((data / "multi_turn_func_doc").glob("*.json")):
        if path.stem.startswith(NOT_SERVERS):
            continue
        schemas = [row for row in _rows(path) if row["name"] not in known]
        known |= {schema["name"] for schema in schemas}
        servers[path.stem] = [
            Tool.from_schema(
                {**schema, "description": SUITE_INTRODUCTION.sub("", schema["description"])}
            )
            for schema in schemas
        ]
    return servers


def _turns(data: Path, tools: list[Tool]) -> Iterator[Episode]:
    names, answers = {tool.name for tool in tools}, _answers(data, "multi_turn_base")
    for row in _rows(data / "BFCL_v4_multi_turn_base.json"):
        for turn, calls in zip(row["question"], answers[row["id"]], strict=True):
            useful = names & {call.split("(")[0] for call in calls}
            if useful and turn:
                yield Episode(turn[-1]["content"], tools, useful)


def _by_server(turns: list[Episode], servers: dict[str, list[Tool]]) -> Iterator[Episode]:
    """Yield the same requests among the servers, without their names."""
    owners = {tool.name: f"server_{i}" for i, own in enumerate(servers.values()) for tool in own}
    tools = [
        Tool(f"server_{i}", "; ".join(f"{tool.name}: {tool.description}" for tool in own))
        for i, own in enumerate(servers.values())
    ]
    for turn in turns:
        yield Episode(turn.query, tools, frozenset(owners[name] for name in turn.useful))


def _agentdojo(folder: Path) -> Iterator[Episode]:
    tools = [tool for path in sorted((folder / "tools").glob("*.py")) for tool in _functions(path)]
    names = {tool.name for tool in tools}
    for path in sorted(folder.glob("*/user_tasks.py")):
        for task in ast.parse(path.read_text("utf-8")).body:
            prompt, useful = _prompt(task), names & set(_called(task))
            if prompt and useful:
                yield Episode(prompt, tools, useful)


def _functions(path: Path) -> Iterator[Tool]:
    """Yield the documented public functions of a module as tools."""
    for node in ast.parse(path.read_text("utf-8")).body:
        text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if isinstance(node, ast.FunctionDef) and text and not node.name.startswith("_"):
            arguments = dict(re.findall(r":param (\w+): ([^\n]*)", text))
            yield Tool(node.name, text.split(":param")[0].strip(), arguments)


def _called(task: ast.stmt) -> Iterator[str]:
    """Yield the functions that the right answer of a task calls."""
    keywords = [node for node in ast.walk(task) if isinstance(node, ast.keyword)]
    for keyword in keywords:
        if keyword.arg == "function" and isinstance(keyword.value, ast.Constant):
            yield str(keyword.value.value)


def _prompt(task: ast.stmt) -> str | None:
    """Return the prompt of a task, with the constants that it contains."""
    constants: dict[str, Any] = {}
    for node in task.body if isinstance(task, ast.ClassDef) else []:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = _text(node.value, constants)
    return constants.get("PROMPT")


def _text(node: ast.expr, constants: dict[str, Any]) -> str | None:
    """Return a string or an f-string of known constants, None for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part, constants) for part in node.values]
        return None if None in parts else "".join(part for part in parts if part is not None)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants)
    return constants.get(node.id) if isinstance(node, ast.Name) else None


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--minilm", type=Path, help="a folder with all-MiniLM-L6-v2")
    parser.add_argument("--ranker", type=Path, default=BUNDLED_RANKER)
    options = parser.parse_args()
    encoder = CachedEncoder(load_encoder(BUNDLED_RANKER / "encoder"))
    others = {"BM25": bm25(), "similarity, same encoder": similarity(encoder)}
    if options.minilm:
        from minilm import MiniLM

        others["similarity, MiniLM"] = similarity(CachedEncoder(MiniLM(options.minilm)))
    ranker = ToolRanker(**load_ranker_parts(options.ranker, BUNDLED_RANKER / "encoder"))
    results = Results()
    for name, part in read(options.packages).items():
        results.add(name, ranker, drawn(part, LIMIT, np.random.default_rng(0)), others)
    results.show()


if __name__ == "__main__":
    main()
