"""Loss against size for every weight of size: of the router, of the oracle, of single experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from contest import without_categories

from tryage.core.constraints import DEFAULT_CONSTRAINTS, RequestBatch
from tryage.core.pareto import lower_envelope
from tryage.learning.training.trainer import FitConfig, fit

if TYPE_CHECKING:
    from contest import Split
    from figures import Floats

    from tryage import Library
    from tryage.perception.encoder import Encoder


@dataclass(frozen=True)
class Front:
    """A front: at each `weight`, the means of the measured loss and of the parameters used.

    All are `(breakpoints,)`.
    """

    weight: Floats
    loss: Floats
    parameters: Floats

    def at(self, weight: float) -> tuple[float, float]:
        """Return loss and parameters at a weight."""
        i = int(np.searchsorted(self.weight, weight, side="right")) - 1
        return float(self.loss[i]), float(self.parameters[i])


@dataclass(frozen=True)
class Fronts:
    """The two fronts, and loss and parameters of each single expert by name."""

    router: Front
    oracle: Front
    experts: dict[str, tuple[float, float]]


def fronts(parts: Split, encoder: Encoder, library: Library, seed: int) -> Fronts:
    """Trace the fronts by predicted and by true losses, for weights from zero to infinity."""
    config, train = FitConfig(seed=seed), without_categories(parts.train)
    perception = fit(train, encoder, config=config, progress=False)
    library = library.subset(list(parts.test.experts))  # in the order of the table
    losses = parts.test.losses.astype(np.float64)
    sizes = library.column("parameters")
    predicted = perception.predict(parts.test.prompts).losses
    return Fronts(
        trace_front(predicted, library, losses),
        trace_front(losses, library, losses),
        {
            name: (float(loss), float(count))
            for name, loss, count in zip(library.names, losses.mean(axis=0), sizes, strict=True)
        },
    )


def trace_front(base: Floats, library: Library, losses: Floats) -> Front:
    """Choose by `base` and the weighted size, judge by `losses`, both `(n_prompts, n_experts)`."""
    size = DEFAULT_CONSTRAINTS["size"](library, RequestBatch(np.zeros(1)))
    path = lower_envelope(base, size)
    return Front(path.weights, path.mean(losses), path.mean(library.column("parameters")))
