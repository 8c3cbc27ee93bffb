"""Time and judge LlamaIndex's selectors: Tryage's, by embeddings, and by asking a language model.

    python benchmarks/tools/selector.py [--queries 2000] [--model FOLDER] [--asked 30]
    python benchmarks/tools/selector.py --times [--queries 200]

The tools of tool_metatool become query engines of ten choices each; a query is put to the engine
that has the tool it needs. Judged are queries whose tool training has not seen (fold 1 by tool; how
far the maps go was chosen on fold 0), among engines of such tools alone and of all tools. Each pair
of rows reads with one encoder; the transformer's maps are the identity, nothing was trained on it.
`Nothing` reads the query and selects the first choice: what it takes is LlamaIndex's own work and
one encoding, and no selector that reads can take less. Times are those of the processor. `--times`
trains and judges nothing: it tells what the bundled ranker takes among 2 to 100 choices.
`--model` is a folder with a chat model as
transformers saves it, such as examples/demo makes of SmolLM2-135M-Instruct; it is asked `--asked`
queries, because each takes seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from folds import RECIPE, Remembering, by_tool, fold
from llama_index.core.selectors import EmbeddingSingleSelector, LLMSingleSelector
from llama_index.core.tools import ToolMetadata
from sets import load, metatool
from turns import Case, Nothing, judge

from tryage.perception.encoder import BUNDLED_TRANSFORMER
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.tools import ToolRanker
from tryage.tools.training import Episode, fit_ranker
from tryage_llamaindex import TryageSelector
from tryage_llamaindex.testing import BundledEmbedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.base_selector import BaseSelector
    from llama_index.core.llms import LLM

    from tryage.perception.encoder import Encoder

CHOICES = 10
COUNTS = (2, 10, 16, 30, 100)
TURNS = 15
SEED = 0
FOLD = 1


def engines(
    episodes: Sequence[Episode], judged: Sequence[Episode], most: int, choices: int = CHOICES
) -> list[Case]:
    """Deal the tools into engines of so many choices, and put the judged queries to theirs."""
    dice = np.random.default_rng(SEED)
    tools = list(episodes[0].tools)
    dice.shuffle(tools)
    groups = [tools[at : at + choices] for at in range(0, len(tools) - choices + 1, choices)]
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


def print_times(most: int) -> None:
    """Print what a selection takes by encoder and number of choices, with the bundled ranker.

    Once the selectors take turns on each query, so that each finds the processor's caches full of
    what the others read, and once each has all queries to itself. Every query is put in several
    turns and the least of its times counts, as `timeit` advises: what is more comes from the
    machine.
    """
    print(
        "| encoder, turns | choices | queries | TryageSelector | Nothing | Embedding... | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    bundled, episodes = ToolRanker.from_pretrained(), metatool()
    slow = untrained(bundled, load_encoder(BUNDLED_TRANSFORMER))
    for name, ranker, share in (("static", bundled, 1), ("transformer", slow, 10)):
        encoder = ranker.encoder
        selectors = [TryageSelector(ranker=ranker), Nothing(encoder), by_embeddings(encoder)]
        for count in COUNTS:
            cases = engines(episodes, episodes, most // share, count)
            ways = {"by query": [selectors], "alone": [[one] for one in selectors]}
            for how, groups in ways.items():
                taken = _taken(groups, cases, encoder)
                told = " | ".join(f"{ms:.2f}" for ms in taken)
                row = f"| {name}, {how} | {count} | {len(cases)} | {told} "
                print(f"{row}| {taken[2] / taken[0]:.1f}x |", flush=True)


def _taken(
    groups: Sequence[Sequence[BaseSelector]], cases: Sequence[Case], encoder: Encoder
) -> list[float]:
    """Return the milliseconds of each selector, the median of the queries' least."""
    turns = [
        [score.seconds for group in groups for score in judge(group, cases, [encoder])]
        for _ in range(TURNS)
    ]
    return [float(ms) for ms in 1e3 * np.median(np.min(turns, axis=0), axis=1)]


