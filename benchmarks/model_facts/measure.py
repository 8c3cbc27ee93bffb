"""Measure what is known of models: spellings of their names, names of today, prices, size and time.

    python benchmarks/model_facts/measure.py ../shared/data/model_level \
        --genai genai_prices-0.2.3-py3-none-any.whl=2026-11-10 \
        --litellm litellm-1.110.2-cp310-abi3-manylinux_2_28_x86_64.whl=2026-11-20

`--show` lists the spellings that are not right, by kind. Without the two wheels only the tables in
the folder are compared. Times are the shortest of many rounds of this process's own CPU time.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from groups import LEFT_OUT
from make import SNAPSHOT, read_tables
from spellings import corrected, other_generations, read_aliases, resolve, wrong
from tables import Row, is_equal, models_dev_rows, price_rows

from tryage.chat.model_names import bundled_library, resolve_model_name
from tryage.models.hosts import host_of
from tryage.models.lookup import canonical_name, look_up, to_expert
from tryage.models.names import parse_model_name
from tryage.models.snapshot import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spellings import Resolved

    from tryage.core.expert import Expert

ROUNDS = 9

NAMES_OF_TODAY = Path(__file__).with_name("names_of_today.txt")

PRICE_PAIR = ("input_price", "output_price")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--genai", metavar="WHEEL=DATE")
    parser.add_argument("--litellm", metavar="WHEEL=DATE")
    parser.add_argument("--show", action="store_true", help="list the spellings that are not right")
    args = parser.parse_args()
    data = SNAPSHOT.read_bytes()
    snapshot = ModelSnapshot.from_bytes(data)
    aliases = read_aliases(args.tables)
    print_size(data, [spelling for spelling, _ in aliases])
    print_spellings("as the table stands", resolve(aliases, snapshot), snapshot, args.show)
    print_spellings("table corrected", resolve(corrected(aliases), snapshot), snapshot, args.show)
    print_maker_names(args.tables, snapshot)
    print_names_of_today(read_names_of_today())
    print_prices(snapshot, read_rows(args.tables, args.genai, args.litellm))


# --- size and time ----------------------------------------------------------------------------


def print_size(data: bytes, names: Sequence[str]) -> None:
    """Print how large the snapshot is, and how long it takes to load it and to find a name."""
    snapshot = ModelSnapshot.from_bytes(data)
    print(f"{len(snapshot):,} models in {len(data):,} bytes, of {snapshot.made}")
    print(f"load: {shortest(lambda: ModelSnapshot.from_bytes(data)) * 1e3:.0f} ms")
    seconds = shortest(lambda: [snapshot.find(name) for name in names])
    print(f"find: {seconds / len(names) * 1e6:.1f} us a name, {len(names):,} spellings")


def shortest(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of some rounds."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


# --- names ------------------------------------------------------------------------------------


def print_spellings(
    title: str, resolved: Sequence[Resolved], snapshot: ModelSnapshot, is_shown: bool
) -> None:
    """Print how many spellings are right, the others by kind, and other generations."""
    found = list(wrong(resolved))
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(kind for kind, _ in found).items())
    n_others = len(list(other_generations(resolved, snapshot)))
    print(
        f"spellings, {title}: {len(resolved):,}, right {1 - len(found) / len(resolved):.1%} "
        f"({kinds}); to another generation {n_others}"
    )
    for kind, one in found if is_shown else []:
        print(f"  {kind}: {one.spelling} ({one.identifier}) -> {one.name}")


def print_maker_names(folder: Path, snapshot: ModelSnapshot) -> None:
    """Print how often a host's name for a model and the maker's name lead to the same model."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "models_dev_2026_07.parquet", columns=["model_id", "base_model"])
    pairs = [(row["model_id"], row["base_model"]) for row in table.to_pylist() if row["base_model"]]
    n_same = sum(
        canonical_name(own, snapshot=snapshot) == canonical_name(base, snapshot=snapshot)
        for own, base in pairs
    )
    print(f"names of hosts and makers in models.dev: {len(pairs):,}, the same model {n_same:,}")


