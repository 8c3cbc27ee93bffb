"""Give made-up secrets wherever a secret can be given, run everything, and search all that is left.

    python benchmarks/robustness/canaries.py                 # all runs, with all forms of secrets
    python benchmarks/robustness/canaries.py --run langchain_objects --form "no prefix" --verbose
    PYTHONPATH=OTHER/shared:OTHER/src python benchmarks/robustness/canaries.py  # another revision

Each run uses secrets of one form for all its places. Searched are files, logs, output, errors with
their tracebacks, pickles, representations, traces, answers, and what every server was sent.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from canary_chat import CHAT_RUNS
from canary_commands import COMMAND_RUNS
from canary_litellm import LITELLM_RUNS
from canary_operations import OPERATION_RUNS
from canary_ray import RAY_RUNS
from canary_search import FORMS, Leak, Sweep
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RUNS = {
    run.__name__: run
    for run in (*CHAT_RUNS, *OPERATION_RUNS, *COMMAND_RUNS, *LITELLM_RUNS, *RAY_RUNS)
}

# The package without which a run is left out: it is in an environment of its own (`.ci/lanes`).
NEEDS = {"litellm_proxy": "litellm"}

# What other packages write of themselves, whoever calls them.
OTHERS = ("log of ", "clients' own", "errors of clients", "requests of the stranger")


def sweep_run(run: Callable[[Sweep], None], form: str, seed: int = 0) -> Sweep:
    """Return a run with canaries of a form, after all that it has left behind was kept."""
    here = Path.cwd()
    with TemporaryDirectory() as folder:
        sweep = Sweep(form, Path(folder), seed)
        os.chdir(folder)
        try:
            with sweep.captured(), sweep.environment():
                run(sweep)
        finally:
            os.chdir(here)
    return sweep


def is_of_others(leak: Leak) -> bool:
    """Return whether other packages show a canary, of which Tryage says nothing."""
    return leak.surface.startswith(OTHERS) and not leak.surface.startswith("log of Tryage")


def main() -> None:
    """Print what was searched and found, for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", choices=list(RUNS), action="append")
    parser.add_argument("--form", choices=FORMS, action="append")
    parser.add_argument("--verbose", action="store_true", help="print each leak")
    options = parser.parse_args()
    print("| run | places | forms | searched | pairs | leaks | by other packages | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.run or RUNS:
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            print(f"| {name} | not run: {NEEDS[name]} is not installed |", flush=True)
        else:
            _report(name, options.form or FORMS, verbose=options.verbose)


def _report(name: str, forms: Iterable[str], *, verbose: bool) -> None:
    start = time.monotonic()
    sweeps = [sweep_run(RUNS[name], form) for form in tqdm(forms, desc=name, leave=False)]
    found = [leak for sweep in sweeps for leak in sweep.leaks()]
    own = [leak for leak in found if not is_of_others(leak)]
    places = {canary.place for sweep in sweeps for canary in sweep.canaries}
    n_contents = sum(len(sweep.contents) for sweep in sweeps)
    n_pairs = sum(sweep.n_searched for sweep in sweeps)
    seconds = time.monotonic() - start
    print(
        f"| {name} | {len(places)} | {len(sweeps)} | {n_contents:,} | {n_pairs:,} | {len(own)} | "
        f"{len(found) - len(own)} | {seconds:.0f} |",
        flush=True,
    )
    if verbose:
        for leak in found:
            mark = "other" if is_of_others(leak) else "LEAK"
            print(f"    {mark}: {leak.place} ({leak.form}) in {leak.surface}: {leak.excerpt}")


if __name__ == "__main__":
    main()
