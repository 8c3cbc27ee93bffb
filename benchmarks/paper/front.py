"""Loss against size as the weight of size moves: for the router, in hindsight, for one expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from contest import unnamed

from tryage.core.constraints import DEFAULT_CONSTRAINTS, RequestBatch
from tryage.core.pareto import lower_envelope
from tryage.learning.training.trainer import FitConfig, fit

if TYPE_CHECKING:
    from contest import Halves
    from figures import Floats

    from tryage import Library
    from tryage.perception.encoder import Encoder


@dataclass(frozen=True)
class Walk:
    """A front: at each `weight`, the means of the measured loss and of the parameters used.

    All are `(breakpoints,)`.
    """

    weight: Floats
    loss: Floats
    parameters: Floats

    def at(self, weight: float) -> tuple[float, float]:
        """Return loss and parameters in force at a weight."""
        i = int(np.searchsorted(self.weight, weight, side="right")) - 1
        return float(self.loss[i]), float(self.parameters[i])


@dataclass(frozen=True)
class Fronts:
    """The two walks, and loss and parameters of each expert on its own, by name."""

    router: Walk
    oracle: Walk
    experts: dict[str, tuple[float, float]]


def fronts(parts: Halves, encoder: Encoder, library: Library, seed: int) -> Fronts:
    """Walk the weight of size from zero to infinity, choosing by predicted and by real losses."""
    settings = FitConfig(seed=seed)
    perception = fit(unnamed(parts.train), encoder, config=settings, progress=False)
    library = library.subset(list(parts.test.experts))  # in the order of the table
    losses = parts.test.losses.astype(np.float64)
    sizes = library.column("parameters")
    predicted = perception.predict(parts.test.prompts).losses
    return Fronts(
        walk(predicted, library, losses),
        walk(losses, library, losses),
        {
            name: (float(loss), float(count))
            for name, loss, count in zip(library.names, losses.mean(axis=0), sizes, strict=True)
        },
    )


def walk(base: Floats, library: Library, losses: Floats) -> Walk:
    """Choose by `base` and the weighted size, judge by `losses`, both `(n_prompts, n_experts)`."""
    size = DEFAULT_CONSTRAINTS["size"](library, RequestBatch(np.zeros(1)))
    path = lower_envelope(base, size)
    return Walk(path.weights, path.mean(losses), path.mean(library.column("parameters")))
