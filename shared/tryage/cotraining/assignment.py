"""Who gets which prompt: the lowest total, with no expert above its capacity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tryage.extras import require

if TYPE_CHECKING:
    from tryage.cotraining.learner import Floats, Rows


def balanced(totals: Floats, slack: float) -> Rows:
    """Assign prompts to experts at the least sum of `totals` `(batch, n_experts)`, `(batch,)`.

    An expert gets at most `slack` times an equal share. Without such a limit the one that is a
    little ahead gets more prompts, learns more, and is further ahead: in the end it has them all.
    With 1 everyone gets the same (the balanced assignment of BASE layers, Lewis et al. 2021); with
    the number of experts, or more, there is no limit.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    batch, n_experts = totals.shape
    capacity = math.ceil(slack * batch / n_experts)
    if capacity >= batch:
        return np.asarray(totals.argmin(axis=1), np.intp)
    require("scipy", "train")
    from scipy.optimize import linear_sum_assignment

    places = linear_sum_assignment(np.repeat(totals, capacity, axis=1))[1]
    return np.asarray(places // capacity, np.intp)


def effective(shares: Floats) -> float:
    """Count how many experts are really at work: exp of the entropy of their shares.

    1 is a collapse, the number of experts an even spread.
    """
    given = shares[shares > 0] / shares.sum()
    return float(np.exp(-(given * np.log(given)).sum()))
