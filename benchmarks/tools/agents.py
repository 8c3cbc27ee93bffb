"""Run real agent loops over all tools of MetaTool, with and without selection.

    python benchmarks/tools/agents.py [--model .demo/smollm2] [--queries 200]

The queries are of the fifth that the bundled ranker's maps were not trained on. A run succeeds if
every tool that the query needs was called and nothing failed. Without `--model`, a folder such as
`make demo` writes, the model is a fake that calls the tools it needs if it is shown them.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from loops import LOOPS, Caller
from models import Needing, Small
from sets import load
from tokenizers import Tokenizer

from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.tools import ToolRanker
from tryage.tools.training import Episode, is_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loops import LangChainLoop, LlamaIndexLoop


async def run(loop: LangChainLoop | LlamaIndexLoop, judged: Sequence[Episode]) -> str:
    """Return the share that succeeded, the tokens that the model read, and the seconds per run."""
    done, tokens, start = [], [], time.perf_counter()
    for one in judged:
        loop.caller.most = len(one.useful)
        notes = await loop(one.query)
        done.append(set(one.useful) <= set(notes.called))
        tokens.append(notes.tokens)
    seconds = (time.perf_counter() - start) / len(judged)
    return f"{np.mean(done):.1%} | {np.mean(tokens):,.0f} | {seconds:.2f} s"


def drawn(part: Sequence[Episode], count: int) -> list[Episode]:
    """Draw queries, with names that may be called: letters, digits, - and _."""
    apart = [one for one in part if is_held_out(one, 5)]
    order = np.random.default_rng(0).permutation(len(apart))[:count]
    tools = [replace(tool, name=_callable(tool.name)) for tool in part[0].tools]
    return [Episode(apart[i].query, tools, [*map(_callable, apart[i].useful)]) for i in order]


def _callable(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    judged = drawn(load()["metatool"], options.queries)
    model = (
        Small(options.model)
        if options.model
        else Needing({one.query: sorted(one.useful) for one in judged})
    )
    tokenizer = Tokenizer.from_file(str(BUNDLED_FOLDER / "encoder" / "tokenizer.json"))
    tokenizer.no_truncation()
    caller = Caller(model, lambda text: len(tokenizer.encode(text).ids), 1)
    ranker = ToolRanker.from_pretrained()
    name = options.model.name if options.model else "fake"
    print("| framework | model | tools shown | succeeded | prompt tokens | per run |")
    print("|---|---|---|---|---|---|")
    for framework, loop in LOOPS.items():
        for label, chooser in ((f"all {len(judged[0].tools)}", None), ("Tryage's 5", ranker)):
            figures = asyncio.run(run(loop(judged[0].tools, caller, chooser), judged))
            print(f"| {framework} | {name} | {label} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
