"""Damage folders of routers and rankers at random, and count what comes of loading and using them.

    python benchmarks/damaged_folders.py [CHECKOUT] --tries 3000 --seed 0

The damage is that of `tests/test_router_damage.py`, with digests made right again. CHECKOUT is
another revision to measure in the same way, such as `git worktree add ../before REVISION`. Folders
are small: those of format 1 in the tests, and the same as the revision saves them.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print how many damaged folders were neither refused in words nor worked, and how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--tries", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.checkout / "shared" / "tryage").is_dir():
        parser.error(f"{options.checkout} is no checkout: it has no folder shared/tryage")
    sys.path[:0] = [str(options.checkout / "shared"), str(ROOT / "tests")]
    tests = importlib.import_module("test_router_damage")
    with tempfile.TemporaryDirectory() as scratch:
        sources = tests.save_today(Path(scratch, "today")) + tests.FORMAT_1_FOLDERS
        failures = collections.Counter(
            failure
            for seed in range(options.seed, options.seed + options.tries)
            if (failure := try_folder(tests, sources[seed % len(sources)], Path(scratch), seed))
        )
    print(f"{options.tries} damaged folders, {failures.total()} neither refused in words nor whole")
    for failure, count in failures.most_common():
        print(f"{count:6} {failure}")


def try_folder(tests: ModuleType, source: Path, scratch: Path, seed: int) -> str | None:
    """Damage and use a folder; return how it failed, None if it worked or was refused in words."""
    try:
        tests.check_damaged(source, scratch, seed)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - where Rust code panics it is no Exception
        calls = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
        stage = "at load" if "from_pretrained" in calls else "when used"
        return f"{type(error).__name__} {stage}"
    return None


if __name__ == "__main__":
    main()
