"""Kill saves at random moments and count what is left: the old router, the new one, or a mixture.

    python benchmarks/kill_saves.py [CHECKOUT] --kills 200
    python benchmarks/kill_saves.py [CHECKOUT] --kills 200 --train

A child process saves a router over another one, again and again, and is killed with SIGKILL. With
`--train` it is the command `tryage train`, which finds its finished stages in a checkpoint. The two
routers differ in preferences, abilities and experts, so a mixture is seen. CHECKOUT is another
revision to measure in the same way, such as `git worktree add ../before REVISION`.
"""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAVE = """
import sys
from tryage import Router
routers = [Router.from_pretrained(path) for path in sys.argv[1:3]]
print("ready", flush=True)
i = 1
while True:
    routers[i % 2].save_pretrained(sys.argv[3])
    i += 1
"""

# The three parts of a saved router that must belong together.
LOAD = """
import sys
from tryage import Router
try:
    router = Router.from_pretrained(sys.argv[1])
except Exception as error:
    print("unreadable", type(error).__name__)
else:
    weights = sorted(router.preferences.weights.items())
    mean = float(router.perception.abilities.means.sum())
    print("parts", weights, round(mean, 3), len(router.library), len(router.perception.experts))
"""

MAKE = """
import sys
from tryage import Preferences, Router
router = Router.from_pretrained()
first = router.subset(router.library.names[:40]).with_preferences(Preferences({"size": 1.0}))
second = Router(router.perception, router.library, preferences=Preferences({"size": 2.0}))
for name in router.library.names[:20]:
    second.observe(second.route("Prove it.", Preferences(only=[name])), 1.0)
first.save_pretrained(sys.argv[1])
second.save_pretrained(sys.argv[2])
"""

TABLE = """
import sys
import numpy as np
from tryage import QTable
rng = np.random.default_rng(0)
prompts = tuple(f"question {i} about topic {i % 7}" for i in range(300))
losses = rng.random((300, 5)).astype(np.float32)
QTable(prompts, tuple("abcde"), losses).write(sys.argv[1])
"""

TRAIN = """
import sys
from tryage.cli import app
print("ready", flush=True)
app(["train", sys.argv[1], "-o", sys.argv[2], "--checkpoint", sys.argv[3]])
"""


def python(code: str, *arguments: object, checkout: Path) -> list[str]:
    """Return the command that runs the code with the library of a checkout."""
    path = f"import sys; sys.path[:0] = [{str(checkout / 'shared')!r}]\n"
    return [sys.executable, "-c", path + code, *map(str, arguments)]


def run(code: str, *arguments: object, checkout: Path) -> str:
    """Run the code to its end; return what it prints."""
    command = python(code, *arguments, checkout=checkout)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def kill_once(command: list[str], seconds: float | None) -> float:
    """Start a process, and kill it so long after it has said that it is ready; None lets it end.

    Return how many seconds it lived after it was ready.
    """
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.readline()
    start = time.monotonic()
    if seconds is not None:
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
    child.stdout.read()
    child.wait()
    return time.monotonic() - start


def measure(checkout: Path, n_kills: int, seed: int, *, train: bool) -> collections.Counter[str]:
    """Return how often a kill left the old router, the new one, a mixture, or an unreadable one."""
    rng = random.Random(seed)  # noqa: S311 - the same moments in each revision
    outcomes = collections.Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        first, second, target, table, checkpoint = (
            Path(scratch, name) for name in ("first", "second", "target", "t.parquet", "stages")
        )
        run(MAKE, first, second, checkout=checkout)
        command = python(SAVE, first, second, target, checkout=checkout)
        longest = 0.5  # seconds of saving again and again
        if train:
            run(TABLE, table, checkout=checkout)
            run(TRAIN, table, second, checkpoint, checkout=checkout)
            command = python(TRAIN, table, target, checkpoint, checkout=checkout)
            shutil.copytree(first, target)
            longest = min(kill_once(command, None) for _ in range(3))
        whole = {run(LOAD, first, checkout=checkout): "old"}
        whole[run(LOAD, second, checkout=checkout)] = "new"
        for _ in range(n_kills):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(first, target)
            kill_once(command, rng.uniform(0.7 * longest if train else 0, longest))
            left = run(LOAD, target, checkout=checkout)
            outcomes[whole.get(left) or left.split()[0].replace("parts", "mixture")] += 1
    return outcomes


def main() -> None:
    """Print one line for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="*", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help="kill `tryage train` instead")
    arguments = parser.parse_args()
    for checkout in (*arguments.checkout, Path(__file__).resolve().parents[1]):
        outcomes = measure(
            checkout.resolve(), arguments.kills, arguments.seed, train=arguments.train
        )
        print(f"{checkout}: {dict(outcomes)}", flush=True)


if __name__ == "__main__":
    main()
