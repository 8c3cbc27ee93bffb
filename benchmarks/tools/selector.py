"""Time and judge LlamaIndex's selectors: Tryage's, by embeddings, and by asking a language model.

    python benchmarks/tools/selector.py [--queries 2000] [--model FOLDER] [--asked 30]

The tools of tool_metatool become query engines of ten choices each; a query is put to the engine
that has the tool it needs. Judged are queries whose tool training has not seen (fold 0 by tool).
Both local selectors read with the same encoder. `--model` is a folder with a chat model as
transformers saves it, such as examples/demo makes of SmolLM2-135M-Instruct; it is asked `--asked`
queries, because each takes seconds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from folds import Remembering, by_tool
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import EmbeddingSingleSelector, LLMSingleSelector
from llama_index.core.tools import ToolMetadata
from sets import load

from tryage.perception.encoder import load_encoder
from tryage.pretrained import BUNDLED
from tryage.tools import ToolRanker
from tryage.tools.training import fit_ranker
from tryage_llamaindex import TryageSelector
from tryage_llamaindex.testing import BundledEmbedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.base_selector import BaseSelector
    from llama_index.core.llms import LLM

    from tryage.tools.episodes import Episode

CHOICES = 10
SEED = 0


@dataclass(frozen=True)
class Case:
    """A query, the choices of its engine, and the index that is right."""

    query: str
    choices: Sequence[ToolMetadata]
    right: int


@dataclass
class Score:
    """What one selector did: right or not, seconds, and answers that were no valid index."""

    right: list[bool]
    seconds: list[float]
    invalid: int = 0

    def row(self, name: str, than: Score) -> str:
        """Return a row of the table; times relative to those of `than`."""
        median = float(np.median(self.seconds))
        ratio = median / float(np.median(than.seconds))
        cells = (
            name,
            f"{len(self.right):,}",
            f"{np.mean(self.right):.3f}",
            f"{1e3 * median:,.2f}",
            f"{1e3 * np.percentile(self.seconds, 95):,.2f}",
            f"{ratio:,.1f}x",
            str(self.invalid),
        )
        return "| " + " | ".join(cells) + " |"


def engines(episodes: Sequence[Episode], judged: Sequence[Episode], most: int) -> list[Case]:
    """Deal the tools into engines of ten choices, and put the judged queries to theirs."""
    dice = np.random.default_rng(SEED)
    tools = list(episodes[0].tools)
    dice.shuffle(tools)
    groups = [tools[at : at + CHOICES] for at in range(0, len(tools) - CHOICES + 1, CHOICES)]
    homes = {tool.name: (group, at) for group in groups for at, tool in enumerate(group)}
    told = {
        id(group): [ToolMetadata(tool.description, tool.name) for tool in group] for group in groups
    }
    single = [one for one in judged if len(one.useful) == 1 and next(iter(one.useful)) in homes]
    cases = []
    for row in dice.permutation(len(single))[:most]:
        group, at = homes[next(iter(single[row].useful))]
        cases.append(Case(single[row].query, told[id(group)], at))
    return cases


def judge(selector: BaseSelector, cases: Sequence[Case]) -> Score:
    """Select for every case; the first of each engine warms up what the selector keeps."""
    score = Score([], [])
    for choices in {id(case.choices): case.choices for case in cases}.values():
        _selected(selector, Case("Which one?", choices, 0))
    for case in cases:
        start = time.perf_counter()
        index = _selected(selector, case)
        score.seconds.append(time.perf_counter() - start)
        score.right.append(index == case.right)
        score.invalid += index is None or not 0 <= index < len(case.choices)
    return score


def _selected(selector: BaseSelector, case: Case) -> int | None:
    """Return the index; None if what a model wrote could not be read."""
    try:
        index: int = selector.select(case.choices, QueryBundle(case.query)).ind
    except (ValueError, KeyError, TypeError):
        return None
    return index


def trained(sets: dict[str, list[Episode]]) -> tuple[ToolRanker, list[Episode]]:
    """Train without a fifth of the tools; return the queries of metatool that need one of them."""
    encoder = load_encoder(BUNDLED / "encoder")
    remembering = Remembering(encoder)
    train, judged = by_tool(sets, 0)
    ranker = fit_ranker(train, remembering, checkpoint=Path("build/selector"))
    return ToolRanker(encoder, ranker.fit), judged["metatool"]


def local_llm(folder: Path) -> LLM:
    """Return a model of transformers as an LLM of LlamaIndex."""
    from local_llm import LocalLLM

    return LocalLLM(folder=str(folder))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--model", type=Path, help="folder of a chat model")
    parser.add_argument("--asked", type=int, default=30)
    options = parser.parse_args()
    sets = load()
    ranker, judged = trained(sets)
    cases = engines(sets["metatool"], judged, options.queries)
    ours = judge(TryageSelector(ranker=ranker), cases)
    embedding = EmbeddingSingleSelector.from_defaults(embed_model=BundledEmbedding())
    theirs = judge(embedding, cases)
    print("| selector | queries | accuracy | median ms | 95% ms | time | invalid |")
    print("|---|---|---|---|---|---|---|")
    print(ours.row("TryageSelector", ours))
    print(theirs.row("EmbeddingSingleSelector, same encoder", ours))
    if options.model:
        asked = cases[: options.asked]
        llm = LLMSingleSelector.from_defaults(llm=local_llm(options.model))
        print(judge(llm, asked).row(f"LLMSingleSelector, {options.model.name}", ours))
        print(judge(TryageSelector(ranker=ranker), asked).row("TryageSelector, same queries", ours))


if __name__ == "__main__":
    main()
