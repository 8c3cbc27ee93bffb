"""Judges the ways to choose on one measured library: overall, within domains, and by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from contest import (
    ORACLE,
    ROUTER,
    Split,
    choices_in_unseen_domains,
    compare_methods,
    router_choices,
    split,
)
from figures import DomainWorth, Worth, best_single, by_domain, confusion, over_seeds, worth
from front import fronts
from pictures import draw_confusion, draw_front
from report import Findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from figures import Floats

    from tryage import Library, QTable
    from tryage.perception.encoder import Encoder

    Runs: TypeAlias = Sequence[Mapping[str, Floats]]  # for each seed, the choices of each method

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
UNSEEN = "Tryage, without a passage of the domain"


@dataclass(frozen=True)
class Experiment:
    """One library with its losses, the seeds, and the folder for pictures and caches."""

    name: str
    table: QTable
    library: Library
    seeds: Sequence[int]
    out: Path

    @property
    def key(self) -> str:
        """The name as part of a file name."""
        return "-".join(self.name.lower().split()[:-1])

    def splits(self) -> list[Split]:
        """Return the split of each seed."""
        return [split(self.table, seed) for seed in self.seeds]


def examine(experiment: Experiment, encoder: Encoder) -> tuple[Findings, Runs]:
    """Train routers on the measured losses and judge all methods on the held-out passages.

    Returns the findings, and for each seed the choices of each method.
    """
    splits, library = experiment.splits(), experiment.library
    seeded = zip(splits, experiment.seeds, strict=True)
    runs = [compare_methods(one, encoder, seed) for one, seed in seeded]
    sizes = dict(zip(library.names, library.column("parameters").tolist(), strict=True))
    n_test = len(splits[0].test)
    counts = (len(experiment.table) - n_test, n_test)
    found = Findings(experiment.name, sizes, counts, len(experiment.seeds))
    found.choices = over_seeds([_worths(run, one) for run, one in zip(runs, splits, strict=True)])
    found.inside = _by_domain(runs, splits)
    _trace_fronts(experiment, splits[0], encoder, found)
    _draw_choices(experiment, runs, splits[0].test)
    return found, runs


def examine_ablations(
    experiment: Experiment, encoders: Mapping[str, Encoder], found: Findings, runs: Runs
) -> None:
    """Judge routers that were trained without the domain, and routers with other encoders.

    The first encoder is the one of `examine`.
    """
    encoder, splits = next(iter(encoders.values())), experiment.splits()
    unseen = choices_in_unseen_domains(splits[0], encoder, experiment.seeds[0])
    found.choices[UNSEEN] = over_seeds([_worths({UNSEEN: unseen}, splits[0])])[UNSEEN]
    found.encoders = _by_encoder(experiment, runs, splits, encoders)


def _worths(shares: Mapping[str, Floats], parts: Split) -> dict[str, Worth]:
    single = best_single(parts.train)
    return {name: worth(share, parts.test.losses, single) for name, share in shares.items()}


def _by_domain(runs: Runs, splits: Sequence[Split]) -> list[DomainWorth]:
    """Judge the router within domains, on the mean of its choices over the seeds."""
    shares = np.mean([run[ROUTER] for run in runs], axis=0)
    return by_domain(shares, splits[0].train, splits[0].test)


def _trace_fronts(experiment: Experiment, parts: Split, encoder: Encoder, found: Findings) -> None:
    both = fronts(parts, encoder, experiment.library, experiment.seeds[0])
    found.walk = [(w, *both.router.at(w), *both.oracle.at(w)) for w in WEIGHTS]
    found.alone = both.experts
    draw_front(both, experiment.name, experiment.out / f"front-{experiment.key}.png")


def _draw_choices(experiment: Experiment, runs: Runs, test: QTable) -> None:
    mean = {name: np.mean([run[name] for run in runs], axis=0) for name in (ROUTER, ORACLE)}
    chosen, best = (confusion(mean[name], test.categories or ()) for name in (ROUTER, ORACLE))
    path = experiment.out / f"chosen-{experiment.key}.png"
    draw_confusion(chosen, best, test.experts, experiment.name, path)


def _by_encoder(
    experiment: Experiment, runs: Runs, splits: Sequence[Split], encoders: Mapping[str, Encoder]
) -> dict[str, tuple[Worth, Worth]]:
    """Judge the router with each encoder; `runs` already hold the choices with the first one."""
    first, *others = encoders
    worths = []
    for run, one, seed in zip(runs, splits, experiment.seeds, strict=True):
        choices = {name: router_choices(one, encoders[name], seed) for name in others}
        worths.append(_worths({first: run[ROUTER]} | choices, one))
    return over_seeds(worths)
