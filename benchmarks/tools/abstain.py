"""Judge when a saved tool ranker abstains: queries about one of the tools or topics, and others.

    python benchmarks/tools/abstain.py [--ranker FOLDER] [--packages FOLDER] [--seeds 0 1 2 3 4]

`mmlu_pro` are the questions of MMLU-Pro among 13 query engines, `policy` English laws among the
21 topics of the Comparative Agendas Project, both also among six of them at a time. Training has
seen neither, but MMLU-Pro has questions of MMLU, of which the bundled ranker has seen 3,000.
Queries that need no tool are everyday prompts (AlpacaEval, LMSYS, WildChat). `--packages` adds the
functions that benchmarks/tools/outside.py reads, 20 at a time. `--ranker` is another ranker on the
bundled encoder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from outside import read
from topics import mmlu_pro, read_prompts
from transfer import Abstention, drawn

from tryage.tools import Tool, ToolRanker
from tryage.tools.episodes import Episode
from tryage.tools.persistence import BUNDLED_FOLDER as BUNDLED_RANKER
from tryage.tools.persistence import load_ranker_parts

QUERIES = 200  # of each kind and seed
FEW, MANY = 6, 20  # topics, and functions, of a list
LONGEST = 600  # characters of an everyday prompt
POLICIES = {
    1: "macroeconomics",
    2: "civil rights",
    3: "health",
    4: "agriculture",
    5: "labor",
    6: "education",
    7: "environment",
    8: "energy",
    9: "immigration",
    10: "transportation",
    12: "law and crime",
    13: "social welfare",
    14: "housing",
    15: "domestic commerce",
    16: "defense",
    17: "technology",
    18: "foreign trade",
    19: "international affairs",
    20: "government operations",
    21: "public lands",
    23: "culture",
}


def policy() -> list[Episode]:
    """Read titles of English laws; each needs one of 21 topics."""
    tools = [
        Tool(name.replace(" ", "_"), f"Documents on {name} policy") for name in POLICIES.values()
    ]
    rows = [row for row in read_prompts("textclass") if row["dataset"] == "policy_EN"]
    return [
        Episode(
            row["prompt"].rsplit("\n", 1)[-1],  # without the instruction, which names all topics
            tools,
            frozenset({POLICIES[int(row["gold"])].replace(" ", "_")}),
        )
        for row in rows
        if int(row["gold"]) in POLICIES
    ]


def everyday() -> list[str]:
    """Read prompts of people that are about anything."""
    rows = [*read_prompts("alpacaeval2"), *read_prompts("paretobandit_chat738")]
    return [row["prompt"] for row in rows if len(row["prompt"]) < LONGEST]


def with_others(
    part: list[Episode], size: int | None, others: list[str], rng: np.random.Generator
) -> list[Episode]:
    """Return queries that need a tool, each followed by one that needs none of the same tools.

    With a `size`, a query has its useful tools and others, `size` in all.
    """
    episodes = []
    for one in drawn(part, QUERIES, rng):
        tools = list(one.tools)
        if size is not None:
            useful = [tool for tool in tools if tool.name in one.useful]
            rest = [tool for tool in tools if tool.name not in one.useful]
            tools = [*useful, *(rest[i] for i in rng.permutation(len(rest)))][:size]
        episodes.append(Episode(one.query, tools, one.useful))
        episodes.append(Episode(others[rng.integers(len(others))], tools, frozenset()))
    return episodes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranker", type=Path, default=BUNDLED_RANKER)
    parser.add_argument("--packages", type=Path, help="see benchmarks/tools/outside.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    options = parser.parse_args()
    encoder = BUNDLED_RANKER / "encoder"
    ranker = ToolRanker(**load_ranker_parts(options.ranker, encoder))
    engines, laws = mmlu_pro(), policy()
    parts: dict[str, tuple[list[Episode], int | None]] = {
        "mmlu_pro, 13": (engines, None),
        f"mmlu_pro, {FEW}": (engines, FEW),
        "policy, 21": (laws, None),
        f"policy, {FEW}": (laws, FEW),
    }
    if options.packages:
        sets = read(options.packages)
        parts |= {name: (part, MANY) for name, part in sets.items() if name != "servers"}
        parts["servers"] = sets["servers"], None
    others, abstention = everyday(), Abstention()
    for seed in options.seeds:
        rng = np.random.default_rng(seed)
        for name, (part, size) in parts.items():
            abstention.add(name, ranker, with_others(part, size, others, rng))
    abstention.show()


if __name__ == "__main__":
    main()
