"""Dollars and a tolerance in any pool: the order is exactly that of the equation, in any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.costs import assumed_costs, expected_costs
from tryage.core.decision import score_batch
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.core.request_batch import ConversationState, RequestBatch

UNKNOWN_LATENCY = 30


def column(rng, n, unit=1.0):
    values = rng.integers(0, 5, n) * unit
    return np.where(rng.random(n) < 0.2, np.nan, values)


def library(rng, n, price_unit):
    return Library.from_columns(
        [f"m{i}" for i in range(n)],
        input_price=column(rng, n, price_unit),
        output_price=column(rng, n, price_unit),
        cached_input_price=column(rng, n, price_unit / 10),
        output_tokens=column(rng, n, 100.0),
        latency=column(rng, n),
    )


def request_of(rng, n, batch):
    tokens = rng.integers(0, 3, batch) * 1_000.0
    serving = ConversationState(rng.integers(-1, n, batch), tokens * rng.random(batch))
    forecast = np.where(rng.random((batch, n)) < 0.5, np.nan, rng.integers(0, 4, (batch, n)))
    lengths = forecast * 300 if rng.random() < 0.5 else None
    costs = forecast / 100 if rng.random() < 0.5 else None
    return RequestBatch(tokens, lengths, serving, costs)


def dollar_terms(experts, request, preferences):
    """Compute the terms over whole columns in double precision."""
    known = expected_costs(experts, request)
    usd = np.where(np.isnan(known), assumed_costs(request)[:, None], known)
    seconds = experts.column("latency")
    seconds = np.where(np.isnan(seconds), UNKNOWN_LATENCY, seconds)
    worth = preferences.answer_value
    return usd * (1 / worth), seconds * (preferences.latency_value / worth)


@settings(deadline=None, max_examples=120)
@given(
    seed=st.integers(0, 2**32),
    n=st.sampled_from([1, 2, 7, 150, 400]),
    kind=st.sampled_from([np.float32, np.float64]),
    unit=st.sampled_from([1.0, 1e-7, -5.0, -1e6]),
    price_unit=st.sampled_from([1e-9, 1.0, 1e3, 1e18, 1e30]),
    answer_value=st.sampled_from([1e-9, 0.05, 1.0, 3e3]),
)
def test_the_order_is_that_of_the_equation_to_the_last_bit(
    seed, n, kind, unit, price_unit, answer_value
):
    rng = np.random.default_rng(seed)
    experts, request = library(rng, n, price_unit), request_of(rng, n, 2)
    losses = (rng.integers(0, 4, (2, n)) / 4 * unit).astype(kind)
    losses[rng.random(losses.shape) < 0.1] = np.nan
    preferences = Preferences(answer_value=answer_value, latency_value=0.01)
    prediction = Prediction(losses, np.zeros_like(losses))
    scored = score_batch(experts, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    dollars, waiting = dollar_terms(experts, request, preferences)
    total = losses.astype(np.float64) + dollars + waiting
    for i in range(2):
        rows = np.flatnonzero(np.isfinite(losses[i]))
        expected = rows[np.lexsort((losses[i][rows], total[i][rows]))]
        for k in (1, 3, n):
            np.testing.assert_array_equal(scored.ranking(i).top(k), expected[:k])


@settings(deadline=None, max_examples=120)
@given(
    seed=st.integers(0, 2**32),
    n=st.sampled_from([1, 2, 7, 150, 400]),
    kind=st.sampled_from([np.float32, np.float64]),
    tolerance=st.sampled_from([0.0, 1e-9, 0.01, 0.1, 1.0]),
    weight=st.sampled_from([0.0, 0.3]),
)
def test_the_cheapest_within_the_tolerance_come_first_then_the_others(
    seed, n, kind, tolerance, weight
):
    rng = np.random.default_rng(seed)
    experts, request = library(rng, n, 1.0), request_of(rng, n, 1)
    losses = (rng.integers(0, 30, (1, n)) / 100).astype(kind)
    prediction = Prediction(losses, np.zeros_like(losses))
    preferences = Preferences({"latency": weight} if weight else None, tolerance=tolerance)
    scored = score_batch(experts, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    base = compute_routing_loss(
        losses, experts, preferences.weights, DEFAULT_CONSTRAINTS, request
    ).total[0]
    known = expected_costs(experts, request)[0]
    usd = np.where(np.isnan(known), assumed_costs(request), known)
    within = base <= base.min() + tolerance
    everyone = np.lexsort((losses[0], base, np.where(within, usd, 0), ~within))
    for k in (1, 3, n):
        np.testing.assert_array_equal(scored.ranking(0).top(k), everyone[:k])
    totals = [one.total for one in scored.ranking(0)]
    assert totals == sorted(totals)


@pytest.mark.parametrize("tolerance", [0.0, 1e-7, 0.01, 1.0])
@pytest.mark.parametrize("worth", [0.05, 30.0])
@pytest.mark.parametrize("unit", [1.0, -1.0])
def test_of_many_experts_the_cheapest_within_the_tolerance_come_first(tolerance, worth, unit):
    rng = np.random.default_rng(9)
    n = 3_000
    experts, request = library(rng, n, 1.0), RequestBatch(np.array([700.0]))
    losses = (unit * rng.random((1, n))).astype(np.float32)
    losses[rng.random(losses.shape) < 0.1] = np.nan
    preferences = Preferences({"size": 0.1}, answer_value=worth, tolerance=tolerance)
    prediction = Prediction(losses, losses)
    scored = score_batch(experts, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    total, usd = scored.routing_loss.total[0], scored.counted_costs(0, np.arange(n))
    within = total <= np.nanmin(total) + tolerance
    order = np.lexsort((losses[0], total, np.where(within, usd, 0), ~within))
    for k in (1, 5, 200):
        np.testing.assert_array_equal(scored.ranking(0).top(k), order[:k])


def test_the_order_holds_over_several_blocks_of_a_large_library():
    rng = np.random.default_rng(4)
    n = 140_001
    experts = library(rng, n, 3.0)
    losses = rng.random((1, n), dtype=np.float32).round(3)
    request = RequestBatch(np.array([700.0]))
    preferences = Preferences(answer_value=0.3, latency_value=0.01)
    prediction = Prediction(losses, losses)
    scored = score_batch(experts, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    dollars, waiting = dollar_terms(experts, request, preferences)
    total = (losses.astype(np.float64) + dollars + waiting)[0]
    expected = np.lexsort((losses[0], total))
    np.testing.assert_array_equal(scored.ranking(0).top(1), expected[:1])
    np.testing.assert_array_equal(scored.ranking(0).top(100), expected[:100])


def test_large_negative_losses_that_dollars_compensate_lose_none_of_the_best():
    rng = np.random.default_rng(7)
    n = 5_000
    losses = -1_000 * rng.random((1, n)).astype(np.float32)
    price = -losses[0].astype(np.float64) * 1e6 + rng.random(n)  # USD that make up for the loss
    names = [f"m{i}" for i in range(n)]
    experts = Library.from_columns(names, input_price=price, output_price=0 * price)
    request = RequestBatch(np.array([1.0]))
    preferences = Preferences(answer_value=1)
    prediction = Prediction(losses, losses)
    scored = score_batch(experts, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    best = np.lexsort((losses[0], scored.routing_loss.total[0]))
    for k in (1, 10, 1_000):
        np.testing.assert_array_equal(scored.ranking(0).top(k), best[:k])


def test_rounding_puts_no_expert_outside_the_tolerance():
    rng = np.random.default_rng(8)
    n, weights = 5_000, {"latency": 0.7, "size": 0.3}
    names = [f"m{i}" for i in range(n)]
    columns = {"latency": 30 * rng.random(n), "parameters": 10 ** rng.uniform(6, 12, n)}
    losses, request = rng.random((1, n)).astype(np.float32), RequestBatch(np.array([1.0]))
    known = losses, Library.from_columns(names, **columns), weights, DEFAULT_CONSTRAINTS, request
    (base,) = compute_routing_loss(*known).total
    order = np.argsort(base)
    price = np.empty(n)
    price[order] = np.arange(n, 0, -1)  # the worst within the tolerance is the cheapest
    experts = Library.from_columns(names, **columns, input_price=price, output_price=price)
    for rank in range(100, 1_000, 7):
        tolerance = float(base[order[rank]] - base[order[0]])
        within = np.count_nonzero(base <= base[order[0]] + tolerance)
        scored = score_batch(
            experts,
            Preferences(weights, tolerance=tolerance),
            DEFAULT_CONSTRAINTS,
            Prediction(losses, losses),
            request,
        )
        assert scored.ranking(0)[0].name == names[order[within - 1]]


def test_many_experts_of_equal_loss_are_ordered_by_their_cents():
    n = 200_000
    price = np.arange(n, 0, -1) * 1e-6
    experts = Library.from_columns(
        [f"m{i}" for i in range(n)], input_price=price, output_price=price
    )
    losses = np.full((1, n), 0.5, np.float32)
    for preferences in (Preferences(answer_value=1), Preferences(tolerance=0)):
        scored = score_batch(
            experts,
            preferences,
            DEFAULT_CONSTRAINTS,
            Prediction(losses, losses),
            RequestBatch(np.array([10.0])),
        )
        assert scored.ranking(0).top(3).tolist() == [n - 1, n - 2, n - 3]


@pytest.mark.parametrize("answer_value", [1e-9, 1e9])
def test_extreme_values_of_an_answer_stay_finite(answer_value):
    rng = np.random.default_rng(0)
    experts, losses = library(rng, 9, 1e3), rng.random((1, 9)).astype(np.float32)
    found = compute_routing_loss(
        losses, experts, {}, DEFAULT_CONSTRAINTS, RequestBatch(np.array([1e7])),
        answer_value=answer_value,
    )  # fmt: skip
    assert np.isfinite(found.total).all()
