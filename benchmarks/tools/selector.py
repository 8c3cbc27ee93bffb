"""Time and judge LlamaIndex's selectors: Tryage's, by embeddings, and by a language model.

    python benchmarks/tools/selector.py [--queries 2000] [--model FOLDER] [--asked 30]
    python benchmarks/tools/selector.py --times [--queries 200]

The tools of tool_metatool become query engines of ten choices each. A query goes to the engine with
the tool that it needs. The test has the queries whose tool was not in training (fold 1 by tool; the
interpolation of the maps was chosen on fold 0), among engines of only such tools and of all tools.
Each pair of rows has the same encoder; the transformer has identity maps, because nothing was
trained on it. `Nothing` encodes the query and selects the first choice: its time is that of
LlamaIndex and of one encoding, the least of any selector that reads. Times are processor times.
`--times` does not train or judge: it times the bundled ranker among 2 to 100 choices. `--model` is
a folder with a chat model of transformers, such as examples/demo makes of SmolLM2-135M-Instruct; it
gets only `--asked` queries, because each takes seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from folds import CONFIG, CachedEncoder, by_tool, fold
from llama_index.core.selectors import EmbeddingSingleSelector, LLMSingleSelector
from llama_index.core.tools import ToolMetadata
from sets import load, metatool
from turns import Case, FirstChoiceSelector, judge

from tryage.perception.encoder import BUNDLED_TRANSFORMER
from tryage.perception.persistence import load_encoder
from tryage.tools import ToolRanker
from tryage.tools.episodes import Episode
from tryage.tools.persistence import BUNDLED_FOLDER
from tryage.tools.training import fit_ranker
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


def make_cases(
    episodes: Sequence[Episode], test: Sequence[Episode], limit: int, choices: int = CHOICES
) -> list[Case]:
    """Split the tools into engines of `choices` choices; return queries with the right choice."""
    rng = np.random.default_rng(SEED)
    tools = list(episodes[0].tools)
    rng.shuffle(tools)
    groups = [tools[i : i + choices] for i in range(0, len(tools) - choices + 1, choices)]
    positions = {tool.name: (group, i) for group in groups for i, tool in enumerate(group)}
    metadata = {
        id(group): [ToolMetadata(tool.description, tool.name) for tool in group] for group in groups
    }
    single = [one for one in test if len(one.useful) == 1 and next(iter(one.useful)) in positions]
    cases = []
    for row in rng.permutation(len(single))[:limit]:
        group, i = positions[next(iter(single[row].useful))]
        cases.append(Case(single[row].query, metadata[id(group)], i))
    return cases


def print_times(limit: int) -> None:
    """Print the time of a selection by encoder and number of choices, with the bundled ranker.

    First the selectors take turns on each query, so that each one starts with processor caches that
    the others filled; then each selector runs alone on all queries. Every query runs several times
    and its shortest time counts, as `timeit` advises, because anything above is due to the machine.
    """
    print(
        "| encoder, turns | choices | queries | TryageSelector | Nothing | Embedding... | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    bundled, episodes = ToolRanker.from_pretrained(), metatool()
    slow = untrained(bundled, load_encoder(BUNDLED_TRANSFORMER))
    for name, ranker, share in (("static", bundled, 1), ("transformer", slow, 10)):
        encoder = ranker.encoder
        selectors = [
            TryageSelector(ranker=ranker),
            FirstChoiceSelector(encoder),
            embedding_selector(encoder),
        ]
        for count in COUNTS:
            cases = make_cases(episodes, episodes, limit // share, count)
            orders = {"by query": [selectors], "alone": [[one] for one in selectors]}
            for order, groups in orders.items():
                times = _median_times(groups, cases, encoder)
                cells = " | ".join(f"{ms:.2f}" for ms in times)
                row = f"| {name}, {order} | {count} | {len(cases)} | {cells} "
                print(f"{row}| {times[2] / times[0]:.1f}x |", flush=True)


def _median_times(
    groups: Sequence[Sequence[BaseSelector]], cases: Sequence[Case], encoder: Encoder
) -> list[float]:
    """Return the milliseconds of each selector: the median over queries of the shortest time."""
    turns = [
        [score.seconds for group in groups for score in judge(group, cases, [encoder])]
        for _ in range(TURNS)
    ]
    return [float(ms) for ms in 1e3 * np.median(np.min(turns, axis=0), axis=1)]


def train(sets: dict[str, list[Episode]], number: int) -> tuple[ToolRanker, list[Episode]]:
    """Train without a fifth of the tools; return the queries of metatool that need one of them."""
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    episodes, test = by_tool(sets, number)
    reader, checkpoint = CachedEncoder(encoder), Path("build/selector")
    ranker = fit_ranker(episodes, reader, config=CONFIG, checkpoint=checkpoint)
    return ToolRanker(encoder, ranker.matcher), test["metatool"]


def untrained(ranker: ToolRanker, encoder: Encoder) -> ToolRanker:
    """Return a ranker on another encoder, with identity maps."""
    identity = np.eye(encoder.dim, dtype=np.float32)
    return ToolRanker(encoder, replace(ranker.matcher, query_map=identity, tool_map=identity))


def embedding_selector(encoder: Encoder) -> EmbeddingSingleSelector:
    """Return LlamaIndex's selector by embeddings, on an encoder."""
    embedding = BundledEmbedding()
    embedding._encoder = encoder  # noqa: SLF001 - the class has no option for another encoder
    return EmbeddingSingleSelector.from_defaults(embed_model=embedding)


