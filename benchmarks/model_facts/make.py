"""Make the snapshot of models in the package from public tables.

    python benchmarks/model_facts/make.py ../shared/data/model_level \
        --genai genai_prices-0.2.3-py3-none-any.whl=2026-11-10 \
        --litellm litellm-1.110.2-cp310-abi3-manylinux_2_28_x86_64.whl=2026-11-20

`pip download --no-deps genai-prices litellm` fetches the two wheels; nothing of them is installed.
The dates are those of their releases. All tables have the MIT licence.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from choose import choose_fact, host_prices, model_prices
from groups import (
    canonical_name,
    final_key,
    group_rows,
    is_name_of_one_model,
    merged,
    other_keys,
    own_models,
    short_names,
)
from tables import SOURCES, genai_rows, is_equal, litellm_rows, models_dev_rows, price_rows

from tryage.models.hosts import maker_host
from tryage.models.snapshot import FIELDS, FORMAT, PRICE_FIELDS, encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groups import Named
    from tables import Row

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "shared" / "tryage" / "models" / "snapshot.json.gz"

MODELS_DEV_DATE = "2026-07-02"

# Other keys of models that stand under both in the tables.
SAME_MODELS = {
    "llama-4-maverick": "llama-4-maverick-17b-128e",
    "llama-4-maverick-17b": "llama-4-maverick-17b-128e",
    "llama-4-scout": "llama-4-scout-17b-16e",
    "llama-4-scout-17b": "llama-4-scout-17b-16e",
}

# Names that no rule joins to their model.
ALIASES = {
    "chatgpt-4o": "gpt-4o",
    "claude-3-5": "claude-sonnet-3-5",  # it had this name alone before there was a Haiku of 3.5
    "claude-3-7": "claude-sonnet-3-7",  # there is no other tier of 3.7
    "qwq": "qwq-32b",  # there is no other size
    "r1": "deepseek-r1",
    "r1-0528": "deepseek-r1-0528",
}


def main() -> None:
    """Write the snapshot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, help="the folder with models_dev and prices")
    parser.add_argument("--genai", required=True, metavar="WHEEL=DATE")
    parser.add_argument("--litellm", required=True, metavar="WHEEL=DATE")
    parser.add_argument("--output", type=Path, default=SNAPSHOT)
    args = parser.parse_args()
    rows, dates = read_tables(args.tables, args.genai, args.litellm)
    data = encode_snapshot(make_snapshot(rows, dates))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data):,} bytes")


def read_tables(folder: Path, genai: str, litellm: str) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of all tables, and the date of each table."""
    genai_wheel, _, genai_date = genai.partition("=")
    litellm_wheel, _, litellm_date = litellm.partition("=")
    now = datetime.datetime.fromisoformat(genai_date).replace(tzinfo=datetime.timezone.utc)
    rows = [
        *models_dev_rows(folder / "models_dev_2026_07.parquet", MODELS_DEV_DATE),
        *price_rows(folder / "prices_2026_10.parquet"),
        *litellm_rows(Path(litellm_wheel), litellm_date),
        *genai_rows(Path(genai_wheel), genai_date, now),
    ]
    newest: dict[str, str] = {}
    for row in rows:
        newest[row.source] = max(newest.get(row.source, ""), row.date)
    return rows, newest


def make_snapshot(rows: Sequence[Row], dates: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a snapshot; it is as old as its newest table."""
    known = own_models(rows)
    all_groups = group_rows(rows, known)
    others = {
        key: other
        for key, other in (other_keys(all_groups, known) | SAME_MODELS).items()
        if key not in SAME_MODELS.values()
    }
    groups = {
        key: group
        for key, group in merged(all_groups, others).items()
        if is_name_of_one_model(group)
    }
    names = {key: canonical_name(key, group) for key, group in groups.items()}
    models, builds, hosts = {}, {}, {}
    for key, group in groups.items():
        models[names[key]], builds[names[key]], hosts[names[key]] = describe(group)
    aliases = {short: names[key] for short, key in short_names(groups).items()}
    finals = {key: final_key(key, others) for key in others}
    aliases |= {key: names[final] for key, final in finals.items() if final in names}
    aliases |= {key: names[model] for key, model in ALIASES.items() if model in names}
    return {
        "format": FORMAT,
        "made": max(dates.values()),
        "sources": {name: {**about, "date": dates[name]} for name, about in SOURCES.items()},
        "models": models,
        "builds": {name: found for name, found in builds.items() if found},
        "hosts": {name: found for name, found in hosts.items() if found},
        "aliases": {key: name for key, name in aliases.items() if key not in groups},
    }


def describe(group: Sequence[Named]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the facts of a model, and the prices that differ by build and by host."""
    maker = maker_host(group[0].name.model)
    prices = host_prices(_newest_builds(group))
    facts = model_prices(prices, maker)
    for field in FIELDS:
        if field not in PRICE_FIELDS and (record := choose_fact(group, field, maker)) is not None:
            facts[field] = record
    return facts, _build_prices(group, facts, maker), _host_prices(prices, facts)


def _newest_builds(group: Sequence[Named]) -> list[Named]:
    """Return the rows of each host without a date, or else those of its newest build."""
    dates = dict(sorted((one.host, one.name.date or "9999") for one in group))
    return [one for one in group if (one.name.date or "9999") == dates[one.host]]


def _build_prices(
    group: Sequence[Named], facts: Mapping[str, Any], maker: str | None
) -> dict[str, Any]:
    builds = {}
    for date in sorted({one.name.date for one in group if one.name.date}):
        prices = host_prices([one for one in group if one.name.date == date])
        own = prices.get(maker or "", {})
        if own and _is_different(own, facts):
            builds[date] = own
    return builds


def _host_prices(
    prices: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]
) -> dict[str, Any]:
    return {host: dict(own) for host, own in prices.items() if host and _is_different(own, facts)}


def _is_different(own: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Return whether the prices of a build or host are not those of the model."""
    return any(
        name not in facts or not is_equal(own[name][0], facts[name][0])
        for name in ("input_price", "output_price")
    )


if __name__ == "__main__":
    main()
