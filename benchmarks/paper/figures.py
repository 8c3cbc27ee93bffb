"""What choices were worth, from measured losses alone: rates, losses, shares of a gain."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.learning.evaluation.baselines import expert_means
from tryage.learning.evaluation.metrics import best_losses, expected_value, optimal_hits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage import QTable

Floats = NDArray[np.floating[Any]]
_LEAST_ROOM = 1e-4  # nats per character: of less than that a share says nothing


@dataclass(frozen=True, slots=True)
class Worth:
    """What a way to choose comes to.

    `optimal` is the share of the prompts sent to the best expert, `loss` the mean loss, `gain` the
    share of what the oracle gains over the best single expert (NaN: there is nothing to gain).
    """

    optimal: float
    loss: float
    gain: float


@dataclass(frozen=True, slots=True)
class Inside:
    """A router within one domain, beside the one expert that is most often best there."""

    domain: str
    prompts: int
    majority: str
    majority_optimal: float
    router: Worth


def worth(shares: Floats, losses: Floats, single: int) -> Worth:
    """Judge choices, as shares of each prompt `(n_prompts, n_experts)`, by measured losses.

    `single` is the column of the best single expert, chosen on other prompts.
    """
    got, alone = expected_value(shares, losses).mean(), float(losses[:, single].mean())
    room = alone - float(best_losses(losses).mean())
    gain = (alone - got) / room if room > _LEAST_ROOM else np.nan
    return Worth(float(optimal_hits(shares, losses).mean()), float(got), float(gain))


def best_single(train: QTable) -> int:
    """Return the column of the lowest mean loss."""
    return int(expert_means(train).argmin())


def best_shares(losses: Floats) -> Floats:
    """Return how often each expert is best, `(n_experts,)`; of those that tie, each is."""
    return np.asarray((losses == losses.min(axis=1, keepdims=True)).mean(axis=0))


def inside(shares: Floats, train: QTable, test: QTable) -> list[Inside]:
    """Judge within each domain: there, to know the domain is worth nothing."""
    known, asked = np.array(train.categories), np.array(test.categories)
    found = []
    for domain in sorted(set(asked.tolist())):
        there, losses = train.losses[known == domain], test.losses[asked == domain]
        majority = int(best_shares(there).argmax())
        alone = np.eye(losses.shape[1])[np.full(len(losses), majority)]
        router = worth(shares[asked == domain], losses, int(there.mean(axis=0).argmin()))
        rate = worth(alone, losses, majority).optimal
        found.append(Inside(domain, len(losses), test.experts[majority], rate, router))
    return found


def confusion(shares: Floats, domains: Sequence[str | None]) -> dict[str, Floats]:
    """Return for each domain the share of its prompts that each expert gets, `(n_experts,)`."""
    of = np.array(domains)
    return {domain: shares[of == domain].mean(axis=0) for domain in sorted(set(of.tolist()))}


def over_seeds(runs: Sequence[Mapping[str, Worth]]) -> dict[str, tuple[Worth, Worth]]:
    """Return the mean and the standard deviation of each method over runs (n - 1)."""
    found = {}
    for method in runs[0]:
        each = np.array([astuple(run[method]) for run in runs])
        deviation = each.std(axis=0, ddof=1) if len(runs) > 1 else np.full(3, np.nan)
        found[method] = (Worth(*each.mean(axis=0).tolist()), Worth(*deviation.tolist()))
    return found