def trained(sets: dict[str, list[Episode]], number: int) -> tuple[ToolRanker, list[Episode]]:
    """Train without a fifth of the tools; return the queries of metatool that need one of them."""
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    train, judged = by_tool(sets, number)
    reader, kept = Remembering(encoder), Path("build/selector")
    ranker = fit_ranker(train, reader, config=RECIPE, checkpoint=kept)
    return ToolRanker(encoder, ranker.matcher), judged["metatool"]


def untrained(ranker: ToolRanker, encoder: Encoder) -> ToolRanker:
    """Return a ranker on another encoder, with maps that leave everything where it is."""
    one = np.eye(encoder.dim, dtype=np.float32)
    return ToolRanker(encoder, replace(ranker.matcher, query_map=one, tool_map=one))


def by_embeddings(encoder: Encoder) -> EmbeddingSingleSelector:
    """Return LlamaIndex's selector on an encoder."""
    embedding = BundledEmbedding()
    embedding._encoder = encoder  # noqa: SLF001 - the fake has room for another
    return EmbeddingSingleSelector.from_defaults(embed_model=embedding)


def unseen(episodes: Sequence[Episode], number: int) -> list[Episode]:
    """Return the queries with only the tools that training has not seen."""
    tools = [t for t in episodes[0].tools if fold(f"{t.name}: {t.description}") == number]
    names = {tool.name for tool in tools}
    return [Episode(one.query, tools, one.useful) for one in episodes if set(one.useful) <= names]


def local_llm(folder: Path) -> LLM:
    """Return a model of transformers as an LLM of LlamaIndex."""
    from local_llm import LocalLLM

    return LocalLLM(folder=str(folder))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--model", type=Path, help="folder of a chat model")
    parser.add_argument("--slow", type=int, default=400, help="queries read with the transformer")
    parser.add_argument("--asked", type=int, default=30, help="queries put to the chat model")
    parser.add_argument("--times", action="store_true", help="times by number of choices alone")
    options = parser.parse_args()
    if options.times:
        print_times(options.queries)
        return
    sets = load()
    ranker, judged = trained(sets, FOLD)
    new = unseen(judged, FOLD)
    mixed = engines(sets["metatool"], judged, options.queries)
    cases = engines(new, new, options.queries)
    print("| selector | choices | queries | accuracy | median ms | 95% ms | time | invalid |")
    print("|---|---|---|---|---|---|---|---|")
    chosen, embedded = TryageSelector(ranker=ranker), by_embeddings(ranker.encoder)
    nothing = Nothing(ranker.encoder)
    for told, those in (("all new", cases), ("new and known", mixed)):
        ours, least, theirs = judge([chosen, nothing, embedded], those, [ranker.encoder])
        print(ours.row(f"TryageSelector | {told}", ours))
        print(least.row(f"Nothing, same encoder | {told}", ours))
        print(theirs.row(f"EmbeddingSingleSelector, same encoder | {told}", ours), flush=True)
    few, slow = cases[: options.slow], load_encoder(BUNDLED_TRANSFORMER)
    plain = TryageSelector(ranker=untrained(ranker, slow))
    ours, same, theirs = judge([chosen, plain, by_embeddings(slow)], few, [ranker.encoder, slow])
    print(ours.row("TryageSelector | all new", ours))
    print(same.row("TryageSelector, transformer, untrained | all new", ours))
    print(theirs.row("EmbeddingSingleSelector, transformer | all new", ours), flush=True)
    if options.model:
        llm = LLMSingleSelector.from_defaults(llm=local_llm(options.model))
        ours, theirs = judge([chosen, llm], cases[: options.asked], [ranker.encoder], warm=False)
        print(ours.row("TryageSelector | all new", ours))
        print(theirs.row(f"LLMSingleSelector, {options.model.name} | all new", ours))


if __name__ == "__main__":
    main()
