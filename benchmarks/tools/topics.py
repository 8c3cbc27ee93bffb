"""Choices that are topics, as of query engines: which queries are about one, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sets import DATA

from tryage.tools import Tool
from tryage.tools.episodes import Episode, is_held_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from folds import Sets

N_BACKGROUND = 256
SMALL_TALK = (
    "Hello, how are you?",
    "Thanks!",
    "Tell me a joke",
    "Good morning",
    "ok",
    "Who are you?",
    "I'm bored",
    "yes please",
    "That is great, thank you",
    "Can you help me?",
    "What can you do?",
    "Write a haiku about autumn",
    "Summarise our conversation so far",
    "What did I just say?",
)
# Sets of prompts and how many of them are queries about anything; their licences allow training.
GENERAL = {"routellm_mtbench": 131, "llmrouter_uiuc": 300, "coderouter_id": 100, "zeroeval": 100}
# Per kind of list: how many topics a list has, and how many queries are drawn.
SIZES = {
    "mmlu": ((3, 5, 8, 12, 20), 2_000),
    "metatool": ((3, 5, 10, 20, 40), 1_000),
    "huggingface": ((20, 50, 150), 400),
    "torchhub": ((5, 10, 20), 300),
    "tensorflowhub": ((5, 10, 20), 300),
}
_QUERIES_PER_LIST = 6
ENGINES = {
    "math": "Answers questions about mathematics: algebra, calculus, geometry and number theory",
    "physics": "Questions about mechanics, electricity, waves, heat and modern physics",
    "chemistry": "Useful for chemistry: reactions, equilibria, organic and physical chemistry",
    "law": "Answers legal questions: contracts, torts, criminal law, courts and procedure",
    "engineering": "Engineering handbook: circuits, machines, fluids, materials and control",
    "economics": "Documents on micro- and macroeconomics, markets, trade and monetary policy",
    "health": "Medical knowledge base: anatomy, diseases, nutrition, nursing and clinical care",
    "business": "Business administration: management, marketing, accounting and ethics",
    "psychology": "Psychology textbook: behaviour, development, disorders, therapy and cognition",
    "biology": "Biology: cells, genetics, evolution, plants, animals and ecology",
    "philosophy": "Philosophers, ethics, arguments, logic and religion",
    "computer_science": "Algorithms, data structures, operating systems and machine learning",
    "history": "History of the world: wars, states, revolutions and historical sources",
}


def mmlu() -> list[Episode]:
    """Read the questions of MMLU: each needs one of 57 subjects."""
    rows = [row for row in read_prompts("routellm_pair") if row["dataset"] == "mmlu"]
    subjects = sorted({row["category"] for row in rows})
    tools = [Tool(name, f"Documents about {name.replace('_', ' ')}") for name in subjects]
    return [Episode(row["prompt"], tools, frozenset({row["category"]})) for row in rows]


def mmlu_pro() -> list[Episode]:
    """Read the questions of MMLU-Pro: each needs one of 13 query engines, described in a line."""
    tools = [Tool(name, description) for name, description in ENGINES.items()]
    return [
        Episode(row["prompt"], tools, frozenset({row["category"].replace(" ", "_")}))
        for row in read_prompts("mmlu_pro")
        if row["category"].replace(" ", "_") in ENGINES
    ]


def general_queries(rng: np.random.Generator) -> list[str]:
    """Draw queries about anything, with small talk."""
    queries = [*SMALL_TALK] * 5
    for name, count in GENERAL.items():
        prompts = [row["prompt"] for row in read_prompts(name) if row["prompt"]]
        queries += rng.permutation(np.array(prompts, object))[:count].tolist()
    return queries


def background(rng: np.random.Generator) -> list[str]:
    """Draw the queries that tell how near any query comes to a list of topics."""
    general = [query for query in general_queries(rng) if query not in SMALL_TALK]
    drawn = rng.permutation(np.array(general, object))[: N_BACKGROUND - len(SMALL_TALK)].tolist()
    return [*SMALL_TALK, *drawn]


def topic_episodes(sets: Sets, rng: np.random.Generator) -> list[Episode]:
    """Draw lists of topics, and queries of which half need one of the list."""
    off_topic = general_queries(rng)
    return [
        episode
        for name, (sizes, count) in SIZES.items()
        if name in sets
        for episode in draw_lists(_held_out(sets[name]), sizes, count, off_topic, rng)
    ]


def _held_out(part: Sequence[Episode]) -> list[Episode]:
    """Return the queries on which no map is trained."""
    return [one for one in part if is_held_out(one, 5)]


def draw_lists(
    part: Sequence[Episode],
    sizes: Sequence[int],
    count: int,
    off_topic: Sequence[str],
    rng: np.random.Generator,
) -> list[Episode]:
    """Draw `count` episodes among parts of one list of tools.

    Of the queries that need no tool, half need one that is not in the part, and half are about
    anything.
    """
    all_tools, by_tool = part[0].tools, _by_tool(part)
    drawn: list[Episode] = []
    while len(drawn) < count:
        size = min(int(rng.choice(sizes)), len(all_tools))
        tools = [all_tools[i] for i in rng.permutation(len(all_tools))[:size]]
        names = {tool.name for tool in tools}
        on_topic = [one for name in names for one in by_tool.get(name, []) if one.useful <= names]
        if not on_topic:
            continue
        for _ in range(_QUERIES_PER_LIST):
            one = on_topic[rng.integers(len(on_topic))]
            drawn.append(Episode(one.query, tools, one.useful))
            other = part[rng.integers(len(part))]
            is_near = rng.random() < 0.5 and not (set(other.useful) & names)
            query = other.query if is_near else off_topic[rng.integers(len(off_topic))]
            drawn.append(Episode(query, tools, frozenset()))
    return drawn[:count]


def _by_tool(part: Sequence[Episode]) -> dict[str, list[Episode]]:
    episodes: dict[str, list[Episode]] = {}
    for one in part:
        for name in one.useful:
            episodes.setdefault(name, []).append(one)
    return episodes


def read_prompts(name: str) -> list[dict[str, Any]]:
    """Read the prompts of a routing set."""
    from pyarrow import parquet

    return parquet.read_table(DATA / name / "prompts.parquet").to_pylist()
