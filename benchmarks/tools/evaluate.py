"""Judge the tool ranker on queries, and then on tools, that were not in training.

    python benchmarks/tools/evaluate.py [--folds 0 1 2 3 4] [--splits query tool] [--larger]

Queries are split by a hash of their text. In the split by tool, training leaves out a fifth of the
tools, by name and description, and every query that needs one of them. These queries are then
ranked among all tools of their set. Nothing is fitted on the test. Checkpoints are in build/tools:
the same command resumes a stopped run. `--larger` also encodes every text with the larger encoder,
which takes longer than everything else.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from folds import CONFIG, FOLDS, CachedEncoder, by_query, by_tool
from measures import auroc, recall, set_f1
from sets import load

from tryage.perception.encoder import BUNDLED_TRANSFORMER
from tryage.perception.persistence import load_encoder
from tryage.tools.bm25 import BM25Index
from tryage.tools.persistence import BUNDLED_FOLDER
from tryage.tools.training import fit_ranker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from folds import Sets, Split
    from numpy.typing import NDArray

    from tryage.tools import Tool, ToolRanker
    from tryage.tools.episodes import Episode

    Chooser = Callable[[Episode], Sequence[str]]

TOP = 5  # tools that are chosen
RESAMPLES = 1_000  # of the queries, for an interval


class RankerChooser:
    """A trained ranker; it records F1 of its sets and the probability that a tool is needed."""

    def __init__(self, ranker: ToolRanker) -> None:
        self.set_f1: dict[str, list[float]] = defaultdict(list)
        self.needed: dict[str, list[float]] = defaultdict(list)
        self._ranker, self._toolboxes = ranker, PerToolset(ranker.toolbox)
        self._cache: dict[int, tuple[Sequence[str], Sequence[str], float]] = {}

    def __call__(self, one: Episode) -> Sequence[str]:
        """Return the names of the first tools."""
        return self._select(one)[0]

    def record(self, test: Sets) -> None:
        """Record the probability that a tool is needed, and F1 of the set if one is."""
        for name, part in test.items():
            for one in part:
                _, chosen, needed = self._select(one)
                self.needed[name].append(needed)
                if one.useful:
                    self.set_f1[name].append(set_f1(chosen, one.useful))

    def _select(self, one: Episode) -> tuple[Sequence[str], Sequence[str], float]:
        """Return the first tools, the useful ones, and the probability that any is needed."""
        if id(one) not in self._cache:
            selection = self._ranker.select(self._toolboxes(one.tools), one.query, None)
            first = [ranked.name for ranked in selection.ranking[:TOP]]
            self._cache[id(one)] = first, selection.names, selection.needed
        return self._cache[id(one)]


class PerToolset:
    """Calls a function once per list of tools."""

    def __init__(self, make: Callable[[Sequence[Tool]], object]) -> None:
        self._make, self._results = make, {}

    def __call__(self, tools: Sequence[Tool]) -> object:
        """Return the result for a list of tools."""
        if id(tools) not in self._results:
            self._results[id(tools)] = self._make(tools)
        return self._results[id(tools)]


def bm25() -> Chooser:
    """Choose only by BM25, over stems of name, description and arguments."""
    index = PerToolset(BM25Index)
    return lambda one: highest(one, index(one.tools)(one.query)[:, 1])


def similarity(encoder: CachedEncoder) -> Chooser:
    """Choose by the cosine of query and description, like embedding retrievers."""
    embeddings = PerToolset(lambda tools: encoder.encode([tool.full_text for tool in tools]))
    return lambda one: highest(one, embeddings(one.tools) @ encoder.encode([one.query])[0])


def highest(one: Episode, scores: NDArray[np.floating]) -> Sequence[str]:
    """Return the names of the tools with the highest scores."""
    return [one.tools[i].name for i in np.argsort(-scores, kind="stable")[:TOP]]


def cached(chooser: Chooser) -> Chooser:
    """Call an untrained chooser once per query, in all folds and splits."""
    chosen: dict[int, Sequence[str]] = {}

    def choose(one: Episode) -> Sequence[str]:
        if id(one) not in chosen:
            chosen[id(one)] = chooser(one)
        return chosen[id(one)]

    return choose


def judge(chooser: Chooser, part: Sequence[Episode]) -> list[tuple[float, ...]]:
    """Return recall at 1, 3 and 5, and the share of the tools' text that choosing 5 saves."""
    sizes = PerToolset(
        lambda tools: {tool.name: len(tool.title) + len(tool.arguments_text) for tool in tools}
    )
    rows = []
    for one in part:
        if one.useful:
            names, size = chooser(one), sizes(one.tools)
            saved = 1 - sum(size[name] for name in names) / sum(size.values())
            rows.append((*(recall(names, one.useful, k) for k in (1, 3, 5)), saved))
    return rows


