"""Training apart, to compare with: nobody asks a router who learns from which prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.cotraining.learner import Arrays, Round, Rows


class _Stateless:
    """Rules that learn nothing have nothing to keep."""

    def state(self) -> Arrays:
        """Return nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Take nothing up."""


class ByLabel(_Stateless):
    """Each expert learns from the prompts of its own domains, told the true ones.

    `labels` has one per prompt of the pool; the domains are dealt to `n_experts` in turn.
    """

    def __init__(self, labels: Sequence[str], n_experts: int) -> None:
        if not labels:
            raise InputError("No labels were given; give the domain of every prompt.")
        self._experts = np.unique(np.array(labels), return_inverse=True)[1] % n_experts

    def __call__(self, batch: Round) -> Rows:
        """Return the expert that learns from each prompt, `(batch,)`."""
        return np.asarray(self._experts[batch.rows], np.intp)


class AtRandom(_Stateless):
    """Each prompt goes to an expert drawn at random; with one expert, all go to it."""

    def __init__(self, n_experts: int) -> None:
        self._n_experts = n_experts

    def __call__(self, batch: Round) -> Rows:
        """Return the expert that learns from each prompt, `(batch,)`."""
        return np.asarray(batch.rng.integers(self._n_experts, size=len(batch.rows)), np.intp)
