"""Compare which answers a cache keeps, by the USD that it saves on Zipf traffic of real prompts.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/answer_cache_eviction.py [--sets paretobandit ...] [--seeds 5]

Each prompt of a set with prices is asked at the expert with the lowest predicted loss, for what its
answer really cost. Ranks of a Zipf distribution are given to the prompts at random, or again at
random after half of the requests (`drift`). Belady's rule knows the future: it drops the answer
that is needed last, which is best for the number of hits. `known popularity` keeps what has the
highest probability times cost from the beginning, which no rule can know.
"""

from __future__ import annotations

import argparse
import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from out_of_fold import FOLDER, out_of_fold

from tryage.core.policy_change import CachedAnswer
from tryage.policies.answer_store import AnswerStore, expected_saving, frequency, last_use

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.core.arrays import Float64Array, IndexArray

SETS = ("coderouter_id", "paretobandit", "routerbench_subset")
EXPONENTS, SHARES = (0.7, 0.9, 1.2), (0.01, 0.05, 0.2)  # of Zipf, and of the prompts in the cache
N_REQUESTS = 20_000

_ANSWER = CachedAnswer("expert", "answer")


class Stream(NamedTuple):
    """Requests `(n_requests,)` by the number of their prompt, with cost and probability of each."""

    requests: IndexArray
    costs: Float64Array
    probabilities: Float64Array


def prompt_costs(name: str) -> Float64Array:
    """Return the USD of each prompt at the expert with the lowest predicted loss, `(n,)`."""
    table = out_of_fold(name, 0, FOLDER)
    losses = np.where(table.measured, table.losses_predicted, np.inf)
    rows = np.flatnonzero(np.isfinite(losses).any(axis=1))
    return np.asarray(table.costs_true[rows, losses[rows].argmin(axis=1)], np.float64)


def zipf_stream(costs: Float64Array, exponent: float, seed: int, *, drift: bool) -> Stream:
    """Return requests whose popularity falls with the rank to the power of the exponent."""
    rng, n = np.random.default_rng(seed), len(costs)
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    first, second = rng.permutation(n), rng.permutation(n)
    ranks = rng.choice(n, N_REQUESTS, p=weights / weights.sum())
    is_late = (np.arange(N_REQUESTS) >= N_REQUESTS // 2) & drift
    probabilities = np.empty(n)
    probabilities[first] = weights / weights.sum()
    return Stream(np.where(is_late, second[ranks], first[ranks]), costs, probabilities)


def store_rule(priority: Callable[..., float]) -> Callable[[Stream, int], float]:
    """Return what simulates the cache of Tryage with one of its priorities."""

    def saved(stream: Stream, size: int) -> float:
        store, usd = AnswerStore(size, priority), 0.0
        for key, cost in zip(
            stream.requests.tolist(), stream.costs[stream.requests].tolist(), strict=True
        ):
            is_hit = key in store
            store.count(key)
            if is_hit:
                usd += cost
            else:
                store.put(key, _ANSWER, cost)
        return usd

    return saved


def belady(stream: Stream, size: int) -> float:
    """Return the USD saved if the answer that is needed last is dropped."""
    requests, n = stream.requests.tolist(), len(stream.requests)
    next_use, seen = [n] * n, dict[int, int]()
    for i in range(n - 1, -1, -1):
        next_use[i] = seen.get(requests[i], n)
        seen[requests[i]] = i
    kept, heap, usd = dict[int, int](), list[tuple[int, int]](), 0.0
    for i, key in enumerate(requests):
        if key in kept:
            usd += float(stream.costs[key])
        kept[key] = next_use[i]
        heapq.heappush(heap, (-next_use[i], key))
        while len(kept) > size:
            when, victim = heapq.heappop(heap)
            if kept.get(victim) == -when:
                del kept[victim]
    return usd


def known_popularity(stream: Stream, size: int) -> float:
    """Return the USD saved if the most is kept that can be expected, from its first answer on."""
    kept = set(np.argsort(-stream.probabilities * stream.costs)[:size].tolist())
    seen, usd = set[int](), 0.0
    for key in stream.requests.tolist():
        if key in seen:
            usd += float(stream.costs[key])
        if key in kept:
            seen.add(key)
    return usd


RULES: dict[str, Callable[[Stream, int], float]] = {
    "LRU": store_rule(last_use),
    "LFU": store_rule(frequency),
    "expected saving": store_rule(expected_saving),
    "Belady": belady,
    "known popularity": known_popularity,
}


def measure(name: str, seeds: int, *, drift: bool) -> dict[tuple[float, float], dict[str, list]]:
    """Return the share of the bill that each rule saves, by exponent and share of prompts."""
    costs, found = prompt_costs(name), {}
    for exponent in EXPONENTS:
        for share in SHARES:
            size = max(1, round(share * len(costs)))
            shares: dict[str, list[float]] = {rule: [] for rule in RULES}
            for seed in range(seeds):
                stream = zipf_stream(costs, exponent, seed, drift=drift)
                bill = float(costs[stream.requests].sum())
                for rule, saved in RULES.items():
                    shares[rule].append(saved(stream, size) / bill)
            found[exponent, share] = shares
    return found


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--drift", action="store_true", help="new ranks after half of the requests")
    arguments = parser.parse_args()
    for name in arguments.sets:
        print(f"\n{name}: % of the bill that is saved, mean ± standard deviation\n")
        print("| Zipf | cache | " + " | ".join(RULES) + " |")
        print("|---|---|" + "---|" * len(RULES))
        table = measure(name, arguments.seeds, drift=arguments.drift)
        for (exponent, share), shares in table.items():
            cells = [f"{100 * np.mean(s):.1f} ± {100 * np.std(s):.1f}" for s in shares.values()]
            print(f"| {exponent} | {share:.0%} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
