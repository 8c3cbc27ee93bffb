"""The Tryage paper's experiment, with real experts, from their training to the report.

    python benchmarks/paper/run.py [--out .paper]

Gathers passages of many domains, trains small experts of each and takes those that packages ship,
measures the losses of all on all passages, trains routers on them, and judges who chooses best.
Stopped, it goes on where it was. `report.md`, `figures.json` and the pictures lie in the folder.
Masked and causal losses do not compare, so there are libraries of each; `--quick`: one of n-grams.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from contest import ROUTER
from corpora import corpora
from examine import Trial, examine, look_closer
from libraries import chooser, libraries, quick
from measure import drawn, measured
from questions import questioned
from readers import readers
from report import keep

from tryage import Library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.learning.scoring.measurement import Measurer, Prompt


def main() -> None:
    """Do whatever is not done yet, and print the report."""
    options = read_options()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    texts = corpora(out)
    prompts = drawn(texts, {"router": options.learn, "test": options.held})
    encoders, found = readers(out, quick=options.quick), []
    every = quick(texts) if options.quick else libraries(texts, out)
    for name, experts in every.items():
        trial = put_on_trial(name, prompts, experts, range(options.seeds), out)
        one, runs = examine(trial, next(iter(encoders.values())))
        found.append(one)
        if not options.quick:
            questioned(trial, runs, chooser(out), options.asked, one)
            look_closer(trial, encoders, one, runs)
        print(keep(found, ROUTER, out))


def put_on_trial(
    name: str,
    prompts: Sequence[Prompt],
    experts: Sequence[Measurer],
    seeds: Sequence[int],
    out: Path,
) -> Trial:
    """Measure a library, unless it is measured; libraries of one kind share their losses."""
    kind = name.lower().split()[-2]
    table = measured(prompts, experts, out / f"losses-{kind}")
    library = Library([expert.identify().expert for expert in experts])
    return Trial(name, table, library, seeds, out)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".paper"))
    parser.add_argument("--learn", type=int, default=150, help="passages of a domain to learn from")
    parser.add_argument("--held", type=int, default=70, help="passages of a domain to judge on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--asked", type=int, default=60, help="passages to ask about, per seed")
    told = "n-gram experts alone, nobody is asked: minutes on one core, no torch"
    parser.add_argument("--quick", action="store_true", help=told)
    return parser.parse_args()


if __name__ == "__main__":
    main()
