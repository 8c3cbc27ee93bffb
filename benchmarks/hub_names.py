"""How often the size in a model's name agrees with its known size.

python benchmarks/hub_names.py [--data ../shared/data]

Known sizes: `hub_meta/hub_2026_llmfit` and `hub_meta/hub_2025_04_trees` (tensor counts),
`metabench/models` (as on its leaderboard). Counts of quantised models are left out: they are
counts of packed numbers, with which a right name does not agree.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tryage.models.sizes import size_from_name

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = (
    ("hub_meta/hub_2026_llmfit", "id", "parameters_raw", 1.0),
    ("hub_meta/hub_2025_04_trees", "id", "params", 1.0),
    ("metabench/models", "model", "size", 1e9),
)
PACKED = re.compile(
    r"gptq|awq|gguf|exl2|mlx|bnb|[2-8]-?bit|(?:int|fp|q|w)[2-8](?!\d)|gpt-oss", re.I
)


def known_sizes(path: Path, name: str, size: str, unit: float) -> Iterator[tuple[str, float]]:
    """Yield the name and the known parameters of each model that is not quantised."""
    table = pq.read_table(path, columns=[name, size])
    for model, number in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if number and number == number and not PACKED.search(model):  # noqa: PLR0124 - not NaN
            yield model, number * unit


def within(ratios: list[float], factor: float) -> float:
    """Return the share of ratios between 1/factor and factor."""
    return sum(1 / factor <= ratio <= factor for ratio in ratios) / len(ratios)


def main() -> None:
    """Print one row per set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    if not data.is_dir():
        sys.exit(f"{data} is missing; give the folder with hub_meta and metabench as --data.")
    print("| set | models | name tells a size | within 10% | within 25% | within a factor of 2 |")
    print("|---|---|---|---|---|---|")
    for file, name, size, unit in SETS:
        models = dict(known_sizes(data / f"{file}.parquet", name, size, unit))
        sizes = {model: size_from_name(model) for model in models}
        ratios = [named.total / models[model] for model, named in sizes.items() if named]
        share = len(ratios) / len(models)
        figures = " | ".join(f"{within(ratios, factor):.1%}" for factor in (1.1, 1.25, 2))
        print(f"| {file} | {len(models):,} | {share:.1%} | {figures} |")


if __name__ == "__main__":
    main()