def interval(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Bootstrap the mean difference over queries (Efron, 1979): its 95% interval, `(2, ...)`."""
    rng, lead, n = np.random.default_rng(0), ours - theirs, len(ours)
    means = [lead[rng.integers(n, size=n)].mean(axis=0) for _ in range(RESAMPLES)]
    return np.percentile(means, (2.5, 97.5), axis=0)


class Table:
    """Figures of several folds."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, list[tuple[float, ...]]]] = {}
        self.set_f1: dict[str, list[float]] = defaultdict(list)
        self.needed: dict[str, list[float]] = defaultdict(list)

    def add(self, choosers: dict[str, Chooser], test: Sets) -> None:
        """Judge on one fold; the chooser "Tryage" is the trained ranker."""
        for name, part in test.items():
            for label, chooser in choosers.items():
                methods = self.rows.setdefault(name, defaultdict(list))
                methods[label] += judge(chooser, part)
        ranker = choosers["Tryage"]
        ranker.record(test)
        for fold, total in ((ranker.set_f1, self.set_f1), (ranker.needed, self.needed)):
            for name, values in fold.items():
                total[name] += values

    def show(self, title: str) -> None:
        """Print the table."""
        print(f"\n### {title}\n\n| set | queries | method | recall@1 | @3 | @5 | set F1 | saved |")
        print("|---|---|---|---|---|---|---|---|")
        for name, methods in self.rows.items():
            for label, values in methods.items():
                if values:
                    r1, r3, r5, saved = np.mean(values, axis=0)
                    f1 = f"{np.mean(self.set_f1[name]):.3f}" if label == "Tryage" else ""
                    figures = f"{r1:.3f} | {r3:.3f} | {r5:.3f} | {f1} | {saved:.0%}"
                    print(f"| {name} | {len(values):,} | {label} | {figures} |")
        self._print_lead()
        positive, negative = (np.array(self.needed[name]) for name in ("bfcl", "irrelevance"))
        area = auroc(positive, negative)
        print(
            f"\nAbstention, {len(positive):,} queries of bfcl against {len(negative):,} of ", end=""
        )
        print(f"irrelevance: AUROC {area:.3f}.", flush=True)

    def _print_lead(self) -> None:
        print("\n| set | ahead of similarity @1 | @3 | @5 |\n|---|---|---|---|")
        for name, methods in self.rows.items():
            if methods["Tryage"]:
                ours, theirs = (np.array(methods[m])[:, :3] for m in ("Tryage", "similarity"))
                low, high = interval(ours, theirs)
                lead = zip((ours - theirs).mean(axis=0), low, high, strict=True)
                cells = (f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]" for mean, low, high in lead)
                print(f"| {name} | {' | '.join(cells)} |")


SPLITS: dict[str, tuple[str, Callable[[Sets, int], Split]]] = {
    "query": ("Unseen queries", by_query),
    "tool": ("Unseen tools", by_tool),
}


def main() -> None:
    """Train on each fold and print one table per split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, nargs="+", default=range(FOLDS))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS)
    parser.add_argument("--larger", action="store_true")
    options = parser.parse_args()
    sets, small = load(), CachedEncoder(load_encoder(BUNDLED_FOLDER / "encoder"))
    small.prepare(sets)
    untrained = {"BM25": cached(bm25()), "similarity": cached(similarity(small))}
    if options.larger:
        untrained["similarity, transformer"] = cached(
            similarity(CachedEncoder(load_encoder(BUNDLED_TRANSFORMER)))
        )
    for title, split in (SPLITS[name] for name in options.splits):
        table = Table()
        for number in options.folds:
            train, test = split(sets, number)
            folder = Path("build/tools")
            ranker = fit_ranker(train, small, config=CONFIG, checkpoint=folder, progress=False)
            table.add({"Tryage": RankerChooser(ranker), **untrained}, test)
            print(f"{title}: fold {number} judged", file=sys.stderr, flush=True)
        table.show(title)


if __name__ == "__main__":
    main()
