"""How well `Budget` keeps a limit on real traffic in several orders, and what quality it costs.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/budget.py [--sets zeroeval ...] [--seeds 5]
    python benchmarks/policies/budget.py --processes 10 [--traffic postgresql://...]

The first one reads the out-of-fold predictions of `out_of_fold.py`. 300 prompts calibrate the
budget, and the others are a stream. Limits lie between what the cheapest choice costs and what the
best one does (a fifth, half and four fifths of the way, on a logarithmic scale). Beside them is the
best fixed price: the lowest one that keeps the limit on the whole stream, chosen with its bills
known. The second one lets processes spend from one hard purse.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from out_of_fold import PRICED_SETS, out_of_fold

from tryage import Expert, Router
from tryage.errors import BudgetExceededError
from tryage.policies import Budget
from tryage.policies.pacing import (
    CostForecast,
    Pace,
    costs_at_prices,
    forecast_costs,
    remaining_limit,
)
from tryage.testing import FixedPerception
from tryage.traffic.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray

N_CALIBRATION, MAX_STREAM = 300, 1_200
HEIGHTS = (0.2, 0.5, 0.8)  # of the limits, between the cheapest and the best choice
N_BURSTS = 20
LOWEST_PRICE, HIGHEST_PRICE = 1e-6, 1e9  # in loss per USD


@dataclass(frozen=True, eq=False)
class Stream:
    """Requests in their order, all tables `(n, k)`: predictions, measured losses, and bills."""

    losses: Float64Array
    costs: Float64Array
    eligible: BoolArray
    true_losses: Float64Array
    bills: Float64Array

    def take(self, rows: IndexArray, factor: Float64Array | float = 1.0) -> Stream:
        """Return some requests in another order, with bills times a factor."""
        tables = (self.losses, self.costs, self.eligible, self.true_losses, self.bills * factor)
        return Stream(*(table[rows] for table in tables[:4]), tables[4][rows])

    def choose(self, price: float) -> IndexArray:
        """Return the experts that one price chooses."""
        ranks = np.where(self.eligible, self.losses + price * self.costs, np.inf)
        return ranks.argmin(axis=1)

    def outcome(self, experts: IndexArray) -> tuple[float, float]:
        """Return the mean bill and the mean score."""
        rows = np.arange(len(experts))
        return self.bills[rows, experts].mean(), 1 - self.true_losses[rows, experts].mean()


def load_stream(name: str, seed: int) -> tuple[Stream, CostForecast]:
    """Return the stream of a set and the forecast from other prompts of it."""
    table = out_of_fold(name, seed)
    predicted = table.losses_predicted.astype(float), table.costs_predicted.astype(float)
    eligible = table.measured & np.isfinite(predicted[0]) & np.isfinite(predicted[1])
    costs = np.where(eligible, predicted[1], 0.0)
    true = table.losses_true.astype(float), table.costs_true.astype(float)
    whole = Stream(predicted[0], costs, eligible, *true)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(eligible.any(axis=1)))
    n = min(N_CALIBRATION, len(rows) // 3)
    known = whole.take(rows[:n])
    forecast = forecast_costs(costs_at_prices(known.losses, known.costs, known.eligible))
    return whole.take(rows[n : n + MAX_STREAM]), forecast


def orders(stream: Stream, seed: int) -> Iterator[tuple[str, Stream]]:
    """Yield the stream in several orders; difficulty is the mean measured loss of the experts."""
    rng = np.random.default_rng(seed)
    n = len(stream.losses)
    shuffled = rng.permutation(n)
    easy = np.nanmean(stream.true_losses, axis=1).argsort(kind="stable")
    bursts = np.array_split(np.nanmean(stream.bills, axis=1).argsort(), N_BURSTS)
    yield "shuffled", stream.take(shuffled)
    yield "easy first", stream.take(easy)
    yield "hard first", stream.take(easy[::-1])
    yield "bursts", stream.take(np.concatenate([bursts[i] for i in rng.permutation(N_BURSTS)]))
    doubled = np.ones((n, 1))
    doubled[shuffled[n // 2 :]] = 2.0
    yield "doubled prices", stream.take(shuffled, doubled)


def pace_stream(
    stream: Stream, forecast: CostForecast, limit: float, requests: int | None
) -> IndexArray:
    """Return the experts that a budget of `limit` USD per request chooses, one after another.

    With `requests` it is a purse for that many; without, a rolling average.
    """
    n = len(stream.losses)
    curves = costs_at_prices(stream.losses, stream.costs, stream.eligible)
    experts = np.empty(n, np.intp)
    spending = Spending()
    for i in range(n):
        whole, elapsed = (limit, None) if requests is None else (limit * requests, 0.5)
        pace = Pace(spending, remaining_limit(whole, spending, requests, elapsed), forecast)
        price = pace.price(curves[i]).at(i)
        ranks = np.where(stream.eligible[i], stream.losses[i] + price * stream.costs[i], np.inf)
        best = experts[i] = int(ranks.argmin())
        bill, expected = float(stream.bills[i, best]), float(stream.costs[i, best])
        change = Spending(bill, 0.0, 1, tuple(curves[i].tolist()), bill, expected, 1)
        spending = spending.plus(change)
    return experts


def best_fixed(stream: Stream, limit: float) -> tuple[float, float]:
    """Return the mean bill and the score of the lowest fixed price that keeps the limit."""
    low, high = LOWEST_PRICE, HIGHEST_PRICE
    free = stream.outcome(stream.choose(0.0))
    if free[0] <= limit:
        return free
    for _ in range(50):
        middle = (low * high) ** 0.5
        if stream.outcome(stream.choose(middle))[0] <= limit:
            high = middle
        else:
            low = middle
    return stream.outcome(stream.choose(high))


def limits(stream: Stream) -> list[float]:
    """Return limits between the cheapest and the best choice, in USD per request."""
    high, low = (stream.outcome(stream.choose(price))[0] for price in (0.0, HIGHEST_PRICE))
    return [low ** (1 - height) * high**height for height in HEIGHTS]


def measure(name: str, seeds: int) -> dict[tuple[str, str], list[tuple[float, float, bool]]]:
    """Return percent of the limit spent, and points lost, by mode and order.

    The third value tells whether nothing could keep the limit.
    """
    found = defaultdict(list)
    for seed in range(seeds):
        stream, forecast = load_stream(name, seed)
        for limit in limits(stream):
            _, hindsight = best_fixed(stream, limit)
            for order, ordered in orders(stream, seed):
                if order == "doubled prices":
                    _, hindsight = best_fixed(ordered, limit)
                for mode, requests in (("purse", len(ordered.losses)), ("average", None)):
                    bill, score = ordered.outcome(pace_stream(ordered, forecast, limit, requests))
                    cheapest, _ = ordered.outcome(ordered.choose(HIGHEST_PRICE))
                    found[mode, order].append(
                        (
                            100 * (bill / limit - 1),
                            100 * (score - hindsight),
                            cheapest > 0.9 * limit,
                        )
                    )
    return found


def is_hopeless(stream: Stream, order: str, limit: float) -> bool:
    """Tell whether even the cheapest choice breaks a limit once the prices have doubled."""
    late = stream.take(np.arange(len(stream.losses) // 2, len(stream.losses)))
    cheapest, _ = late.outcome(late.choose(HIGHEST_PRICE))
    return order == "doubled prices" and cheapest > limit


def report(name: str, found: dict[tuple[str, str], list[tuple[float, float, bool]]]) -> None:
    """Print a row of Markdown for each mode and order."""
    for (mode, order), runs in sorted(found.items(), reverse=True):
        table = np.array([run for run in runs if not run[2]] or [(np.nan,) * 3])
        over, points = table[:, 0], table[:, 1]
        half = 1.96 * points.std() / np.sqrt(len(points))
        print(
            f"| {name} | {mode} | {order} | {over.mean():+.1f}% | {over.max():+.1f}% | "
            f"{points.mean():+.2f} ± {half:.2f} | {len(table)} of {len(runs)} |",
            flush=True,
        )


def describe(name: str, seeds: int) -> str:
    """Return the scores of a set: the cheapest and the best choice, a single expert, the oracle."""
    streams = [load_stream(name, seed)[0] for seed in range(seeds)]
    scores = [
        [
            one.outcome(one.choose(HIGHEST_PRICE))[1],
            one.outcome(one.choose(0.0))[1],
            1 - _column_means(one.true_losses).min(),
            1 - np.nanmin(np.where(one.eligible, one.true_losses, np.nan), axis=1).mean(),
        ]
        for one in streams
    ]
    cheapest, best, single, oracle = 100 * np.mean(scores, axis=0)
    return (
        f"{name}: price 0 {best:.1f}, highest price {cheapest:.1f}, best single expert "
        f"{single:.1f}, oracle {oracle:.1f}"
    )


def _column_means(losses: Float64Array) -> Float64Array:
    """Return the mean measured loss of each expert that was measured at least 20 times."""
    is_often = np.isfinite(losses).sum(axis=0) >= 20
    return np.nanmean(losses[:, is_often], axis=0)


USD, PURSE = 0.01, 3.0


def spend(url: str, start: object, queue: object) -> None:
    """Route until a hard purse is spent; each answer costs half more than is expected."""
    expert = Expert("only", input_price=0, output_price=10, output_tokens=1_000)
    policy = Budget(usd_per_month=PURSE, hard=True)
    router = Router(FixedPerception({"only": 0.5}), [expert], policy=policy, traffic=url)
    start.wait()
    n, began = 0, time.perf_counter()
    while True:
        try:
            decision = router.route("a prompt")
        except BudgetExceededError:
            break
        router.settle(decision.id, "only", cost=1.5 * USD)
        n += 1
    queue.put((n, time.perf_counter() - began))
    router.traffic.close()


def spend_together(n_processes: int, url: str) -> None:
    """Let processes spend from one purse, and print what they have spent together."""
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(n_processes), context.Queue()
    children = [context.Process(target=spend, args=(url, start, queue)) for _ in range(n_processes)]
    for child in children:
        child.start()
    results = [queue.get() for _ in children]
    for child in children:
        child.join()
    requests = sum(n for n, _ in results)
    over, allowed = requests * 1.5 * USD - PURSE, n_processes * 1.5 * USD
    milliseconds = 1_000 * sum(seconds for _, seconds in results) / max(requests, 1)
    print(
        f"{n_processes} processes, {requests} requests: {over:+.3f} USD over {PURSE} USD; one "
        f"request in flight each costs {allowed:.3f}. {milliseconds:.1f} ms a request."
    )


def main() -> None:
    """Measure limits on the given sets, or processes on one purse."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=PRICED_SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--traffic", help="the URL of an empty log; by default a file")
    arguments = parser.parse_args()
    if arguments.processes:
        with tempfile.TemporaryDirectory() as folder:
            spend_together(arguments.processes, arguments.traffic or f"sqlite:///{folder}/log.db")
        return
    for name in arguments.sets:
        print(describe(name, arguments.seeds))
    print("| set | limit | order | spent | worst | points beside the best fixed price | runs |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        report(name, measure(name, arguments.seeds))


if __name__ == "__main__":
    main()
