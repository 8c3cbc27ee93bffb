"""Counts query-engine runs over filled contexts that fail with TryageLLM and not with one LLM.

    git worktree add ../before COMMIT
    python benchmarks/query_engines.py ../before .

Five texts of different kinds, two response modes and three windows make 30 runs. Every LLM answers
from a script, so nothing but the packing of the prompts and the choice of the LLM is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from checkouts import run_command

if TYPE_CHECKING:
    from checkouts import Runs

ROOT = Path(__file__).resolve().parents[1]
MODES = ("compact", "tree_summarize")
WINDOWS = (4_096, 8_192, 16_384)
CHARACTERS_PER_TOKEN = 8  # of the windows, so that every text fills several prompts
QUERY = "What must I do?"


def main() -> None:
    """Count in this revision, or print a table with one row for each checkout."""
    run_command(__file__, __doc__, measure, show, rounds=1)


def show(runs: Runs) -> None:
    """Print one row for each checkout."""
    print("| | one LLM fails | TryageLLM fails | prompts a small LLM loses |\n|---|---:|---:|---:|")
    for checkout, (run, *_) in runs.items():
        print(
            f"| {checkout} | {run['alone_failed']} of {run['runs']} "
            f"| {run['routed_failed']} of {run['runs']} | {run['lost']} of {run['packed']} |"
        )


def measure() -> dict[str, int]:
    """Run all engines with one LLM, with two of one window, and with a small and a large one."""
    counts = dict.fromkeys(("runs", "alone_failed", "routed_failed", "packed", "lost"), 0)
    for window in WINDOWS:
        for text in make_texts().values():
            for mode in MODES:
                sample = text[: CHARACTERS_PER_TOKEN * window]
                counts["runs"] += 1
                counts["alone_failed"] += ask(sample, mode, [window]) is None
                counts["routed_failed"] += ask(sample, mode, [window, window]) is None
                calls = ask(sample, mode, [window, 128_000])
                counts["packed"] += sum(calls or [0])
                counts["lost"] += 0 if calls is None else calls[1]
    return counts


def ask(text: str, mode: str, windows: list[int]) -> list[int] | None:
    """Return how many calls each LLM got for one query; None if the query failed."""
    from llama_index.core import Document, SummaryIndex

    from tryage import Router
    from tryage.testing import FunctionPerception
    from tryage_llamaindex import TryageLLM
    from tryage_llamaindex.testing import ScriptedLLM

    children = {f"llm-{i}": ScriptedLLM(window=window) for i, window in enumerate(windows)}
    # The first is always predicted to be better, so it loses only what does not seem to fit.
    perception = FunctionPerception(
        list(children), lambda _: [float(i) for i in range(len(windows))]
    )
    llm = (
        next(iter(children.values()))
        if len(children) == 1
        else TryageLLM.from_llms(children, router=Router(perception))
    )
    engine = SummaryIndex.from_documents([Document(text=text)]).as_query_engine(
        llm=llm, response_mode=mode
    )
    try:
        engine.query(QUERY)
    except Exception:  # noqa: BLE001 - any failure counts
        return None
    return [len(child.calls) for child in children.values()]


def make_texts() -> dict[str, str]:
    """Return five texts: the documents, code and licence of this project, a table, and records."""
    documents = "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob("docs/*.md")))
    code = "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob("benchmarks/*.py")))
    rows = "\n".join(f"{i},{i * 7919 % 9973 / 97:.6f},Rome,2026-01-1{i % 10}" for i in range(9_000))
    records = json.dumps([{"id": i, "city": "Lima", "tags": ["a", "b"]} for i in range(9_000)])
    licence = (ROOT / "LICENSE").read_text("utf-8")
    return {
        "documents": documents * 2,
        "code": code * 2,
        "licence": licence * 25,
        "table": rows,
        "records": records,
    }


if __name__ == "__main__":
    main()
