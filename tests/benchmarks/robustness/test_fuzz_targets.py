"""The inputs that fuzzing has kept are read or refused in words; a few hundred new ones, too."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("pydantic")

ROOT = Path(__file__).resolve().parents[3]
CORPORA = ROOT / "tests" / "fixtures" / "fuzz"
TARGETS = ("flags", "names", "hub", "config", "csv", "jsonl", "parquet", "checkpoint")


@pytest.fixture(scope="module")
def targets():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "robustness"))
        import fuzz_targets

        yield fuzz_targets.TARGETS
    for name in ("fuzz_targets", "fuzz_files", "fuzz_hub", "fuzz_mutations"):
        sys.modules.pop(name)


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_read_or_refused_in_words(targets, name):
    target = targets[name]()
    kept = sorted((CORPORA / name).iterdir())
    assert kept
    for path in kept:
        target.check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_read_or_refused_in_words(targets, name):
    rng = random.Random(0)  # noqa: S311 - the same inputs on every run
    target = targets[name]()
    seeds = [*target.seeds()]
    for _ in range(150):
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 2, 5))):
            data = target.mutation(data, target.words, rng)
        target.check(data[: target.max_length])


def test_the_command_knows_all_targets(targets):
    assert set(TARGETS) == set(targets)
