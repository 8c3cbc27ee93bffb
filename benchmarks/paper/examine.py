"""Puts one measured library on trial: who chooses best, within domains too, and at what size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from contest import ORACLE, ROUTER, Halves, contest, domain_unseen, halves, routed
from figures import Inside, Worth, best_single, confusion, inside, over_seeds, worth
from front import fronts
from pictures import draw_confusion, draw_front
from report import Found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from figures import Floats

    from tryage import Library, QTable
    from tryage.perception.encoder import Encoder

    Runs: TypeAlias = Sequence[Mapping[str, Floats]]  # for each seed, who chose whom

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
UNSEEN = "Tryage, without a passage of the domain"


@dataclass(frozen=True)
class Trial:
    """One library with its losses, and where to put pictures and what takes long."""

    name: str
    table: QTable
    library: Library
    seeds: Sequence[int]
    out: Path

    @property
    def key(self) -> str:
        """The name as part of a file name."""
        return "-".join(self.name.lower().split()[:-1])

    def halves(self) -> list[Halves]:
        """Return what each seed learns from and is judged on."""
        return [halves(self.table, seed) for seed in self.seeds]


def examine(trial: Trial, encoder: Encoder) -> tuple[Found, Runs]:
    """Train routers on the measured losses and judge everybody on the held-out passages.

    Returns what was found, and for each seed who chose whom.
    """
    parts = trial.halves()
    runs = [contest(each, encoder, seed) for each, seed in zip(parts, trial.seeds, strict=True)]
    sizes = dict(zip(trial.library.names, trial.library.column("parameters").tolist(), strict=True))
    held = len(parts[0].test)
    found = Found(trial.name, sizes, (len(trial.table) - held, held), len(trial.seeds))
    found.choices = over_seeds([_judged(run, half) for run, half in zip(runs, parts, strict=True)])
    found.inside = _inside(runs, parts)
    _walk(trial, parts[0], encoder, found)
    _draw(trial, runs, parts[0].test)
    return found, runs


def look_closer(trial: Trial, encoders: Mapping[str, Encoder], found: Found, runs: Runs) -> None:
    """Judge routers that never saw the domain, and routers that read with other encoders.

    The first encoder is the one that the router was examined with.
    """
    encoder, parts = next(iter(encoders.values())), trial.halves()
    unseen = domain_unseen(parts[0], encoder, trial.seeds[0])
    found.choices[UNSEEN] = over_seeds([_judged({UNSEEN: unseen}, parts[0])])[UNSEEN]
    found.encoders = _read_by(trial, runs, parts, encoders)


def _judged(shares: Mapping[str, Floats], parts: Halves) -> dict[str, Worth]:
    single = best_single(parts.train)
    return {name: worth(share, parts.test.losses, single) for name, share in shares.items()}


def _inside(runs: Runs, parts: Sequence[Halves]) -> list[Inside]:
    """Judge within domains, the router's choices of all seeds together."""
    shares = np.mean([run[ROUTER] for run in runs], axis=0)
    return inside(shares, parts[0].train, parts[0].test)


def _walk(trial: Trial, parts: Halves, encoder: Encoder, found: Found) -> None:
    walks = fronts(parts, encoder, trial.library, trial.seeds[0])
    found.walk = [(w, *walks.router.at(w), *walks.oracle.at(w)) for w in WEIGHTS]
    found.alone = walks.experts
    draw_front(walks, trial.name, trial.out / f"front-{trial.key}.png")


def _draw(trial: Trial, runs: Runs, test: QTable) -> None:
    mean = {name: np.mean([run[name] for run in runs], axis=0) for name in (ROUTER, ORACLE)}
    chosen, best = (confusion(mean[name], test.categories or ()) for name in (ROUTER, ORACLE))
    draw_confusion(chosen, best, test.experts, trial.name, trial.out / f"chosen-{trial.key}.png")


def _read_by(
    trial: Trial,
    runs: Runs,
    parts: Sequence[Halves],
    encoders: Mapping[str, Encoder],
) -> dict[str, tuple[Worth, Worth]]:
    """Judge the router with each encoder; what the first of them chose is known."""
    first, *others = encoders
    judged = [
        _judged(
            {first: run[ROUTER]} | {name: routed(half, encoders[name], seed) for name in others},
            half,
        )
        for run, half, seed in zip(runs, parts, trial.seeds, strict=True)
    ]
    return over_seeds(judged)
