"""From experts that have learned to a router that is like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.cotraining.specialisation import measured
from tryage.errors import InputError
from tryage.objective import DEFAULT_CONSTRAINTS, Constraint, Request, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.cotraining.learner import Floats, Learner, Pool
    from tryage.experts import Library
    from tryage.perception.encoder import Encoder
    from tryage.preferences import Preferences
    from tryage.router import Router


def weighted(
    pool: Pool,
    library: Library,
    preferences: Preferences,
    constraints: Mapping[str, Constraint] = DEFAULT_CONSTRAINTS,
) -> Floats:
    """Return the weighted constraints of every prompt and expert, `(n_prompts, n_experts)`.

    Raises:
        InputError: a weight names no constraint, or there are requirements.
    """
    if preferences.requirements:
        raise InputError(
            "Co-training knows weights only: an expert that requirements shut out cannot learn. "
            "Give the experts that meet them."
        )
    nothing = np.zeros((len(pool), len(library)))
    request = Request(np.asarray(pool.tokens, np.float64))
    return np.asarray(
        score(nothing, library, preferences.weights, constraints, request).total, np.float64
    )


def router_among(  # noqa: PLR0913 - experts, prompts and reader; the rest has defaults
    learners: Sequence[Learner],
    texts: Sequence[str],
    encoder: Encoder,
    *,
    categories: Sequence[str | None] | None = None,
    library: Library | None = None,
    preferences: Preferences | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Router:
    """Fit the ability-space perception to what the experts lose now.

    `texts` are prompts that no expert has learned from, so that an expert's own prompts do not make
    it look better than it is. Those that some expert has no loss on are left out.

    Raises:
        QTableError: fewer than ten prompts are left.
    """
    from tryage.perception.training import Settings, fit
    from tryage.qtable import QTable
    from tryage.router import Router

    losses = measured(learners, texts)
    table = QTable(
        tuple(texts),
        tuple(learner.name for learner in learners),
        losses.astype(np.float32),
        categories=None if categories is None else tuple(categories),
    ).take(np.flatnonzero(~np.isnan(losses).any(axis=1)))
    perception = fit(table, encoder, settings=Settings(seed=seed), progress=progress)
    return Router(perception, library, preferences=preferences)
