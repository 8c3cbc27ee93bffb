"""The experiment of the Tryage paper with real experts, from their training to the report.

    python benchmarks/paper/run.py [--out .paper]

It collects passages of many domains, trains small experts of each and adds experts of packages,
measures the losses of all experts on all passages, trains routers on them, and judges the ways to
choose. The same command resumes a stopped run. `report.md`, `figures.json` and the pictures are in
the folder. Masked and causal losses are not comparable, so each kind has its own libraries;
`--quick` has one of n-grams.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from contest import ROUTER
from corpora import corpora
from examine import Experiment, examine, examine_ablations
from libraries import chooser_folder, libraries, quick_libraries
from measure import measure_table, sample_prompts
from questions import compare_with_model
from readers import load_encoders
from report import write_report

from tryage import Library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.scoring.measurement import Measurer, Prompt


def main() -> None:
    """Do the missing steps, and print the report."""
    options = read_options()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    texts = corpora(out)
    prompts = sample_prompts(texts, {"router": options.learn, "test": options.held})
    encoders, found = load_encoders(out, quick=options.quick), []
    named = quick_libraries(texts) if options.quick else libraries(texts, out)
    for name, experts in named.items():
        experiment = measure_library(name, prompts, experts, range(options.seeds), out)
        one, runs = examine(experiment, next(iter(encoders.values())))
        found.append(one)
        if not options.quick:
            compare_with_model(experiment, runs, chooser_folder(out), options.asked, one)
            examine_ablations(experiment, encoders, one, runs)
        print(write_report(found, ROUTER, out))


def measure_library(
    name: str,
    prompts: Sequence[Prompt],
    experts: Sequence[Measurer],
    seeds: Sequence[int],
    out: Path,
) -> Experiment:
    """Measure the missing losses of a library; libraries of one kind share their losses."""
    kind = name.lower().split()[-2]
    table = measure_table(prompts, experts, out / f"losses-{kind}")
    library = Library([expert.identify().expert for expert in experts])
    return Experiment(name, table, library, seeds, out)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".paper"))
    parser.add_argument("--learn", type=int, default=150, help="passages of a domain to learn from")
    parser.add_argument("--held", type=int, default=70, help="passages of a domain to judge on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--asked", type=int, default=60, help="passages to ask about, per seed")
    quick = "only n-gram experts, without the language model: minutes on one core, no torch"
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser.parse_args()


if __name__ == "__main__":
    main()
