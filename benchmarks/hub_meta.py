"""The real models of ../shared/data/hub_meta as records of the Hub, and synthetic ones from them.

    python benchmarks/hub_meta.py                      # count the models that have each field
    python benchmarks/hub_meta.py --serve 8000         # a LocalHub that holds them
    python benchmarks/hub_meta.py --serve 8000 --synthetic 1000000

Eight snapshots of 2022 to 2026 with different columns hold 74,840 different models. A model that is
in several snapshots gets each field from the newest snapshot that has it.

Real, as in the snapshots: `id`, `downloads`, `likes`, `pipeline_tag`, `library_name`, `tags`,
`gated`, `sha`, `siblings`, `lastModified`, `createdAt` where a snapshot has it, `config` (type and
architectures), licence, the header of the card (`cardData`, `model-index`), parameter counts.

Derived, because no snapshot has them:

- `_id` is a hash of the name; `author` is the name up to its slash.
- A model without tags gets those that follow from other columns: library, format, type, task,
  `license:`, `region:us`.
- `createdAt` without a date: a model of February 2022 gets the Hub's own earliest date (2 March
  2022), as on the Hub; any other the earliest known `lastModified`, or else the day of the
  snapshot, which is a guess for the snapshot of 2026.
- `baseModels` follows from the `base_model:<relation>:<name>` tags; the `_id` of a base model is a
  hash of its name as well.
- `safetensors.parameters` has the known count under BF16, because no snapshot has the dtypes. The
  count of a quantised model (AWQ, GPTQ, MLX, AutoRound) may be one of packed numbers or not: it
  has only `total`, like wrong metadata of an author.
- `gguf.total` is the known count, if the name or the tags say GGUF.

Downloads are those of each snapshot, so they cannot be compared across snapshots. The synthetic
models are real rows under new names, with shifted dates and scaled downloads: their mix and their
sizes are realistic, a single one means nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from datasets import DATA

from tryage.core.validation import require_extra
from tryage.testing import LocalHub
from tryage.testing.hub.repository import make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Row = dict[str, Any]
Record = dict[str, Any]

FOLDER = DATA / "hub_meta"
ABSENT = (
    f"The Hub metadata is not at {FOLDER}. It is not part of the repository (some of it may not be "
    "redistributed); put the eight hub_*.parquet and hugginggpt_*.parquet files there."
)
FLOOR = "2022-03-02T23:29:04.000Z"  # `createdAt` of all older models, on the Hub as well
QUANTIZED = {"awq", "gptq", "mlx", "autoround"}


def available() -> bool:
    """Whether the folder with the snapshots is there."""
    return FOLDER.is_dir()


def real_records() -> list[Record]:
    """Return all real models as records; exit with a message if the folder is missing."""
    if not available():
        sys.exit(ABSENT)
    require_extra("pyarrow", "evaluate")
    merged: dict[str, Record] = {}
    for name, (read, day) in SNAPSHOTS.items():  # newest first: known fields stay
        for row in _rows(name):
            known = merged.setdefault(row["id"], {"id": row["id"], "seen": []})
            known["seen"].append(day)
            for field, value in read(row).items():
                if value not in (None, [], {}) and field not in known:
                    known[field] = value
    return [_to_record(known) for known in merged.values()]


def synthetic_records(count: int, seed: int = 0) -> Iterator[Record]:
    """Yield `count` models, each drawn from the real ones and given a new name."""
    real, rng = real_records(), random.Random(seed)  # noqa: S311 - a sample, not a secret
    for number in range(count):
        record = dict(rng.choice(real))
        author, _, rest = record["id"].rpartition("/")
        name = f"{author or 'hub'}/{rest[:60]}-{number}"
        shift = datetime.timedelta(seconds=rng.randint(0, 90 * 86_400))
        dates = {field: _shift(record[field], shift) for field in ("createdAt", "lastModified")}
        downloads = int(record["downloads"] * rng.lognormvariate(0.0, 0.5))
        record.pop("sha", None)
        yield {**record, **dates, "id": name, "_id": make_key(name), "author": author or "hub",
               "downloads": downloads}  # fmt: skip


def _rows(name: str) -> list[Row]:
    from pyarrow import parquet

    rows: list[Row] = parquet.read_table(FOLDER / f"{name}.parquet").to_pylist()
    return rows


def _shift(date: str, by: datetime.timedelta) -> str:
    return _date(datetime.datetime.fromisoformat(date[:-1] + "+00:00") + by) or date


def _date(value: str | datetime.datetime | None) -> str | None:
    """Return a date of any snapshot as the Hub writes it."""
    if not value:
        return None
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    utc = value.astimezone(datetime.timezone.utc)
    return utc.isoformat(timespec="milliseconds")[:23] + "Z"


def _to_int(value: float | None) -> int | None:
    return None if value is None else int(value)


def _common_fields(row: Row) -> Record:
    """Return the fields that have the same column name in most snapshots."""
    return {
        "downloads": _to_int(row.get("downloads")),
        "likes": _to_int(row.get("likes")),
        "pipeline_tag": row.get("pipeline_tag"),
        "library_name": row.get("library_name"),
        "tags": row.get("tags"),
        "lastModified": _date(row.get("last_modified")),
        "createdAt": _date(row.get("created_at")),
    }


def _from_2022(row: Row) -> Record:
    config = {"model_type": row.get("model_type"), "architectures": row.get("architectures")}
    files = [{"rfilename": path} for path in row.get("files") or ()]
    return {
        **_common_fields(row),
        "sha": row.get("sha"),
        "siblings": files,
        "config": {name: value for name, value in config.items() if value},
        "license": row.get("license"),
        # The Hub shows this date for all models that are older than its records.
        "createdAt": FLOOR if "files" in row else None,
    }


def _with_card(row: Row) -> Record:
    card = {k: v for k, v in json.loads(row["meta"] or "{}").items() if k != "widget"}
    index = card.pop("model-index", None)
    return {
        **_common_fields(row),
        "cardData": card,
        "model-index": index,
        "license": card.get("license"),
    }


def _with_tree(row: Row) -> Record:
    gated = {"auto": "auto", "manual": "manual"}.get(row["gated"])
    return {**_common_fields(row), "gated": gated, "safetensors": _weights(_to_int(row["params"]))}


def _with_license(row: Row) -> Record:
    return {**_common_fields(row), "license": row["license"]}


def _with_size(row: Row) -> Record:
    count, type_ = _to_int(row["parameters_raw"]), row["architecture"]
    task = None if row["pipeline_tag"] == "unknown" else row["pipeline_tag"]
    found = {
        "downloads": row["hf_downloads"],
        "likes": row["hf_likes"],
        "pipeline_tag": task,
        "config": {"model_type": type_} if type_ else {},
        "createdAt": _date(row["release_date"]),
    }
    if "gguf" in row["id"].lower():
        length = row["context_length"]
        return {**found, "gguf": {"total": count, "architecture": type_, "context_length": length}}
    if row["format"] in QUANTIZED:
        return {**found, "safetensors": {"total": count}}
    return {**found, "safetensors": _weights(count)}


def _weights(count: int | None) -> Record | None:
    return {"parameters": {"BF16": count}, "total": count} if count else None


SNAPSHOTS: dict[str, tuple[Callable[[Row], Record], str]] = {
    "hub_2026_llmfit": (_with_size, "2026-05-01"),
    "hub_2025_12": (_common_fields, "2025-12-01"),
    "hub_2025_10": (_with_license, "2025-10-03"),
    "hub_2025_04_trees": (_with_tree, "2025-04-01"),
    "hub_2024_09": (_common_fields, "2024-09-01"),
    "hugginggpt_p0_2023": (_with_card, "2023-04-01"),
    "hub_2022_08": (_from_2022, "2022-08-01"),
    "hub_2022_02": (_from_2022, "2022-02-15"),
}


def _to_record(known: Record) -> Record:
    """Turn the known fields of a model into a record of the Hub."""
    name, seen, license_ = known["id"], known.pop("seen"), known.pop("license", None)
    earliest = _date(min(seen))
    modified = known.get("lastModified")
    created = known.get("createdAt") or max(FLOOR, min(filter(None, (modified, earliest))))
    tags = list(known.pop("tags", None) or _tags(known))
    if license_ and not any(tag.startswith("license:") for tag in tags):
        tags.append(f"license:{license_}")
    record = {"_id": make_key(name), **known, "tags": tags, "createdAt": created}
    record["lastModified"] = modified or created
    record.setdefault("downloads", 0)
    if "/" in name:
        record["author"] = name.partition("/")[0]
    if license_ and "cardData" not in record:
        record["cardData"] = {"license": license_}
    bases = _bases(tags)
    return {**record, "baseModels": bases} if bases else record


def _tags(known: Record) -> list[str]:
    type_ = known.get("config", {}).get("model_type")
    format_ = "gguf" if "gguf" in known else "safetensors" if "safetensors" in known else None
    found = (known.get("library_name"), format_, type_, known.get("pipeline_tag"), "region:us")
    return [tag for tag in found if tag]


def _bases(tags: list[str]) -> Record | None:
    """Return `{relation, models}` from tags such as `base_model:finetune:org/name`."""
    split = [tag.split(":", 2) for tag in tags if tag.startswith("base_model:")]
    related = [parts[1:] for parts in split if len(parts) == 3]
    if not related:
        return None
    models = [{"_id": make_key(name), "id": name} for _, name in related]
    return {"relation": related[0][0], "models": models}


def _report(records: list[Record]) -> None:
    fields = Counter(field for record in records for field in record)
    size = sum(len(json.dumps(record)) for record in records) / len(records)
    print(f"{len(records):,} models, {size:.0f} bytes of JSON each")
    for field, count in fields.most_common():
        print(f"  {field:<16} {count:>7,}  {count / len(records):6.1%}")


def main() -> None:
    """Print the fields, or serve the models."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve until interrupted")
    parser.add_argument("--synthetic", type=int, metavar="N", help="N made-up models instead")
    options = parser.parse_args()
    if options.serve is None:
        _report(real_records())
        return
    records = synthetic_records(options.synthetic) if options.synthetic else real_records()
    with LocalHub(port=options.serve) as hub:
        start = time.perf_counter()
        count = hub.load(records)
        print(f"{count:,} models at {hub.url} after {time.perf_counter() - start:.0f} s")
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
