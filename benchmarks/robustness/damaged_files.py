"""Damage logs of traffic, catalogues, journals and snapshots at random, and count what comes of it.

    python benchmarks/robustness/damaged_files.py [CHECKOUT] --tries 500 --seed 0

A damaged file is read, or refused in words: everything else is a failure. The damage is that of the
tests, which run some tries of each kind. CHECKOUT is another revision to measure in the same way,
such as `git worktree add ../before REVISION`. Folders of routers: `benchmarks/damaged_folders.py`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"

from tqdm import tqdm  # noqa: E402 - after the pools are set

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]

Try: TypeAlias = "Callable[[random.Random, Path], str | None]"
"""Damages a copy of a file in a folder, uses it, and returns how it failed, None if it did not."""

JOURNAL_VALUES = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), "x", "", [], {}, "\0", "\x1b[2J",
    "[" * 5_000, 10**400, "a" * 100_000,
)  # fmt: skip


def main() -> None:
    """Print a table of all kinds of files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--tries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.checkout / "shared" / "tryage").is_dir():
        parser.error(f"{options.checkout} is no checkout: it has no folder shared/tryage")
    sys.path[:0] = [str(options.checkout / "shared"), str(ROOT / "tests" / "traffic")]
    sys.path[:0] = [str(ROOT / "tests" / "hub")]
    warnings.simplefilter("ignore")
    print("| file | damaged | neither read nor refused in words | what |")
    print("|---|---:|---:|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, one_try in tries(Path(scratch)).items():
            failures = count_failures(name, one_try, options, Path(scratch))
            what = "; ".join(f"{n} {text}" for text, n in failures.most_common(4))
            print(f"| {name} | {options.tries} | {failures.total()} | {what} |", flush=True)


def count_failures(
    name: str, one_try: Try, options: argparse.Namespace, scratch: Path
) -> collections.Counter[str]:
    """Damage so many copies, and count the failures by what they are."""
    failures: collections.Counter[str] = collections.Counter()
    for seed in tqdm(range(options.seed, options.seed + options.tries), desc=name, leave=False):
        folder = scratch / "one"
        folder.mkdir()
        if (failure := one_try(random.Random(f"{name} {seed}"), folder)) is not None:  # noqa: S311 - damage needs no secret
            failures[failure] += 1
        shutil.rmtree(folder)
    return failures


def tries(scratch: Path) -> dict[str, Try]:
    """Return what is tried, by the name of the file."""
    return {
        **log_tries(scratch / "traffic.db"),
        **catalogue_tries(scratch / "catalogue.sqlite"),
        "journal of a test": try_journal,
    }


# Logs of traffic ----------------------------------------------------------------------------------


def log_tries(path: Path) -> dict[str, Try]:
    """Fill a log; return how its rows and its bytes are damaged, and how it is used then."""
    tests = importlib.import_module("test_traffic_damaged")
    learned = train()
    tests.fill(learned, path)

    def read(damage: Callable[..., str]) -> Try:
        def one_try(rng: random.Random, folder: Path) -> str | None:
            copied = shutil.copy(path, folder / "log.db")
            damage(copied, rng)
            try:
                problems = tests.read_all(copied)
            except tests.TrafficError:
                return None
            except Exception as error:  # noqa: BLE001 - what is raised is counted
                return failure_text(repr(error))
            return failure_text(problems[0][1]) if problems else None

        return one_try

    def decide(damage: Callable[..., str]) -> Try:
        def one_try(rng: random.Random, folder: Path) -> str | None:
            copied = shutil.copy(path, folder / "log.db")
            damage(copied, rng)
            try:
                tests.decide(learned, copied)
            except Exception as error:  # noqa: BLE001 - what is raised is counted
                return failure_text(repr(error))
            return None

        return one_try

    return {
        "log, a value, read": read(tests.damage_row),
        "log, bytes, read": read(tests.damage_file),
        "log, a value, a decision": decide(tests.damage_row),
        "log, bytes, a decision": decide(tests.damage_file),
        "snapshot of what was learned": snapshot_try(tests, learned, path),
    }


def snapshot_try(tests: Any, learned: Any, path: Path) -> Try:  # noqa: ANN401 - a module of tests
    """Return how the bytes of what a router has learned are damaged."""
    from tryage.errors import PersistenceError
    from tryage.traffic.learner_state import LearnerState

    data = tests.learned_state(learned, path)

    def one_try(rng: random.Random, _: Path) -> str | None:
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            LearnerState.from_bytes(bytes(damaged))
        except PersistenceError:
            return None
        except Exception as error:  # noqa: BLE001 - what is raised is counted
            return failure_text(repr(error))
        return None

    return one_try


def train() -> Any:  # noqa: ANN401 - a perception of the other checkout
    """Return a small perception that learns."""
    import numpy as np
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    from tryage import QTable
    from tryage.learning.training.trainer import fit
    from tryage.perception.encoder import StaticEncoder

    words = ("[UNK]", "sum", "code", "poem", "law")
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    rng = np.random.default_rng(0)
    encoder = StaticEncoder.from_rows(rng.normal(size=(5, 8)).astype(np.float32), tokenizer)
    topics = [words[1 + i % 4] for i in range(80)]
    losses = [[0.1 if t == "sum" else 0.8, 0.2 if t == "code" else 0.7, 0.4] for t in topics]
    prompts = tuple(f"{topic} {i}" for i, topic in enumerate(topics))
    return fit(QTable(prompts, ("adder", "coder", "all"), losses), encoder, progress=False)


# Catalogues and journals --------------------------------------------------------------------------


def catalogue_tries(path: Path) -> dict[str, Try]:
    """Fill a catalogue; return how its columns, records and state are damaged."""
    import sqlite3

    tests = importlib.import_module("test_catalog_damaged")
    fill_catalogue(path)

    def trying(damage: Callable[..., None]) -> Try:
        def one_try(rng: random.Random, folder: Path) -> str | None:
            copied = shutil.copy(path, folder / "catalogue.sqlite")
            with contextlib.closing(sqlite3.connect(copied)) as database, database:
                damage(database, rng)
            problems = tests.read_all(copied)
            return failure_text(problems[0][1]) if problems else None

        return one_try

    kinds = {"column": tests.damage_column, "record": tests.damage_record}
    kinds["state"] = tests.damage_state
    return {f"catalogue, {name}": trying(damage) for name, damage in kinds.items()}


def fill_catalogue(path: Path) -> None:
    """Sync a catalogue of fourteen models with a Hub on the loopback device."""
    from tryage.hub.catalog import Catalogue
    from tryage.hub.catalog_sync import sync
    from tryage.hub.client import HubClient
    from tryage.hub.settings import HubSettings
    from tryage.testing import LocalHub

    size = {"parameters": {"BF16": 7_000_000_000}, "total": 7_000_000_000}
    with LocalHub() as hub:
        for i in range(14):
            tags = ["license:mit", "gguf", *([f"base_model:quantized:org/m{i - 1}"] * (i % 3 == 1))]
            hub.add(f"org/m{i}", downloads=1_000 - i, tags=tags, safetensors=size)
        settings = HubSettings(endpoint=hub.url, inference=hub.url)
        with Catalogue(path) as catalogue, HubClient(settings) as client:
            sync(client, catalogue)


def try_journal(rng: random.Random, folder: Path) -> str | None:
    """Damage a line of the journal of a test of models, and read it."""
    from tryage.errors import TryageError
    from tryage.onboarding.journal import read_journal

    row: dict[str, Any] = {"model": "a", "question": "q", "method": "m", "score": 1.0, "cost": 0.1}
    row[rng.choice([*row, "error", "latency", "output_tokens", "other"])] = rng.choice(
        JOURNAL_VALUES
    )
    line = json.dumps(row) if rng.random() < 0.8 else "[" * rng.choice((1, 900, 100_000))
    path = folder / "answers.jsonl"
    path.write_text(f"{line}\n")
    try:
        for record in read_journal(path):
            _ = record.spent + (record.score or 0.0) + (record.latency or 0.0)
    except TryageError:
        return None
    except Exception as error:  # noqa: BLE001 - what is raised is counted
        return failure_text(repr(error))
    return None


def failure_text(text: str) -> str:
    """Return the class of an error, which stands before its message."""
    return text.split("(", maxsplit=1)[0]


if __name__ == "__main__":
    main()
