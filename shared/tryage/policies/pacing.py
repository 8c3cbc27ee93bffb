"""The price of a dollar that keeps a budget: pure arithmetic over what is spent and forecast.

A request goes to the expert with the lowest `total + price * USD`. The price is the dual variable
of the budget (Balseiro and Gur 2019, "Learning in repeated auctions with budgets"). It is solved
anew before each choice, so that what is spent and what the remaining requests are expected to cost
at that price are the limit together (Jasin and Kumar 2012, "A re-solving heuristic with bounded
revenue loss").

Sorted traffic, such as easy requests first, is told from the calibration prompts: as far as the
requests so far are no sample of these, the remaining ones are what is left of these. As far as they
may be a sample, the remaining ones are like all others. The difference counts as a James-Stein
estimate counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, FloatArray
    from tryage.traffic.spending import Spending

# Prices at which the USD of each request are added up, in loss per USD. The same everywhere, so
# that processes and restarts can add to one another's sums.
PRICES: Float64Array = np.concatenate([[0.0], np.geomspace(1e-2, 1e8, 121)])

ROLLING_REQUESTS = 100.0  # over which an average is kept where nothing is known of later requests
MIN_REQUESTS = 10.0  # over which the rest of a limit is spread at least

_BELIEF = 20.0  # requests whose bills are as expected, before any bill
_SHARES = np.linspace(0.0, 1.0, 21)  # of the requests, for the means of the cheapest and dearest
_MAX_CELLS = 1 << 20  # of a table that is computed at once
_MANY_EXPERTS = 1_000  # from which on those are left out that no price can choose
_MIN_ELAPSED = 1e-3  # of a period: the first requests must not stand for all
_TINY = 1e-300
_GOLDEN_RATIO = (5**0.5 - 1) / 2  # its multiples fill [0, 1) evenly


@dataclass(frozen=True, eq=False)
class CostForecast:
    """What a request costs at each of `PRICES`, from n calibration prompts; all USD.

    `mean` and `variance` are `(p,)`. `cheapest` and `dearest` `(s, p)` are the means of the
    cheapest and the dearest share of the requests, for growing shares. They are None where no
    single request is known, only their mean.
    """

    n: float
    mean: Float64Array
    variance: Float64Array | None = None
    cheapest: Float64Array | None = None
    dearest: Float64Array | None = None


@dataclass(frozen=True)
class RemainingLimit:
    """What may still be spent: `usd` on about `requests` more.

    `is_known` says that their number is known, not guessed.
    """

    usd: float
    requests: float
    is_known: bool


class PriceMix(NamedTuple):
    """Two prices, in loss per USD: the `share` of the requests has the high one.

    Where many requests are alike, such as in a loop, no single price keeps a limit: all of them are
    dear at it, or none is.
    """

    low: float
    high: float
    share: float

    def at(self, n: int) -> float:
        """Return the price of the request after n others; equal shares of any few in a row."""
        return self.high if n * _GOLDEN_RATIO % 1.0 < self.share else self.low

    @property
    def middle(self) -> float:
        """One price that stands for both."""
        if not self.low:
            return self.share * self.high
        return float(self.low * (self.high / self.low) ** self.share)


def costs_at_prices(
    totals: FloatArray, costs: Float64Array, eligible: BoolArray, prices: Float64Array = PRICES
) -> Float64Array:
    """Return the USD of the expert that each price chooses, `(n, p)`.

    `totals`, `costs` and `eligible` are `(n, k)`. A prompt without an eligible expert costs
    nothing.
    """
    base = np.where(eligible, totals, np.inf)
    usd = np.where(eligible, costs, 0.0)
    if base.shape[1] > _MANY_EXPERTS:
        return np.array([_row_at_prices(*row, prices) for row in zip(base, usd, strict=True)])
    found = np.empty((len(base), len(prices)))
    step = max(1, _MAX_CELLS // (base.shape[1] * len(prices)))
    for start in range(0, len(base), step):
        rows = slice(start, start + step)
        priced = base[rows, None, :] + prices[:, None] * usd[rows, None, :]
        found[rows] = np.take_along_axis(usd[rows], priced.argmin(axis=2), axis=1)
    return found


def _row_at_prices(base: Float64Array, usd: Float64Array, prices: Float64Array) -> Float64Array:
    """Return the USD at each price for one request, `(p,)`, from the experts that can be chosen.

    No price chooses an expert that is neither cheaper nor better than another one, and of many
    experts few are not.
    """
    order = np.argsort(usd, kind="stable")
    lowest = np.minimum.accumulate(base[order])
    kept = order[np.append(np.inf, lowest[:-1]) > lowest]
    if not kept.size:  # no expert is eligible
        return np.zeros(len(prices))
    chosen = (base[kept] + prices[:, None] * usd[kept]).argmin(axis=1)
    costs: Float64Array = usd[kept][chosen]
    return costs


def forecast_costs(costs: Float64Array) -> CostForecast:
    """Return the forecast from the USD of calibration prompts at each price, `(n, p)`, n > 0."""
    return CostForecast(
        n=len(costs),
        mean=costs.mean(axis=0),
        variance=costs.var(axis=0),
        cheapest=_lowest_means(costs),
        dearest=-_lowest_means(-costs),
    )


def _lowest_means(table: Float64Array) -> Float64Array:
    """Return the mean of the lowest share of each column, for all `_SHARES`."""
    ordered = np.sort(table, axis=0)
    sums = np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(ordered, axis=0)])
    counts = np.maximum(_SHARES * len(table), 1.0)
    below = np.minimum(counts.astype(int), len(table) - 1)
    part = (counts - below)[:, None]
    means: Float64Array = (sums[below] + part * ordered[below]) / counts[:, None]
    return means


def remaining_means(
    forecast: CostForecast | None, n: float, costs: Float64Array, left: RemainingLimit
) -> Float64Array:
    """Return the mean USD of the remaining requests at each price, `(p,)`.

    `n` requests were seen, which cost `costs` `(p,)` together; without a forecast n > 0.
    """
    if forecast is None:
        return costs / n
    pooled = (forecast.n * forecast.mean + costs) / (forecast.n + n)
    if forecast.variance is None or not left.is_known or n == 0:
        return pooled
    excess = costs - n * forecast.mean
    noise = forecast.variance * (n + n**2 / forecast.n)
    weight = np.maximum(0.0, 1.0 - noise / np.maximum(excess**2, _TINY))
    opposite = np.clip(forecast.mean - excess / left.requests, *_bounds(forecast, n, left))
    return (1 - weight) * pooled + weight * opposite


def _bounds(
    forecast: CostForecast, n: float, left: RemainingLimit
) -> tuple[Float64Array, Float64Array]:
    """Return between which means the remaining requests are, in whichever order all come."""
    position = left.requests / (left.requests + n) * (len(_SHARES) - 1)
    below = min(int(position), len(_SHARES) - 2)
    part = position - below
    tables = (forecast.cheapest, forecast.dearest)
    low, high = (
        (1 - part) * one[below] + part * one[below + 1] for one in tables if one is not None
    )
    return low, high


def bill_ratio(
    billed: float, expected: float, usual: float, n: float, left: RemainingLimit
) -> float:
    """Return how many times as much as expected the remaining requests will cost.

    `billed` and `expected` are the USD of the last answers, `usual` those of one request. Bills
    that are lower than expected are believed only as far as few requests remain: easy requests may
    have come first.
    """
    known = _BELIEF * max(usual, _TINY)
    ratio = (billed + known) / (expected + known)
    return ratio if ratio > 1 else 1.0 + (ratio - 1.0) * n / (n + left.requests)


def solve_price(means: Float64Array, target: float, prices: Float64Array = PRICES) -> PriceMix:
    """Return the prices, in loss per USD, at which requests cost `target` on average.

    `means` `(p,)` are what a request costs at each price. The highest price if none is high enough.
    """
    falling = np.minimum.accumulate(means)
    if target >= falling[0]:
        return PriceMix(0.0, 0.0, 0.0)
    if target <= falling[-1]:
        return PriceMix(float(prices[-1]), float(prices[-1]), 0.0)
    i = int(np.argmax(falling <= target))
    share = (falling[i - 1] - target) / (falling[i - 1] - falling[i])
    return PriceMix(float(prices[i - 1]), float(prices[i]), float(share))


def remaining_limit(
    limit: float, spending: Spending, requests: int | None, elapsed: float | None
) -> RemainingLimit:
    """Return what may still be spent, and on how many requests.

    Args:
        limit: The USD of the period, or where an average is kept those of one request.
        spending: What was spent so far.
        requests: About how many requests come in all, None if unknown.
        elapsed: The share of the period that is over, None where an average is kept.
    """
    n = spending.requests
    is_known = requests is not None and n < requests
    if requests is not None and is_known:
        left = float(requests - n)
    elif elapsed is None:
        left = ROLLING_REQUESTS
    else:
        share = max(elapsed, _MIN_ELAPSED)
        left = (n + 1) * (1 - share) / share
    left = max(left, MIN_REQUESTS)
    usd = limit if elapsed is not None else limit * (n + left)
    return RemainingLimit(usd - spending.spent, left, is_known)


class Pace:
    """How a budget goes on: what remains, how bills differ from what was expected, and the price.

    Args:
        spending: What was spent so far, with the sums of what requests cost at each price.
        left: What may still be spent.
        forecast: What requests cost at each price, None if only those so far are known.
    """

    def __init__(
        self, spending: Spending, left: RemainingLimit, forecast: CostForecast | None
    ) -> None:
        self.spending, self.left, self._forecast = spending, left, forecast
        n = spending.requests
        usual = spending.spent / n if n else max(left.usd, 0.0) / left.requests
        self.ratio = bill_ratio(spending.billed, spending.expected, usual, n, left)

    def price(self, costs: Float64Array | None = None) -> PriceMix:
        """Return what a dollar counts, in loss.

        `costs` `(p,)` are those of the request to be decided, of which the first one is all that is
        known.
        """
        n, seen = float(self.spending.requests), np.array(self.spending.costs or 0.0)
        if self._forecast is None and not self.spending.costs:
            if costs is None:
                return PriceMix(0.0, 0.0, 0.0)
            n, seen = 1.0, costs
        means = remaining_means(self._forecast, n, seen, self.left) * self.ratio
        return solve_price(means, self.left.usd / self.left.requests)
