"""The price of a dollar, in cases worked by hand and on streams in several orders."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tryage.policies import pacing
from tryage.policies.pacing import (
    PRICES,
    ROLLING_REQUESTS,
    Pace,
    PriceMix,
    RemainingLimit,
    bill_ratio,
    costs_at_prices,
    forecast_costs,
    remaining_limit,
    remaining_means,
    solve_price,
)
from tryage.traffic.spending import Spending

ALL = np.ones((1, 2), bool)


def test_a_dear_expert_is_chosen_until_its_lead_costs_more():
    # .4 of loss for .02 USD more: up to a price of 20 the dear one is worth it
    totals, costs = np.array([[0.5, 0.1]]), np.array([[0.01, 0.03]])
    found = costs_at_prices(totals, costs, ALL, np.array([0.0, 19.9, 20.1]))
    assert found.tolist() == [[0.03, 0.03, 0.01]]


def test_an_expert_that_may_not_answer_costs_nothing_and_is_never_chosen():
    totals, costs = np.array([[0.5, 0.1]]), np.array([[0.01, np.nan]])
    found = costs_at_prices(totals, costs, np.array([[True, False]]), np.array([0.0, 1.0]))
    assert found.tolist() == [[0.01, 0.01]]


def test_many_rows_at_once_are_as_one_by_one():
    rng = np.random.default_rng(0)
    totals, costs = rng.random((900, 30)), rng.random((900, 30))
    eligible = rng.random((900, 30)) < 0.5
    eligible[:, 0] = True
    whole = costs_at_prices(totals, costs, eligible)
    rows = [slice(i, i + 1) for i in range(900)]
    assert (
        whole == np.vstack([costs_at_prices(totals[i], costs[i], eligible[i]) for i in rows])
    ).all()


def test_many_experts_are_priced_as_few_and_need_no_table_of_all_prices(monkeypatch):
    rng = np.random.default_rng(0)
    totals, costs = rng.random((3, 20_000)), rng.random((3, 20_000)) * 10
    eligible = rng.random((3, 20_000)) < 0.5
    eligible[2] = False
    tracemalloc.start()
    found = costs_at_prices(totals, costs, eligible)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    monkeypatch.setattr(pacing, "_MANY_EXPERTS", 20_000)
    assert (found == costs_at_prices(totals, costs, eligible)).all()
    assert peak < 5 * totals.nbytes  # the table has 122 prices


def test_the_price_is_where_a_request_costs_its_share():
    prices, means = np.array([0.0, 1.0, 100.0]), np.array([3.0, 2.0, 1.0])
    assert solve_price(means, 3.0, prices) == (0.0, 0.0, 0.0)
    assert solve_price(means, 2.5, prices) == (0.0, 1.0, 0.5)
    assert solve_price(means, 1.5, prices) == (1.0, 100.0, 0.5)
    assert solve_price(means, 0.5, prices) == (100.0, 100.0, 0.0)
    assert solve_price(means, 1.5, prices).middle == pytest.approx(10.0)


def test_of_few_requests_in_a_row_the_right_share_has_the_high_price():
    mix = PriceMix(1.0, 2.0, 0.3)
    found = [mix.at(n) for n in range(1_000)]
    assert all(2 <= found[i : i + 10].count(2.0) <= 4 for i in range(990))


def test_what_remains_of_known_requests_is_spread_over_them():
    spending = Spending(spent=4.0, requests=20)
    assert remaining_limit(10.0, spending, 100, 0.5) == RemainingLimit(6.0, 80.0, is_known=True)


def test_without_a_number_of_requests_the_clock_tells_it():
    left = remaining_limit(10.0, Spending(spent=4.0, requests=19), None, 0.25)
    assert left == RemainingLimit(6.0, 60.0, is_known=False)


def test_more_requests_than_known_are_foretold_by_the_clock():
    left = remaining_limit(10.0, Spending(requests=99), 50, 0.5)
    assert left == RemainingLimit(10.0, 100.0, is_known=False)


def test_an_average_is_kept_over_the_next_requests():
    left = remaining_limit(0.1, Spending(spent=6.0, requests=50), None, None)
    assert left.requests == ROLLING_REQUESTS
    assert left.usd == pytest.approx(0.1 * (50 + ROLLING_REQUESTS) - 6.0)


def test_bills_twice_as_high_as_expected_are_expected_of_the_next_ones():
    left = RemainingLimit(1.0, 500.0, is_known=True)
    assert bill_ratio(0.0, 0.0, 0.01, 0, left) == 1.0
    assert bill_ratio(20.0, 10.0, 0.01, 1_000, left) == pytest.approx(2.0, abs=0.06)


def test_low_bills_are_believed_only_as_far_as_few_requests_remain():
    first = bill_ratio(5.0, 10.0, 0.01, 100, RemainingLimit(1.0, 900.0, is_known=True))
    last = bill_ratio(5.0, 10.0, 0.01, 990, RemainingLimit(1.0, 10.0, is_known=True))
    assert first == pytest.approx(0.95, abs=0.01)
    assert last == pytest.approx(0.51, abs=0.01)


def make_costs(n=1_000):
    """Return what n requests cost at each price: 1 to 3 USD, or a tenth from a price of 1 on."""
    usd = np.linspace(1.0, 3.0, n)[:, None]
    return np.where(PRICES < 1, usd, usd / 10)


def test_after_easy_requests_the_hard_ones_are_left():
    costs = make_costs()
    forecast = forecast_costs(costs)
    left = RemainingLimit(1.0, 500.0, is_known=True)
    found = remaining_means(forecast, 500, costs[:500].sum(0), left)
    assert found == pytest.approx(costs[500:].mean(0), rel=0.02)


def test_after_requests_in_no_order_the_rest_is_like_all():
    costs = make_costs()
    rng = np.random.default_rng(0)
    seen = costs[rng.permutation(1_000)[:500]].sum(0)
    left = RemainingLimit(1.0, 500.0, is_known=True)
    found = remaining_means(forecast_costs(costs), 500, seen, left)
    assert found == pytest.approx(costs.mean(0), rel=0.02)


def test_traffic_that_became_dearer_is_not_forecast_to_be_cheaper_than_any_order_allows():
    costs = make_costs()
    left = RemainingLimit(1.0, 100.0, is_known=True)
    found = remaining_means(forecast_costs(costs), 900, 900 * costs.max(0), left)
    assert (found >= 0.99 * costs[:100].mean(0)).all()


def spend(costs, order, limit, forecast):
    """Return the USD of a stream of two experts, the second for a tenth of the first."""
    n, spending = len(costs), Spending()
    for row in costs[order]:
        left = remaining_limit(limit, spending, n, 0.5)
        price = Pace(spending, left, forecast).price(row).at(spending.requests)
        usd = float(row[np.searchsorted(PRICES, price)])
        change = Spending(usd, 0.0, 1, tuple(row.tolist()), usd, usd, 1)
        spending = spending.plus(change)
    return spending.spent


@pytest.mark.parametrize("order", ["shuffled", "easy first", "hard first"])
def test_a_purse_is_used_up_and_kept_in_each_order(order):
    rng = np.random.default_rng(0)
    n = 600
    usd, gain = rng.lognormal(0.0, 1.0, (2, n))
    totals = np.stack([np.zeros(n), gain], axis=1)  # the cheap expert loses `gain`
    costs = costs_at_prices(totals, np.stack([usd, usd / 10], axis=1), np.ones((n, 2), bool))
    orders = {"shuffled": rng.permutation(n), "easy first": usd.argsort()}
    rows = orders.get(order, usd.argsort()[::-1])
    calibration = forecast_costs(costs[rng.permutation(n)[:300]])
    limit = 0.5 * usd.sum()
    assert spend(costs, rows, limit, calibration) == pytest.approx(limit, rel=0.03)