def read_names_of_today() -> dict[str, str]:
    """Return the spellings of today with the models that they mean."""
    lines = NAMES_OF_TODAY.read_text("utf-8").splitlines()
    pairs = (line.rsplit(None, 1) for line in lines if not line.startswith("#"))
    return {spelling.strip(): name for spelling, name in pairs}


def print_names_of_today(names: Mapping[str, str]) -> None:
    """Print of how many names what is known: by the bundled router's library alone, and at all."""
    library = bundled_library()
    n_right = sum(canonical_name(spelling) == name for spelling, name in names.items())
    print(f"names of today: {len(names)}, right {n_right}")
    found = [look_up(spelling) for spelling in names]
    print_known("facts", [None if one is None else to_expert(one) for one in found])
    print_known(
        "bundled library alone", [resolve_model_name(library, spelling) for spelling in names]
    )


def print_known(title: str, experts: Sequence[Expert | None]) -> None:
    """Print of how many experts each fact is known."""
    fields = ("output_price", "context_length", "released", "capabilities")
    counts = ", ".join(
        f"{field} {sum(getattr(one, field, None) is not None for one in experts)}"
        for field in fields
    )
    print(f"  {title}: known {sum(one is not None for one in experts)}, {counts}")


# --- prices -----------------------------------------------------------------------------------


def read_rows(folder: Path, genai: str | None, litellm: str | None) -> list[Row]:
    """Return the rows of all tables that are there."""
    if genai and litellm:
        return read_tables(folder, genai, litellm)[0]
    return [
        *models_dev_rows(folder / "models_dev_2026_07.parquet", ""),
        *price_rows(folder / "prices_2026_10.parquet"),
    ]


def print_prices(snapshot: ModelSnapshot, rows: Iterable[Row]) -> None:
    """Print for how many models on which two tables agree the snapshot agrees, too."""
    rows = list(rows)
    tables = {source: priced(rows, source) for source in dict.fromkeys(row.source for row in rows)}
    models: dict[tuple[str, str, str], bool] = {}
    for first, second in combinations(tables, 2):
        agreed = {
            key: row
            for key, row in tables[first].items()
            if key in tables[second] and agree(row.facts, tables[second][key].facts)
        }
        equal = {key: is_priced_so(snapshot, row) for key, row in agreed.items()}
        models |= {key: models.get(key, True) and value for key, value in equal.items()}
        n_models = len({model for _, model, _ in agreed})
        print(
            f"prices, {first} and {second}: agree on {len(agreed)} offers of {n_models} models, "
            f"within 1% {sum(equal.values())}"
        )
    n_models = len({model for _, model, _ in models})
    print(
        f"prices, any two: agree on {len(models)} offers of {n_models} models, within 1% "
        f"{sum(models.values())}"
    )
    wrong_ones = sorted(" ".join(filter(None, key)) for key, value in models.items() if not value)
    print(f"  others: {', '.join(wrong_ones)}")


def priced(rows: Iterable[Row], source: str) -> dict[tuple[str, str, str], Row]:
    """Return the rows of a table with prices, by host, model and date."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        is_priced = row.source == source and row.facts.keys() >= set(PRICE_PAIR)
        is_chat = not LEFT_OUT.search(row.model_id.lower())
        if is_priced and is_chat and any(row.facts[name] for name in PRICE_PAIR):
            name = parse_model_name(row.model_id)
            if name is not None:
                key = (host_of(row.provider) or "", f"{name.model} {name.effort or ''}".strip())
                found.setdefault((*key, name.date or ""), row)
    return found


def agree(facts: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Return whether two rows have the same prices within one percent."""
    return all(is_equal(facts[name], other[name]) for name in PRICE_PAIR)


def is_priced_so(snapshot: ModelSnapshot, row: Row) -> bool:
    """Return whether the snapshot has the prices of a row for its name at its host."""
    model = snapshot.find(f"{row.provider}/{row.model_id}")
    return model is not None and all(
        (value := model.value(name)) is not None and is_equal(value, row.facts[name])
        for name in PRICE_PAIR
    )


if __name__ == "__main__":
    main()
