"""Judges choices by measured losses: rates of the best expert, mean losses, shares of the gain."""

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
_MIN_GAIN = 1e-4  # nats per character; a share of a smaller gain means nothing


@dataclass(frozen=True, slots=True)
class Worth:
    """The value of a way to choose.

    `optimal` is the share of the prompts sent to the best expert, `loss` the mean loss, `gain` the
    share of the oracle's gain over the best single expert (NaN if the oracle gains nothing).
    """

    optimal: float
    loss: float
    gain: float


@dataclass(frozen=True, slots=True)
class DomainWorth:
    """A router within one domain, and the expert that is most often best in it."""

    domain: str
    prompts: int
    majority: str
    majority_optimal: float
    router: Worth


def worth(shares: Floats, losses: Floats, single: int) -> Worth:
    """Judge choices, given as shares of each prompt `(n_prompts, n_experts)`, by measured losses.

    `single` is the column of the best single expert, chosen on other prompts.
    """
    loss, single_loss = expected_value(shares, losses).mean(), float(losses[:, single].mean())
    oracle_gain = single_loss - float(best_losses(losses).mean())
    gain = (single_loss - loss) / oracle_gain if oracle_gain > _MIN_GAIN else np.nan
    return Worth(float(optimal_hits(shares, losses).mean()), float(loss), float(gain))


def best_single(train: QTable) -> int:
    """Return the column of the lowest mean loss."""
    return int(expert_means(train).argmin())


def best_shares(losses: Floats) -> Floats:
    """Return how often each expert is best, `(n_experts,)`; all tied experts are best."""
    return np.asarray((losses == losses.min(axis=1, keepdims=True)).mean(axis=0))


def by_domain(shares: Floats, train: QTable, test: QTable) -> list[DomainWorth]:
    """Judge within each domain, where knowing the domain does not help."""
    known, tested = np.array(train.categories), np.array(test.categories)
    found = []
    for domain in sorted(set(tested.tolist())):
        seen, losses = train.losses[known == domain], test.losses[tested == domain]
        majority = int(best_shares(seen).argmax())
        always = np.eye(losses.shape[1])[np.full(len(losses), majority)]
        router = worth(shares[tested == domain], losses, int(seen.mean(axis=0).argmin()))
        rate = worth(always, losses, majority).optimal
        found.append(DomainWorth(domain, len(losses), test.experts[majority], rate, router))
    return found


def confusion(shares: Floats, domains: Sequence[str | None]) -> dict[str, Floats]:
    """Return for each domain the share of its prompts that each expert gets, `(n_experts,)`."""
    names = np.array(domains)
    return {name: shares[names == name].mean(axis=0) for name in sorted(set(names.tolist()))}


def over_seeds(runs: Sequence[Mapping[str, Worth]]) -> dict[str, tuple[Worth, Worth]]:
    """Return the mean and the standard deviation of each method over runs (n - 1)."""
    found = {}
    for method in runs[0]:
        values = np.array([astuple(run[method]) for run in runs])
        deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.full(3, np.nan)
        found[method] = (Worth(*values.mean(axis=0).tolist()), Worth(*deviation.tolist()))
    return found
