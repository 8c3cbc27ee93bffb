"""Judge the tool ranker on queries, and again on tools, that training has not seen.

    python benchmarks/tools/evaluate.py [--folds 0 1 2 3 4] [--splits query tool] [--larger]

Queries are split by a hash of their text. In the split by tool a fifth of the tools, by name and
description, is left out of training with every query that needs one of them; those queries are then
ranked among all tools of their set. Nothing is fitted on what is judged. Descents are kept in
build/tools: a run that was stopped goes on where it was. `--larger` also reads every text with the
larger encoder, which takes longer than all the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from folds import FOLDS, RECIPE, Remembering, by_query, by_tool
from measures import auroc, recall, set_f1
from sets import load

from tryage.perception.encoder import BUNDLED_TRANSFORMER
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.tools.bm25 import BM25Index
from tryage.tools.training import fit_ranker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from folds import Sets, Split
    from numpy.typing import NDArray

    from tryage.tools import Tool, ToolRanker
    from tryage.tools.training import Episode

    Chooser = Callable[[Episode], Sequence[str]]

KEPT = 5  # tools chosen
DRAWS = 1_000  # of the queries, for an interval


class Learned:
    """A trained ranker; it keeps what it says of whether any tool is needed, and how many."""

    def __init__(self, ranker: ToolRanker) -> None:
        self.agreed: dict[str, list[float]] = defaultdict(list)
        self.needed: dict[str, list[float]] = defaultdict(list)
        self._ranker, self._boxes = ranker, Pools(ranker.toolbox)
        self._seen: dict[int, tuple[Sequence[str], Sequence[str], float]] = {}

    def __call__(self, one: Episode) -> Sequence[str]:
        """Return the first tools by name."""
        return self._look(one)[0]

    def describe(self, judged: Sets) -> None:
        """Note how sure it is that any tool is needed, and set F1 where one is."""
        for name, part in judged.items():
            for one in part:
                _, chosen, needed = self._look(one)
                self.needed[name].append(needed)
                if one.useful:
                    self.agreed[name].append(set_f1(chosen, one.useful))

    def _look(self, one: Episode) -> tuple[Sequence[str], Sequence[str], float]:
        """Return the first tools, those that seem to be of use, and whether any is needed."""
        if id(one) not in self._seen:
            chosen = self._ranker.select(self._boxes(one.tools), one.query, None)
            best = [first.name for first in chosen.ranking[:KEPT]]
            self._seen[id(one)] = best, chosen.names, chosen.needed
        return self._seen[id(one)]


class Pools:
    """What is made of a list of tools, made once."""

    def __init__(self, make: Callable[[Sequence[Tool]], object]) -> None:
        self._make, self._made = make, {}

    def __call__(self, tools: Sequence[Tool]) -> object:
        """Return it."""
        if id(tools) not in self._made:
            self._made[id(tools)] = self._make(tools)
        return self._made[id(tools)]


def words() -> Chooser:
    """Choose by BM25 alone, over stems of name, description and arguments."""
    index = Pools(BM25Index)
    return lambda one: first(one, index(one.tools)(one.query)[:, 1])


def similarity(encoder: Remembering) -> Chooser:
    """Choose by plain cosine of query and description, as embedding retrievers do."""
    read = Pools(lambda tools: encoder.encode([tool.full_text for tool in tools]))
    return lambda one: first(one, read(one.tools) @ encoder.encode([one.query])[0])


def first(one: Episode, scores: NDArray[np.floating]) -> Sequence[str]:
    """Return the names of the tools with the highest scores."""
    return [one.tools[i].name for i in np.argsort(-scores, kind="stable")[:KEPT]]


def once(chooser: Chooser) -> Chooser:
    """Ask a chooser that learns nothing once per query, whatever the fold and the split."""
    told: dict[int, Sequence[str]] = {}

    def choose(one: Episode) -> Sequence[str]:
        if id(one) not in told:
            told[id(one)] = chooser(one)
        return told[id(one)]

    return choose


def judge(chooser: Chooser, part: Sequence[Episode]) -> list[tuple[float, ...]]:
    """Recall at 1, 3 and 5, and the share of the tools' text that choosing 5 saves."""
    sizes = Pools(
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
    rng, ahead = np.random.default_rng(0), ours - theirs
    means = [ahead[rng.integers(len(ahead), size=len(ahead))].mean(axis=0) for _ in range(DRAWS)]
    return np.percentile(means, (2.5, 97.5), axis=0)


class Table:
    """Figures of several folds."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, list[tuple[float, ...]]]] = {}
        self.agreed: dict[str, list[float]] = defaultdict(list)
        self.needed: dict[str, list[float]] = defaultdict(list)

    def add(self, choosers: dict[str, Chooser], judged: Sets) -> None:
        """Judge on one fold; the first chooser is the trained ranker."""
        for name, part in judged.items():
            for label, chooser in choosers.items():
                methods = self.rows.setdefault(name, defaultdict(list))
                methods[label] += judge(chooser, part)
        ranker = choosers["Tryage"]
        ranker.extract_features(judged)
        for found, kept in ((ranker.agreed, self.agreed), (ranker.needed, self.needed)):
            for name, values in found.items():
                kept[name] += values

    def show(self, title: str) -> None:
        """Print it."""
        print(f"\n### {title}\n\n| set | queries | method | recall@1 | @3 | @5 | set F1 | saved |")
        print("|---|---|---|---|---|---|---|---|")
        for name, methods in self.rows.items():
            for label, values in methods.items():
                if values:
                    r1, r3, r5, saved = np.mean(values, axis=0)
                    f1 = f"{np.mean(self.agreed[name]):.3f}" if label == "Tryage" else ""
                    figures = f"{r1:.3f} | {r3:.3f} | {r5:.3f} | {f1} | {saved:.0%}"
                    print(f"| {name} | {len(values):,} | {label} | {figures} |")
        self._ahead()
        positive, negative = (np.array(self.needed[name]) for name in ("bfcl", "irrelevance"))
        told = auroc(positive, negative)
        print(
            f"\nAbstention, {len(positive):,} queries of bfcl against {len(negative):,} of ", end=""
        )
        print(f"irrelevance: AUROC {told:.3f}.", flush=True)

    def _ahead(self) -> None:
        print("\n| set | ahead of similarity @1 | @3 | @5 |\n|---|---|---|---|")
        for name, methods in self.rows.items():
            if methods["Tryage"]:
                ours, theirs = (np.array(methods[m])[:, :3] for m in ("Tryage", "similarity"))
                low, high = interval(ours, theirs)
                ahead = zip((ours - theirs).mean(axis=0), low, high, strict=True)
                cells = (f"{mean:+.3f} [{least:+.3f}, {most:+.3f}]" for mean, least, most in ahead)
                print(f"| {name} | {' | '.join(cells)} |")


SPLITS: dict[str, tuple[str, Callable[[Sets, int], Split]]] = {
    "query": ("Unseen queries", by_query),
    "tool": ("Unseen tools", by_tool),
}


def main() -> None:
    """Train on each fold and print one table per split over all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, nargs="+", default=range(FOLDS))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS)
    parser.add_argument("--larger", action="store_true")
    options = parser.parse_args()
    sets, small = load(), Remembering(load_encoder(BUNDLED_FOLDER / "encoder"))
    small.prepare(sets)
    fixed = {"BM25": once(words()), "similarity": once(similarity(small))}
    if options.larger:
        fixed["similarity, transformer"] = once(
            similarity(Remembering(load_encoder(BUNDLED_TRANSFORMER)))
        )
    for title, split in (SPLITS[name] for name in options.splits):
        table = Table()
        for number in options.folds:
            train, judged = split(sets, number)
            kept = Path("build/tools")
            ranker = fit_ranker(train, small, config=RECIPE, checkpoint=kept, progress=False)
            table.add({"Tryage": Learned(ranker), **fixed}, judged)
            print(f"{title}: fold {number} judged", file=sys.stderr, flush=True)
        table.show(title)


if __name__ == "__main__":
    main()