def unseen(episodes: Sequence[Episode], number: int) -> list[Episode]:
    """Return the queries with only the tools that were not in training."""
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
    parser.add_argument("--slow", type=int, default=400, help="queries for the transformer")
    parser.add_argument("--asked", type=int, default=30, help="queries for the chat model")
    parser.add_argument("--times", action="store_true", help="only times by number of choices")
    options = parser.parse_args()
    if options.times:
        print_times(options.queries)
        return
    sets = load()
    ranker, test = train(sets, FOLD)
    new = unseen(test, FOLD)
    mixed = make_cases(sets["metatool"], test, options.queries)
    cases = make_cases(new, new, options.queries)
    print("| selector | choices | queries | accuracy | median ms | 95% ms | time | invalid |")
    print("|---|---|---|---|---|---|---|---|")
    tryage, embedded = TryageSelector(ranker=ranker), embedding_selector(ranker.encoder)
    first = FirstChoiceSelector(ranker.encoder)
    for label, tested in (("all new", cases), ("new and known", mixed)):
        ours, least, theirs = judge([tryage, first, embedded], tested, [ranker.encoder])
        print(ours.row(f"TryageSelector | {label}", ours))
        print(least.row(f"Nothing, same encoder | {label}", ours))
        print(theirs.row(f"EmbeddingSingleSelector, same encoder | {label}", ours), flush=True)
    few, slow = cases[: options.slow], load_encoder(BUNDLED_TRANSFORMER)
    plain = TryageSelector(ranker=untrained(ranker, slow))
    selectors = [tryage, plain, embedding_selector(slow)]
    ours, same, theirs = judge(selectors, few, [ranker.encoder, slow])
    print(ours.row("TryageSelector | all new", ours))
    print(same.row("TryageSelector, transformer, untrained | all new", ours))
    print(theirs.row("EmbeddingSingleSelector, transformer | all new", ours), flush=True)
    if options.model:
        llm = LLMSingleSelector.from_defaults(llm=local_llm(options.model))
        ours, theirs = judge([tryage, llm], cases[: options.asked], [ranker.encoder], warm=False)
        print(ours.row("TryageSelector | all new", ours))
        print(theirs.row(f"LLMSingleSelector, {options.model.name} | all new", ours))


if __name__ == "__main__":
    main()
