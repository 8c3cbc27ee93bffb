"""Writes the questions that ship with the package: reads sources, computes and checks answers.

    python benchmarks/questions/make.py

The sources are the .toml files beside it, written by hand, and `generated.py`, which makes questions
whose answers it computes. An answer in a source is typed by hand and then checked a second time: by
an expression (`check`), a program that runs, a query that runs, tests that run, or, where nothing
can compute it, by `second_reading.json`: answers given to the finished prompts without sight of the
first ones. The script fails where two answers differ or the second one is missing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import answers
import generated
import wording

if sys.version_info >= (3, 11):
    import tomllib
else:
    raise SystemExit("This script needs Python 3.11, which reads TOML.")

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "shared" / "tryage" / "onboarding" / "questions.jsonl.gz"
SECOND_READING = HERE / "second_reading.json"


def main() -> None:
    """Make every question, check it, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unread", action="store_true", help="print the prompts to read again")
    parser.add_argument("--check", action="store_true", help="only compare with the file")
    arguments = parser.parse_args()
    rows = make_rows()
    unread = check_second_reading(rows)
    if arguments.unread:
        for row in unread:
            print(f"=== {row['id']}\n{row['prompt']}\n")
        return
    if unread:
        raise SystemExit(f"{len(unread)} answers were not checked a second time; see --unread.")
    data = compress(rows)
    if arguments.check:
        if gzip.decompress(OUTPUT.read_bytes()) != gzip.decompress(data):
            raise SystemExit(f"{OUTPUT.name} is not what its sources make: run this script.")
        return
    OUTPUT.write_bytes(data)
    for field in ("kind", "level", "language", "scorer"):
        print(field, dict(Counter(row[field] for row in rows)))
    print(f"{len(rows)} questions, {OUTPUT.stat().st_size / 1000:.0f} kB")


def make_rows() -> list[dict[str, Any]]:
    """Return the rows of the file, with `second`: whether a second reading must confirm them."""
    items = [item for path in sorted(HERE.glob("*.toml")) for item in read_source(path)]
    items += generated.make_items()
    rows, problems = [], []
    for item in items:
        try:
            rows.append(make_row(item))
        except Exception as error:  # noqa: BLE001, PERF203 - all mistakes are told at once
            problems.append(f"{item.get('origin')}: {item['prompt']!r:.120}: {error!r:.300}")
    if problems:
        raise SystemExit("\n".join(problems))
    repeated = [i for i, n in Counter(row["id"] for row in rows).items() if n > 1]
    if repeated:
        raise SystemExit(
            f"These questions occur twice: {repeated} {[r['prompt'] for r in rows if r['id'] in repeated]}"
        )
    return sorted(rows, key=lambda row: (row["kind"], row["language"], row["id"]))


def read_source(path: Path) -> list[dict[str, Any]]:
    """Return the items of a source file, each with what the file says of all of them."""
    source = tomllib.loads(path.read_text("utf-8"))
    items = source.pop("q")
    return [{**source, **item, "origin": path.name} for item in items]


def make_row(item: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one item, its answer computed or checked."""
    item = answers.complete(item)
    text = wording.full_prompt(item)
    row = {
        "id": f"{item['kind']}-{item['language']}-{wording.digest(text)}",
        "kind": item["kind"],
        "level": item["level"],
        "language": item["language"],
        "scorer": item["scorer"],
        "prompt": text,
        "references": item["references"],
        "second": item["second"],
    }
    if item.get("choices"):
        row["choices"] = item["choices"]
    if item["answer"] != item["references"][0]:
        row["answer"] = item["answer"]
    return row


def check_second_reading(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that nobody has read a second time; stop where a second reading differs."""
    second = json.loads(SECOND_READING.read_text("utf-8")) if SECOND_READING.exists() else {}
    needed = [row for row in rows if row.pop("second")]
    differing = [
        f"{row['id']}: {second[row['id']]!r}, not {row['references'][0]!r}"
        for row in needed
        if row["id"] in second and not answers.agrees(row, second[row["id"]])
    ]
    if differing:
        raise SystemExit("Second readings differ:\n" + "\n".join(differing))
    return [row for row in needed if row["id"] not in second]


def compress(rows: list[dict[str, Any]]) -> bytes:
    """Return the file; equal rows give equal bytes."""
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return gzip.compress(lines.encode(), mtime=0)


if __name__ == "__main__":
    main()
