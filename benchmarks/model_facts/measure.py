"""Measure the snapshot in the package: size, time to load and to find a name, prices of two tables.

    python benchmarks/model_facts/measure.py ../shared/data/model_level \
        --genai genai_prices-0.2.3-py3-none-any.whl=2026-11-10 \
        --litellm litellm-1.110.2-cp310-abi3-manylinux_2_28_x86_64.whl=2026-11-20

Times are the shortest of many rounds of this process's own CPU time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from make import SNAPSHOT, read_spellings, read_tables
from tables import GENAI, LITELLM, MODELS_DEV, Row, is_equal

from tryage.models.hosts import host_of
from tryage.models.snapshot import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROUNDS = 9

PRICES = ("input_price", "output_price")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--genai", required=True, metavar="WHEEL=DATE")
    parser.add_argument("--litellm", required=True, metavar="WHEEL=DATE")
    args = parser.parse_args()
    data = SNAPSHOT.read_bytes()
    snapshot = ModelSnapshot.from_bytes(data)
    names = sorted(set(read_spellings(args.tables)))
    print(f"{len(snapshot):,} models in {len(data):,} bytes")
    print(f"load: {shortest(lambda: ModelSnapshot.from_bytes(data)) * 1e3:.0f} ms")
    seconds = shortest(lambda: [snapshot.find(name) for name in names])
    print(f"find: {seconds / len(names) * 1e6:.1f} us a name, {len(names):,} spellings")
    rows, _ = read_tables(args.tables, args.genai, args.litellm)
    for first, second in ((GENAI, LITELLM), (GENAI, MODELS_DEV), (LITELLM, MODELS_DEV)):
        print_agreement(snapshot, priced(rows, first), priced(rows, second), f"{first}, {second}")


def shortest(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of some rounds."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def priced(rows: Iterable[Row], source: str) -> dict[str, Row]:
    """Return the rows of a table with prices, by host and model."""
    found: dict[str, Row] = {}
    for row in rows:
        is_priced = row.source == source and row.facts.keys() >= set(PRICES)
        if is_priced and any(row.facts[name] for name in PRICES):
            host, model = host_of(row.provider) or "", row.model_id.lower()
            model = model.removeprefix(f"{row.provider.lower()}/").removeprefix(f"{host}/")
            found.setdefault(f"{host}/{model.removeprefix('accounts/fireworks/models/')}", row)
    return found


def print_agreement(
    snapshot: ModelSnapshot, first: dict[str, Row], second: dict[str, Row], title: str
) -> None:
    """Print for how many names on which two tables agree the snapshot agrees, too."""
    agreed = [name for name in first.keys() & second.keys() if _agree(first[name], second[name])]
    n_known = n_equal = 0
    for name in agreed:
        if (model := snapshot.find(name)) is not None:
            n_known += 1
            values = [model.value(field) for field in PRICES]
            n_equal += all(
                value is not None and is_equal(value, first[name].facts[field])
                for field, value in zip(PRICES, values, strict=True)
            )
    print(f"{title}: agree on {len(agreed)}, known {n_known}, within 1% {n_equal}")


def _agree(row: Row, other: Row) -> bool:
    return all(is_equal(row.facts[name], other.facts[name]) for name in PRICES)


if __name__ == "__main__":
    main()
