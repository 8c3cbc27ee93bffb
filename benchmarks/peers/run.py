"""Run Tryage beside other routers on the same splits: predictions, times and sizes, as tables.

    python benchmarks/peers/run.py [--peers tryage argrouter ...] [--sets coderouter_id ...]
        [--seeds 5] [--parity-sets coderouter_id] [--language-model FOLDER] [--speed] [--keep]

Run it from the root of the repository after `pip install '.[train]'`. Every peer gets a virtual
environment from its requirements, which is deleted after use unless `--keep` is given; so at most
one of them exists at a time. Predictions are kept under `--out` per method, set and seed: the same
command goes on where it was stopped, and prints the tables. A peer that fails is named with its
reason, and the others go on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(pool, "1")  # before numpy starts its pool

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common_encoder import embed_set, fetch_encoder  # noqa: E402 - after the pools are set
from comparison import Comparison, fits  # noqa: E402 - the same
from datasets import SETS, load  # noqa: E402 - the same
from methods import LABELS, PEERS, PROBE, local_methods, probe_method  # noqa: E402 - the same
from peer_tables import write_tables  # noqa: E402 - the same
from tasks import OutcomeSet, Task  # noqa: E402 - the same
from tqdm import tqdm  # noqa: E402 - the same

from tryage.learning.evaluation.trained_router import CachingEncoder  # noqa: E402 - the same
from tryage.perception.persistence import load_encoder  # noqa: E402 - the same
from tryage.perception.pretrained import BUNDLED_FOLDER  # noqa: E402 - the same
from tryage.perception.transformer import TransformerEncoder  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_SETS = (
    *("coderouter_id", "zeroeval", "bfcl_2024_08", "routerbench_subset"),
    *("llmrouter_uiuc", "routellm_pair", "mmlu_pro"),
)


def make_tasks(
    names: Sequence[str], n_seeds: int, parity_sets: Sequence[str], encoder: Path
) -> list[Task]:
    """Load the sets and return the splits of all seeds; inner ones where cost is weighed."""
    tasks = []
    for name in names:
        table = load(name)
        outcomes = OutcomeSet.arrange(name, table, embed_set(name, table.prompts, encoder))
        outer = [Task(outcomes, seed) for seed in range(n_seeds)]
        tasks += outer
        if name in parity_sets:
            tasks += [inner for task in outer for inner in task.inner_tasks()]
    return tasks


def main() -> None:
    """Run what is asked for, and write the tables."""
    arguments = parse_arguments()
    fetch_encoder(arguments.out / "encoder")
    tasks = make_tasks(
        arguments.sets, arguments.seeds, arguments.parity_sets, arguments.out / "encoder"
    )
    local = [name for name in arguments.peers if name not in PEERS]
    local += [PROBE] if arguments.language_model else []
    packages = [name for name in arguments.peers if name in PEERS]
    total = len(local) * len(tasks) + sum(fits(PEERS[n], t) for n in packages for t in tasks)
    with tqdm(total=total, unit="split", mininterval=5) as progress:
        comparison = Comparison(tasks, arguments.out, progress, arguments.keep, arguments.speed)
        bundled = CachingEncoder(load_encoder(BUNDLED_FOLDER / "encoder"))
        methods = dict(local_methods(bundled, TransformerEncoder.load(comparison.encoder)))
        if PROBE in local:
            states = arguments.out / "states"
            methods[PROBE] = probe_method(arguments.language_model, states)
        comparison.run_methods({name: methods[name] for name in local})
        failures = comparison.run_packages(packages)
    print(write_tables(tasks, arguments.out, failures).read_text("utf-8"))
    if failures:
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    runnable = [name for name in LABELS if name != PROBE]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="*", choices=runnable, default=runnable)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(DEFAULT_SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parity-sets", nargs="*", default=["coderouter_id"])
    parser.add_argument("--language-model", help="folder or Hub id; adds the probe of its states")
    parser.add_argument("--speed", action="store_true", help="measure decisions and sizes, too")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    parser.add_argument("--out", type=Path, default=Path("build/peers"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
