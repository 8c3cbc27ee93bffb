"""How often twelve added tokens move a decision to the dearest or a weak expert, defended or not.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/robustness/suffix_attacks.py --results build/suffix_attacks.jsonl
    python benchmarks/robustness/suffix_attacks.py --places both middle --pools six --prompts 40

100 prompts: 70 of five outcome sets, and 30 short ones in `suffix_prompts.txt`. The bundled router.
The target is the dearest expert that is chosen for any of them, or of the chosen ones the one with
the highest mean predicted loss. Prompts that go to the target already do not count. The attackers
know the router, its preferences and the defence. `universal` is one suffix for all prompts, found
on 40% of them and tried on the rest. Rows that are in the file of results are not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(pool, "1")  # before numpy starts its pool

import sys  # noqa: E402 - after the pools are set

import numpy as np  # noqa: E402 - the same

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from argument_types import positive_int  # noqa: E402 - after the path is set
from datasets import load  # noqa: E402 - the same
from suffix_attackers import (  # noqa: E402 - the same
    N_TOKENS,
    GradientSearch,
    GreedySearch,
    RandomSearch,
    insert,
    whole_words,
)
from suffix_victim import Victim  # noqa: E402 - the same
from tqdm import tqdm  # noqa: E402 - the same

from tryage import Preferences, Router  # noqa: E402 - the same
from tryage.policies import EraseAndCheck  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from suffix_attackers import Attack

PROMPT_SETS = ("mmlu_pro", "zeroeval", "zoonk_tasks", "coderouter_id", "llmrouter_uiuc")
SHORT_PROMPTS = Path(__file__).with_name("suffix_prompts.txt")

POOLS: dict[str, tuple[str, ...]] = {
    "six": (
        *("gpt-5.4-nano", "gpt-5.4", "gemini-3-flash"),
        *("claude-haiku-4-5", "claude-sonnet-5", "claude-opus-5"),
    ),
    "opus beside sonnet": ("claude-opus-4-6", "claude-sonnet-4-6"),
    "opus beside nano": ("claude-opus-4-8", "gpt-5.4-nano"),
    "all": (),
}
PREFERENCES = {
    "best": Preferences.preset("best"),
    "balanced": Preferences.preset("balanced"),
    "thrifty": Preferences.preset("thrifty"),
    "$0.02": Preferences(answer_value=0.02),
}
ATTACKERS = ("random", "greedy", "gradient", "universal")
TARGETS = ("dearest", "weakest")
DEFENCES = ("none", "cheapest", "fallback", "middle")
PLACES = ("suffix", "prefix", "middle", "both")
UNIVERSAL_WIDTH = 8


@dataclass(frozen=True)
class Case:
    """What is attacked: a pool with preferences, its target, and the defence by its name."""

    pool: str
    preset: str
    target: str
    defence: str

    def key(self, place: str, attacker: str) -> str:
        """Return the name of a row of the results."""
        return " | ".join([self.pool, self.preset, self.target, self.defence, place, attacker])


def read_prompts(n: int) -> list[str]:
    """Return the first `n` of 100 prompts, in a random order."""
    rng, found = np.random.default_rng(0), SHORT_PROMPTS.read_text("utf-8").splitlines()
    for name in PROMPT_SETS:
        prompts = load(name).prompts
        found += [prompts[i] for i in rng.choice(len(prompts), 14, replace=False)]
    return [found[i] for i in rng.permutation(len(found))[:n]]


def wilson(won: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    if not n:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + level) / 2), won / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(center - half, 0.0), min(center + half, 1.0)


def find_target(victim: Victim, prompts: Sequence[str], kind: str) -> int:
    """Return the position of the dearest or of the weakest expert that is chosen for a prompt."""
    ever = np.unique(victim.score(prompts)[1])
    if kind == "dearest":
        return int(ever[victim.prices[ever].argmax()])
    losses = victim.router._aligned_perception.predict(prompts).losses  # noqa: SLF001 - as in Victim
    return int(ever[losses.mean(axis=0)[ever].argmax()])


def make_defence(name: str, victim: Victim) -> EraseAndCheck | None:
    """Return the defence: "none", "cheapest", "fallback", and "middle", which erases there, too.

    The fallback is the expert of the median price among all.
    """
    if name == "none":
        return None
    fallback = None
    if name == "fallback":
        prices = victim.prices
        fallback = victim.names[int(np.argsort(prices, kind="stable")[len(prices) // 2])]
    return EraseAndCheck(N_TOKENS, fallback=fallback, middle=name == "middle")


def universal_suffix(
    victim: Victim, prompts: Sequence[str], target: int, place: str, vocabulary: Sequence[str]
) -> list[str]:
    """Return the tokens that greedily bring the target nearest for all prompts together."""
    rng, tokens = np.random.default_rng(0), list[str]()
    for _ in range(N_TOKENS):
        drawn = [vocabulary[i] for i in rng.integers(len(vocabulary), size=UNIVERSAL_WIDTH)]
        tries = [[*tokens, token] for token in drawn]
        texts = [insert(prompt, one, place) for one in tries for prompt in prompts]
        is_won, distances = victim.attempt(texts, target)
        worth = is_won.reshape(len(tries), -1).mean(1) - distances.reshape(len(tries), -1).mean(1)
        tokens = tries[int(worth.argmax())]
    return tokens


def measure(  # noqa: PLR0913 - a row of the results
    plain: Victim,
    victim: Victim,
    prompts: Sequence[str],
    target: int,
    place: str,
    attacker: str,
) -> dict[str, float]:
    """Return how many attacks are won, of those prompts that do not go to the target anyway.

    That is with or without the defence: an attack may bring back what the defence has changed.
    """
    is_there = (plain.choices(prompts) == target) | (victim.choices(prompts) == target)
    left = [prompts[i] for i in np.flatnonzero(~is_there)]
    vocabulary = [word for _, word in whole_words(victim.router.perception)]
    if attacker == "universal":
        n = int(0.4 * len(left))
        tokens = universal_suffix(victim, left[:n], target, place, vocabulary) if n else []
        is_won, _ = victim.attempt([insert(one, tokens, place) for one in left[n:]] or [""], target)
        return {"won": int(is_won.sum()), "n": len(left) - n, "queries": N_TOKENS * UNIVERSAL_WIDTH}
    attacks: dict[str, Callable[[], Attack]] = {
        "random": lambda: RandomSearch(vocabulary),
        "greedy": lambda: GreedySearch(vocabulary),
        "gradient": lambda: GradientSearch(victim.router.perception),
    }
    attack = attacks[attacker]()
    found = [
        attack(victim, prompt, target, place, seed)
        for seed, prompt in enumerate(tqdm(left, attacker, leave=False))
    ]
    queries = [one.n_queries for one in found if one.is_won]
    return {"won": len(queries), "n": len(left), "queries": float(np.mean(queries or [0]))}


def cases(arguments: argparse.Namespace) -> Iterable[Case]:
    """Yield what is attacked."""
    for pool in arguments.pools:
        for preset in arguments.presets:
            for target in arguments.targets:
                for defence in arguments.defences:
                    yield Case(pool, preset, target, defence)


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Measure all rows that the file of results lacks, and return all that it has."""
    path: Path = arguments.results
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    rows: list[dict[str, object]] = [json.loads(line) for line in lines]
    rows = [row for row in rows if row.get("prompts") == arguments.prompts]
    known = {row["key"] for row in rows}
    router, prompts = Router.from_pretrained(), read_prompts(arguments.prompts)
    for case in cases(arguments):
        names = POOLS[case.pool]
        part = router.subset(names) if names else router
        plain = Victim(part, PREFERENCES[case.preset])
        target = find_target(plain, prompts, case.target)
        victim = Victim(part, plain.preferences, make_defence(case.defence, plain))
        for place in arguments.places:
            for attacker in arguments.attackers:
                key = case.key(place, attacker)
                if key in known:
                    continue
                found = measure(plain, victim, prompts, target, place, attacker)
                row = {"key": key, "prompts": arguments.prompts, "expert": victim.names[target]}
                row |= found
                rows.append(row)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(format_row(row), flush=True)
    return rows


def format_row(row: dict[str, object]) -> str:
    """Return a row of a Markdown table."""
    won, n = int(str(row["won"])), int(str(row["n"]))
    low, high = wilson(won, n)
    return (
        f"| {row['key']} | {row['expert']} | {won}/{n} | {won / max(n, 1):.0%} "
        f"[{low:.0%}, {high:.0%}] | {float(str(row['queries'])):.0f} |"
    )


def main() -> None:
    """Read the arguments, attack, and print all rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("build/suffix_attacks.jsonl"))
    parser.add_argument("--prompts", type=positive_int, default=100)
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=list(POOLS))
    parser.add_argument("--presets", nargs="+", choices=PREFERENCES, default=list(PREFERENCES))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--defences", nargs="+", choices=DEFENCES, default=list(DEFENCES[:3]))
    parser.add_argument("--places", nargs="+", choices=PLACES, default=["suffix"])
    parser.add_argument("--attackers", nargs="+", choices=ATTACKERS, default=list(ATTACKERS))
    rows = run(parser.parse_args())
    print("\n| pool, preset, target, defence, place, attacker | expert | won | share | queries |")
    print("|---|---|---:|---:|---:|")
    print("\n".join(format_row(row) for row in rows))


if __name__ == "__main__":
    main()
