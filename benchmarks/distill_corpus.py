"""The unlabelled text that the bundled encoders learn from: permissive sets only."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

# Apache-2.0 and MIT sets: the encoders in the wheel may be trained on these only.
PROMPT_SETS = (
    "routellm_pair",
    "routellm_mtbench",
    "mmlu_pro",
    "zeroeval",
    "coderouter_id",
    "llmrouter_uiuc",
)
TOOL_SETS = ("tool_metatool", "tool_bfcl_v4", "tool_apibench", "tool_sealtools")
HOLD_OUT_TENTHS = 1
SPANS_PER_TEXT = 2


@dataclass(frozen=True)
class Corpus:
    """Texts to train on and held-out texts; a span is on the same side as its text."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def read_corpus(data: Path, seed: int = 0) -> Corpus:
    """Read every text once, split it by a hash of the text, add random spans of the long ones."""
    if not (data / PROMPT_SETS[0]).is_dir():
        sys.exit(f"no routing sets in {data}: give the folder that holds them with --data")
    texts = list(dict.fromkeys([*_prompts(data), *_tools(data), *_standard_library()]))
    train = [t for t in texts if not held_out(t)]
    spans = _spans(train, np.random.default_rng(seed))
    return Corpus(
        train=tuple(dict.fromkeys([*train, *spans])),
        held_out=tuple(t for t in texts if held_out(t)),
    )


def held_out(text: str) -> bool:
    """Return whether a text is held out, by a hash that does not depend on order or seed."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()[0] % 10 < HOLD_OUT_TENTHS


def _column(path: Path, name: str) -> list[Any]:
    return pq.read_table(path, columns=[name]).column(name).to_pylist()


def _prompts(data: Path) -> Iterator[str]:
    for name in PROMPT_SETS:
        for text in _column(data / name / "prompts.parquet", "prompt"):
            if text and text.strip():
                yield text


def _tools(data: Path) -> Iterator[str]:
    for name in TOOL_SETS:
        yield from filter(None, _column(data / name / "queries.parquet", "query"))
        if (data / name / "tools.parquet").exists():
            yield from filter(None, _column(data / name / "tools.parquet", "description"))
    queries = data / "tool_bfcl_v4" / "queries.parquet"
    for query, functions in zip(
        _column(queries, "query"), _column(queries, "functions_json"), strict=True
    ):
        yield f"{query}\n{functions}"
        yield from (tool["description"] for tool in json.loads(functions))


def _standard_library(limit: int = 12_000) -> Iterator[str]:
    """Yield docstrings and functions of Python's library; it is parsed, not imported (PSF)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "test", "tests", "encodings"}
    yield from islice(python_texts(root, skipped), limit)


def python_texts(root: Path, skipped: Set[str] = frozenset({"test", "tests"})) -> Iterator[str]:
    """Yield docstrings and functions of the Python files in a folder, which are not imported.

    `skipped` are folders. A file that cannot be parsed is left out.
    """
    for path in sorted(root.rglob("*.py")):
        if skipped.isdisjoint(path.parts):
            yield from _readable(path)


def _readable(path: Path) -> Iterator[str]:
    source = path.read_text("utf-8", "replace")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # templates, and files of another version of Python
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        doc = ast.get_docstring(node)
        if doc and len(doc) > 40:
            yield doc[:4_000]
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno in range(8, 40):
            yield "\n".join(lines[node.lineno - 1 : node.end_lineno])


def _spans(texts: Iterable[str], rng: np.random.Generator) -> Iterator[str]:
    for text in texts:
        words = text.split(" ")
        for _ in range(min(SPANS_PER_TEXT, len(words) // 24)):
            length = int(rng.integers(6, 60))
            start = int(rng.integers(0, max(1, len(words) - length)))
            yield " ".join(words[start : start + length])
