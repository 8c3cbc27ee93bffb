"""Judge the tool ranker on queries, and again on tools, that training has not seen.

    python benchmarks/tools/evaluate.py [--folds 5]

Queries are split by a hash of their text. In the split by tool a fifth of the tools, by name and
description, is left out of training with every query that needs one of them; those queries are then
ranked among all tools of their set. Nothing is tuned on what is judged.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from sets import load

from tryage.perception.encoder import TRANSFORMER, load_encoder
from tryage.pretrained import BUNDLED
from tryage.tools.episodes import Episode
from tryage.tools.feedback import Feedback
from tryage.tools.measures import auroc, recall, set_f1
from tryage.tools.sight import see
from tryage.tools.toolbox import read_tools
from tryage.tools.training import fit_ranker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.tools import Tool, ToolRanker

    Sets = dict[str, list[Episode]]
    Scorer = Callable[[Episode], NDArray[np.floating]]

FOLDS = 5
KEPT = 5  # tools chosen, where tokens are counted


def fold(text: str) -> int:
    """Say which fold a text is in."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") % FOLDS


def unseen(tool: Tool, number: int) -> bool:
    """Tell whether a tool is left out of training in this fold."""
    return fold(f"{tool.name}: {tool.description}") == number


def by_query(sets: Sets, number: int) -> tuple[list[Episode], Sets]:
    """Split by the text of the query."""
    train = [one for part in sets.values() for one in part if fold(one.query) != number]
    judged = {
        name: [one for one in part if fold(one.query) == number] for name, part in sets.items()
    }
    return train, judged


def by_tool(sets: Sets, number: int) -> tuple[list[Episode], Sets]:
    """Split by tool: training sees none of these, judging only queries that need one."""
    train: list[Episode] = []
    judged: Sets = defaultdict(list)
    known: dict[int, list[Tool]] = {}
    for name, part in sets.items():
        for one in part:
            new = {tool.name for tool in one.tools if unseen(tool, number)}
            if set(one.useful) & new or (not one.useful and new):
                judged[name].append(one)
            else:
                kept = [tool for tool in one.tools if tool.name not in new]
                pool = known.setdefault(id(one.tools), kept)
                train.append(Episode(one.query, pool, one.useful))
    return train, judged


def learned(ranker: ToolRanker) -> Scorer:
    """Score by a trained ranker."""
    boxes = {}

    def scores(one: Episode) -> NDArray[np.floating]:
        if id(one.tools) not in boxes:
            boxes[id(one.tools)] = read_tools(one.tools, ranker.encoder, ranker.fit)
        sight = see(one.query, boxes[id(one.tools)], ranker.encoder, ranker.fit, Feedback())
        return ranker.fit.joined(sight.whole, sight.parts)

    return scores


def words(ranker: ToolRanker) -> Scorer:
    """Score by BM25 alone, over stems of name, description and arguments."""
    boxes = {}

    def scores(one: Episode) -> NDArray[np.floating]:
        if id(one.tools) not in boxes:
            boxes[id(one.tools)] = read_tools(one.tools, ranker.encoder, ranker.fit).words
        return boxes[id(one.tools)](one.query)[:, 1]

    return scores


def similarity(encoder: Encoder) -> Scorer:
    """Score by plain cosine of query and description, as embedding retrievers do."""
    read: dict[int, NDArray[np.floating]] = {}

    def scores(one: Episode) -> NDArray[np.floating]:
        if id(one.tools) not in read:
            texts = [f"{tool.title} {tool.details}" for tool in one.tools]
            read[id(one.tools)] = encoder.encode(texts)
        return read[id(one.tools)] @ encoder.encode([one.query])[0]

    return scores


def judge(scorer: Scorer, part: Sequence[Episode]) -> list[tuple[float, ...]]:
    """Recall at 1, 3 and 5, and the share of the tools' text that choosing 5 saves."""
    rows = []
    for one in part:
        if not one.useful:
            continue
        order = np.argsort(-scorer(one), kind="stable")[:KEPT]
        names = [one.tools[i].name for i in order]
        sizes = [len(tool.title) + len(tool.details) for tool in one.tools]
        saved = 1 - sum(sizes[i] for i in order) / sum(sizes)
        rows.append((*(recall(names, one.useful, k) for k in (1, 3, 5)), saved))
    return rows


def sets_and_need(
    ranker: ToolRanker, judged: Sets
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Set F1 where the ranker says how many tools, and how much it thinks that any is needed."""
    agreed, needed = defaultdict(list), defaultdict(list)
    boxes = {}
    for name, part in judged.items():
        for one in part:
            if id(one.tools) not in boxes:
                boxes[id(one.tools)] = read_tools(one.tools, ranker.encoder, ranker.fit)
            chosen = ranker.select(boxes[id(one.tools)], one.query, None)
            needed[name].append(chosen.needed)
            if one.useful:
                agreed[name].append(set_f1(chosen.names, one.useful))
    return agreed, needed


def report(
    title: str, split: Callable[[Sets, int], tuple[list[Episode], Sets]], count: int
) -> None:
    """Train on each fold and print one table over all of them."""
    sets = load()
    small, large = load_encoder(BUNDLED / "encoder"), load_encoder(TRANSFORMER)
    rows: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    agreed: dict[str, list[float]] = defaultdict(list)
    needed: dict[str, list[float]] = defaultdict(list)
    for number in range(count):
        train, judged = split(sets, number)
        ranker = fit_ranker(train, small)
        scorers = {
            "Tryage": learned(ranker),
            "BM25": words(ranker),
            "similarity": similarity(small),
            "similarity, transformer": similarity(large),
        }
        for label, scorer in scorers.items():
            for name, part in judged.items():
                rows[name][label] += judge(scorer, part)
        for found, kept in zip(sets_and_need(ranker, judged), (agreed, needed), strict=True):
            for name, values in found.items():
                kept[name] += values
    print(f"\n### {title}\n\n| set | queries | method | recall@1 | @3 | @5 | set F1 | saved |")
    print("|---|---|---|---|---|---|---|---|")
    for name, methods in rows.items():
        for label, values in methods.items():
            if not values:
                continue
            r1, r3, r5, saved = np.mean(values, axis=0)
            f1 = f"{np.mean(agreed[name]):.3f}" if label == "Tryage" else ""
            print(
                f"| {name} | {len(values):,} | {label} | {r1:.3f} | {r3:.3f} | {r5:.3f} | {f1} | "
                f"{saved:.0%} |"
            )
    positive, negative = np.array(needed["bfcl"]), np.array(needed["irrelevance"])
    told = auroc(positive, negative)
    print(f"\nAbstention, bfcl against irrelevance ({len(negative):,} queries): AUROC {told:.3f}.")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=FOLDS)
    options = parser.parse_args()
    report("Unseen queries", by_query, options.folds)
    report("Unseen tools", by_tool, options.folds)


if __name__ == "__main__":
    main()
