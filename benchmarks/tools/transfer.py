"""Judge the tool ranker on kinds of tools and topics that were not in training.

    python benchmarks/tools/transfer.py --minilm FOLDER [--seeds 0 1 2 3 4] [--limit 2000]

Each set is left out of training with all its tools, and its queries are then ranked. The sets of
one source count as one: the three of apibench, and both kinds of topics. The functions of bfcl are
ranked among all of them, not only among the few that its queries offer. Each seed draws other
queries, at most `--limit` of each set, and trains anew. `--minilm` is a folder with the files of
sentence-transformers/all-MiniLM-L6-v2 (config.json, model.safetensors, tokenizer.json). Intervals
are bootstraps over queries of the difference in the same query. The best constant ranks by how
often a tool was needed, which it may look up in the queries that are judged. Whether any tool is
needed is judged on topics only: no other set than bfcl has functions that no query needs.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from evaluate import bm25, interval, similarity
from folds import CONFIG, CachedEncoder
from measures import auroc, recall, set_f1
from sets import load
from topics import background, draw_lists, general_queries, mmlu, mmlu_pro, topic_episodes

from tryage.perception.persistence import load_encoder
from tryage.tools import ToolRanker
from tryage.tools.calibration import calibrate_topics
from tryage.tools.episodes import Episode
from tryage.tools.persistence import BUNDLED_FOLDER
from tryage.tools.training import fit_ranker

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from folds import Sets
    from numpy.typing import NDArray

    from tryage.tools import Tool

    Chooser = Callable[[Episode], Sequence[str]]

TESTED = 400  # queries of each set and seed
THRESHOLD = 0.2  # of `abstain_below`, as documented
KINDS = {
    "metatool": "metatool",
    "sealtools": "sealtools",
    "huggingface": "apibench",
    "torchhub": "apibench",
    "tensorflowhub": "apibench",
    "bfcl": "bfcl",
    "bfcl, all functions": "bfcl",
    "mmlu": "topics",
    "mmlu_pro": "topics",
}
TOPIC_SIZES = (3, 5, 8, 13)


def all_functions(part: Sequence[Episode]) -> list[Episode]:
    """Return queries among the functions of all queries; the first of a name counts."""
    functions: dict[str, Tool] = {}
    for one in part:
        for tool in one.tools:
            functions.setdefault(tool.name.casefold(), tool)
    tools, kept = list(functions.values()), set(functions.values())
    return [
        Episode(one.query, tools, one.useful)
        for one in part
        if {tool for tool in one.tools if tool.name in one.useful} <= kept
    ]


def drawn(part: Sequence[Episode], limit: int, rng: np.random.Generator) -> list[Episode]:
    """Draw at most `limit` episodes."""
    return [part[i] for i in rng.permutation(len(part))[:limit]]


def train(
    sets: Sets, left_out: str, limit: int, seed: int, encoder: CachedEncoder
) -> tuple[ToolRanker, np.random.Generator]:
    """Train as the bundled ranker is trained, without one kind of sets."""
    rng = np.random.default_rng(seed)
    kept = {name: part for name, part in sets.items() if KINDS[name] != left_out}
    training = [
        one
        for name, part in kept.items()
        if name not in {"bfcl, all functions", "mmlu_pro"}
        for one in drawn(part, limit, rng)
    ]
    config = replace(CONFIG, schedule=replace(CONFIG.schedule, seed=seed))
    ranker = fit_ranker(training, encoder, config=config, progress=False)
    topics = topic_episodes(kept, rng)
    matcher = calibrate_topics(ranker.matcher, encoder, background(rng), topics)
    return ToolRanker(encoder, matcher), rng


def constant(part: Sequence[Episode]) -> Chooser:
    """Choose the tools that the queries need most often, whatever the query."""
    counts = Counter(name for one in part for name in one.useful)
    order = [name for name, _ in counts.most_common()]
    return lambda one: [name for name in order if name in {tool.name for tool in one.tools}][:5]


class Results:
    """Recalls of each method on each set, over all seeds."""

    def __init__(self) -> None:
        self.recalls: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.sizes: dict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def add(self, name: str, ranker: ToolRanker, part: Sequence[Episode], others: dict) -> None:
        """Judge the ranker and the other methods on a set."""
        choosers = {**others, "best constant": constant(part)}
        for one in part:
            selection = ranker.select(ranker.toolbox(one.tools), one.query, None)
            first = [ranked.name for ranked in selection.ranking[:5]]
            f1 = set_f1(selection.names, one.useful)
            self.sizes[name].append((f1, len(selection.names), len(one.useful)))
            self._add(name, "Tryage", first, one.useful)
            for label, chooser in choosers.items():
                self._add(name, label, chooser(one), one.useful)

    def _add(self, name: str, label: str, names: Sequence[str], useful: Collection[str]) -> None:
        self.recalls[name][label].append(tuple(recall(names, useful, k) for k in (1, 3, 5)))

    def _pooled(self) -> dict[str, list[tuple[float, ...]]]:
        pooled: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for methods in self.recalls.values():
            for label, rows in methods.items():
                pooled[label] += rows
        return pooled

    def show(self) -> None:
        """Print recalls, the lead over every other method, and the sizes of sets."""
        print("\n| set | queries | method | recall@1 | @3 | @5 | Tryage ahead @1 | @5 |")
        print("|---|---|---|---|---|---|---|---|")
        for name, methods in {**self.recalls, "all of them": self._pooled()}.items():
            ours = np.array(methods["Tryage"])
            for label, rows in methods.items():
                theirs = np.array(rows)
                lead = _lead(ours, theirs) if label != "Tryage" else " | "
                cells = " | ".join(f"{mean:.3f}" for mean in theirs.mean(axis=0))
                print(f"| {name} | {len(ours):,} | {label} | {cells} | {lead} |")
        print("\n| set | F1 of sets | tools chosen | tools needed |\n|---|---|---|---|")
        for name, sizes in self.sizes.items():
            f1, chosen, needed = np.mean(sizes, axis=0)
            print(f"| {name} | {f1:.3f} | {chosen:.2f} | {needed:.2f} |")


def _lead(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> str:
    low, high = interval(ours, theirs)
    mean = (ours - theirs).mean(axis=0)
    return " | ".join(f"{mean[i]:+.3f} [{low[i]:+.3f}, {high[i]:+.3f}]" for i in (0, 2))


class Abstention:
    """How often queries that need a tool, and others, are refused."""

    def __init__(self) -> None:
        self.needed: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, ranker: ToolRanker, part: Sequence[Episode]) -> None:
        """Record the probability that a tool is needed."""
        for one in part:
            needed = ranker.select(ranker.toolbox(one.tools), one.query, 1).needed
            self.needed[name][bool(one.useful)].append(needed)

    def show(self) -> None:
        """Print a table."""
        print(f"\n| set | AUROC | refused at {THRESHOLD}: about a tool | not about any |")
        print("|---|---|---|---|")
        for name, parts in self.needed.items():
            on, off = np.array(parts[True]), np.array(parts[False])
            shares = " | ".join(f"{np.mean(part < THRESHOLD):.0%}" for part in (on, off))
            print(f"| {name} | {auroc(on, off):.3f} | {shares} |")


def main() -> None:
    """Train without each kind of sets, for each seed, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minilm", type=Path, help="a folder with all-MiniLM-L6-v2")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--limit", type=int, default=2_000)
    parser.add_argument("--tested", type=int, default=TESTED)
    options = parser.parse_args()
    sets = {name: part for name, part in load().items() if name in KINDS}
    sets |= {"bfcl, all functions": all_functions(sets["bfcl"]), "mmlu": mmlu()}
    sets["mmlu_pro"] = mmlu_pro()
    encoder = CachedEncoder(load_encoder(BUNDLED_FOLDER / "encoder"))
    others = {"BM25": bm25(), "similarity, same encoder": similarity(encoder)}
    if options.minilm:
        from minilm import MiniLM

        others["similarity, MiniLM"] = similarity(CachedEncoder(MiniLM(options.minilm)))
    results, abstention = Results(), Abstention()
    for seed in options.seeds:
        for kind in dict.fromkeys(KINDS.values()):
            ranker, rng = train(sets, kind, options.limit, seed, encoder)
            off_topic = general_queries(rng)
            for name in [name for name in KINDS if KINDS[name] == kind]:
                part = drawn(sets[name], options.tested, rng)
                results.add(name, ranker, part, others)
                if kind == "topics":
                    lists = draw_lists(sets[name], TOPIC_SIZES, options.tested, off_topic, rng)
                    abstention.add(name, ranker, lists)
            print(f"seed {seed}: {kind} judged", flush=True)
    results.show()
    abstention.show()


if __name__ == "__main__":
    main()
