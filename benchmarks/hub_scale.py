"""Time of `route` among a hundred to a million candidates, and memory of a candidate.

The perception is a fake that returns stored losses, so this times everything after it: cost, four
constraints of the library, requirements, the choice and the decision. The last column is a whole
decision of the bundled router, which has measured none of the candidates. For comparison, the same
run times plain numpy: the losses plus five weighted constraints that are already computed.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy starts its pool

import numpy as np  # noqa: E402 - after the pools are set

from tryage import Library, Preferences, Router  # noqa: E402 - the same
from tryage.core.perception import Perception, Prediction  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIZES = (100, 10_000, 100_000, 1_000_000)
WEIGHTS = {"cost": 0.3, "size": 0.2, "latency": 0.2, "recency": 0.1, "popularity": 0.1}
LICENSES = ("apache-2.0", "mit", "llama3", "cc-by-nc-4.0", None)
PROMPT = "Prove that there are infinitely many primes, and say who proved it first. " * 6


class StoredPerception(Perception):
    """A perception with stored losses of every expert."""

    def __init__(self, names: Sequence[str], rng: np.random.Generator) -> None:
        self.experts = tuple(names)
        losses = rng.random((1, len(names)), dtype=np.float32)
        self.prediction = Prediction(losses, np.full_like(losses, 0.1))

    def predict(self, prompts: Sequence[str]) -> Prediction:  # noqa: ARG002 - as in `Perception`
        """Return the stored losses."""
        return self.prediction


def columns(n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Make up facts about `n` candidates; a tenth of every column is unknown."""

    def with_gaps(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(n) < 0.1, np.nan, values)

    return {
        "parameters": with_gaps(10 ** rng.uniform(7, 11.5, n)),
        "released": with_gaps(rng.integers(737_000, 740_000, n).astype(float)),
        "input_price": with_gaps(rng.random(n) * 10),
        "output_price": with_gaps(rng.random(n) * 30),
        "latency": with_gaps(rng.random(n) * 10),
        "output_tokens": with_gaps(rng.integers(50, 2_000, n).astype(float)),
        "downloads": with_gaps(rng.integers(0, 10_000_000, n).astype(float)),
        "license": [LICENSES[i] for i in rng.integers(0, len(LICENSES), n).tolist()],
    }


def make_names(n: int) -> list[str]:
    """Make up ids as long as those of the Hub."""
    return [f"organisation-{i % 9973}/Model-{i}-Instruct" for i in range(n)]


def measure_ms(work: Callable[[], object], rounds: int) -> np.ndarray:
    """Return the milliseconds of every call after three warm-up calls."""
    for _ in range(3):
        work()
    spent = np.empty(rounds)
    for i in range(rounds):
        start = time.perf_counter()
        work()
        spent[i] = 1e3 * (time.perf_counter() - start)
    return spent


def plain_numpy(n: int, rng: np.random.Generator) -> Callable[[], object]:
    """Return the least work in plain numpy: one product per constraint, and the lowest total."""
    losses = rng.random(n)
    constraints = rng.random((5, n))
    weights = list(WEIGHTS.values())

    def work() -> object:
        total = losses.copy()
        for weight, values in zip(weights, constraints, strict=True):
            total += weight * values
        return total.argmin()

    return work


def build(n: int, rng: np.random.Generator) -> tuple[Library, str]:
    """Build a library; also return its time and the memory per candidate as table cells."""
    names, known = make_names(n), columns(n, rng)
    start = time.perf_counter()
    library = Library.from_columns(names, **known)
    spent = time.perf_counter() - start
    del names, library
    tracemalloc.start()
    library = Library.from_columns(make_names(n), **known)  # new names, so that they count too
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return library, f"{spent:.2f} s | {kept / n:.0f} | {peak / n:.0f}"


def measure(n: int, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield the rows of the two tables for one number of candidates."""
    rng = np.random.default_rng(0)
    library, built = build(n, rng)
    router = Router(StoredPerception(library.names, rng), library)
    weighted = Preferences(WEIGHTS)
    required = Preferences(WEIGHTS, max_parameters=3e10, licenses=["apache-2.0", "mit"])
    base = measure_ms(plain_numpy(n, rng), rounds)
    plain = measure_ms(lambda: router.route(PROMPT, weighted), rounds)
    strict = measure_ms(lambda: router.route(PROMPT, required), rounds)
    read = measure_ms(lambda: router.route(PROMPT, weighted).to_dict(top=3), rounds)
    whole = Router(Router.from_pretrained().perception, library)
    total = measure_ms(lambda: whole.route(PROMPT, weighted), rounds)
    balanced = measure_ms(lambda: whole.route(PROMPT), rounds)
    columns = (base, plain, strict, read, total, balanced)
    cells = ("{:.2f} / {:.2f} ms".format(*np.percentile(spent, [50, 95])) for spent in columns)
    ratio = np.median(plain) / np.median(base)
    yield "time", f"| {n:,} | {' | '.join(cells)} | {ratio:.2f} |"
    fresh = Router(router.perception, without_cache(library))
    first = _kept(lambda: fresh.route(PROMPT, weighted)) / n
    keeps = _kept(lambda: router.route(PROMPT, weighted)) / n
    yield "memory", f"| {n:,} | {built} | {first - keeps:.0f} | {keeps:.1f} |"


def without_cache(library: Library) -> Library:
    """Return a copy of the library for which nothing is cached yet."""
    return library.subset(np.arange(len(library)))


def _kept(work: Callable[[], object]) -> int:
    """Return the bytes that the result of a call keeps alive."""
    tracemalloc.start()
    result = work()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del result
    return kept


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    rows = [row for n in options.sizes for row in measure(n, options.rounds)]
    print("| candidates (p50 / p95) | bare numpy | five weights | and two requirements ", end="")
    print("| and read the best three | five weights, bundled router ", end="")
    print("| balanced, bundled router | five weights / bare |\n|---|---|---|---|---|---|---|---|")
    print("\n".join(row for table, row in rows if table == "time"))
    print("\n| candidates | `Library.from_columns` | bytes per candidate | at the peak ", end="")
    print("| remembered for these weights | a decision keeps |\n|---|---|---|---|---|---|")
    print("\n".join(row for table, row in rows if table == "memory"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\nPeak memory of the process: {peak:,.0f} MB.")


if __name__ == "__main__":
    main()
