"""Run real agent loops over all tools of MetaTool, with and without selection.

    python benchmarks/tools/agents.py [--model .demo/smollm2] [--queries 200]

The queries are of the fifth that the bundled ranker's maps were not trained on. A run succeeds if
the agent called every tool that the query needs. `--model` is a folder such as `make demo` writes;
without it the model is a fake that calls the needed tools if it sees them.
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
from models import ConstrainedLM, OracleModel
from sets import load
from tokenizers import Tokenizer

from tryage.tools import ToolRanker
from tryage.tools.episodes import Episode, is_held_out
from tryage.tools.persistence import BUNDLED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loops import LangChainLoop, LlamaIndexLoop


async def run(loop: LangChainLoop | LlamaIndexLoop, episodes: Sequence[Episode]) -> str:
    """Return the share of successful runs, the tokens that the model read, and seconds per run."""
    succeeded, tokens, start = [], [], time.perf_counter()
    for one in episodes:
        loop.caller.max_calls = len(one.useful)
        result = await loop(one.query)
        succeeded.append(set(one.useful) <= set(result.called))
        tokens.append(result.tokens)
    seconds = (time.perf_counter() - start) / len(episodes)
    return f"{np.mean(succeeded):.1%} | {np.mean(tokens):,.0f} | {seconds:.2f} s"


def sample(part: Sequence[Episode], count: int) -> list[Episode]:
    """Draw held-out queries; name tools by letters, digits, - and _, so that they are callable."""
    held_out = [one for one in part if is_held_out(one, 5)]
    order = np.random.default_rng(0).permutation(len(held_out))[:count]
    tools = [replace(tool, name=_callable(tool.name)) for tool in part[0].tools]
    return [Episode(held_out[i].query, tools, [*map(_callable, held_out[i].useful)]) for i in order]


def _callable(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    episodes = sample(load()["metatool"], options.queries)
    model = (
        ConstrainedLM(options.model)
        if options.model
        else OracleModel({one.query: sorted(one.useful) for one in episodes})
    )
    tokenizer = Tokenizer.from_file(str(BUNDLED_FOLDER / "encoder" / "tokenizer.json"))
    tokenizer.no_truncation()
    caller = Caller(model, lambda text: len(tokenizer.encode(text).ids), 1)
    ranker = ToolRanker.from_pretrained()
    name = options.model.name if options.model else "fake"
    print("| framework | model | tools shown | succeeded | prompt tokens | per run |")
    print("|---|---|---|---|---|---|")
    for framework, loop in LOOPS.items():
        for label, chooser in ((f"all {len(episodes[0].tools)}", None), ("Tryage's 5", ranker)):
            figures = asyncio.run(run(loop(episodes[0].tools, caller, chooser), episodes))
            print(f"| {framework} | {name} | {label} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
