"""The order of experts is exact: approximate totals find candidates, exact totals decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.core.cache import get_or_compute
from tryage.core.constraints import DEFAULT_CONSTRAINTS, RequestBatch
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss
from tryage.core.preferences import Preferences
from tryage.core.ranking import Ranking
from tryage.router import Router
from tryage.testing import FixedPerception

WEIGHTED = ("cost", "size", "latency", "recency", "popularity", "by_prompt", "by_expert")


def unknown_at_random(rng, values, share=0.2):
    return np.where(rng.random(len(values)) < share, np.nan, values)


def library(rng, n, levels=4):
    """Return a library with few distinct values, so that many totals tie; some are unknown."""

    def column():
        return unknown_at_random(rng, rng.integers(1, levels + 1, n).astype(float))

    return Library.from_columns(
        [f"m{i}" for i in range(n)],
        parameters=column() * 1e9,
        released=column() + 738_000,
        latency=column(),
        downloads=column(),
        input_price=column(),
        output_price=column(),
        output_tokens=column() * 100,
    )


def constraints(rng, batch, n):
    by_prompt = rng.integers(0, 3, (batch, n)) / 2
    by_expert = unknown_at_random(rng, rng.integers(0, 3, n) / 2)
    return {
        **DEFAULT_CONSTRAINTS,
        "by_prompt": lambda *_: by_prompt,
        "by_expert": lambda *_: by_expert,
    }


def reference_total(losses, library, weights, constraints, request):
    """Compute the equation over whole columns in double precision."""
    total = np.array(losses, dtype=np.float64)
    for name, weight in weights.items():
        values = np.asarray(constraints[name](library, request))
        total += weight * np.where(np.isnan(values), 1.0, values)
    return total


def reference_order(total, losses, eligible):
    rows = np.flatnonzero(eligible)
    return rows[np.lexsort((losses[rows], total[rows]))]


def assert_exact(rng, losses, weights, experts, tokens=None):
    batch, n = losses.shape
    known = constraints(rng, batch, n)
    request = RequestBatch(rng.integers(0, 2_000, batch).astype(float), tokens)
    found = compute_routing_loss(losses, experts, weights, known, request)
    exact = reference_total(losses, experts, weights, known, request)
    np.testing.assert_array_equal(found.total, exact)
    eligible = np.isfinite(losses) & (rng.random(n) < 0.8)
    for i in range(batch):
        row = (experts, losses[i], losses[i], found.row(i), eligible[i])
        best = reference_order(exact[i], losses[i], eligible[i])
        for k in (1, 3, n):
            np.testing.assert_array_equal(Ranking(*row).top(k), best[:k])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 60),
    kind=st.sampled_from([np.float32, np.float64]),
    unit=st.sampled_from([1.0, 1e-7, -1e6, 1e30, 1e38]),
    weights=st.dictionaries(
        st.sampled_from(WEIGHTED),
        st.sampled_from([1e-9, 0.1, 0.3, 1 / 3, 1.0, 7.0, 1e8, 1e29, 1e300]),
        max_size=6,
    ),
    forecast=st.booleans(),
)
def test_the_order_is_that_of_the_equation_to_the_last_bit(seed, n, kind, unit, weights, forecast):
    rng = np.random.default_rng(seed)
    losses = (rng.integers(0, 4, (3, n)) / 4 * unit).astype(kind)
    losses[rng.random(losses.shape) < 0.1] = np.nan
    tokens = rng.random((3, n)) * 500 if forecast else None
    assert_exact(rng, losses, weights, library(rng, n), tokens)


def test_the_order_is_that_of_the_equation_over_several_blocks():
    rng = np.random.default_rng(1)
    losses = rng.random((2, 70_001), dtype=np.float32).round(3)
    assert_exact(
        rng, losses, {"cost": 0.3, "size": 0.2, "by_prompt": 0.1}, library(rng, 70_001, levels=90)
    )


@pytest.mark.parametrize("weights", [{"latency": 1e-6}, {"latency": 1e-6, "cost": 2e-6}])
def test_rounding_loses_none_of_the_best_experts(weights):
    rng = np.random.default_rng(5)
    n = 5_000
    names = [f"m{i}" for i in range(n)]
    price = rng.random(n)
    experts = Library.from_columns(
        names, latency=rng.random(n), input_price=price, output_price=price
    )
    losses = (0.5 + 1e-6 * rng.random((1, n))).astype(np.float32)
    request = RequestBatch(np.array([1_000.0]))
    found = compute_routing_loss(losses, experts, weights, DEFAULT_CONSTRAINTS, request)
    everyone = np.ones(n, bool)
    best = reference_order(found.total[0], losses[0], everyone)
    for k in range(1, n, 97):
        fresh = Ranking(experts, losses[0], losses[0], found.row(0), everyone)
        np.testing.assert_array_equal(fresh.top(k), best[:k])


@pytest.mark.parametrize("unit", [1e-300, 1e-40, 1e-25, 1e25, 1e40, 1e300])
def test_prices_beyond_single_precision_count_exactly(unit):
    rng = np.random.default_rng(6)
    price = rng.random(200) * unit
    names = [f"m{i}" for i in range(200)]
    experts = Library.from_columns(names, input_price=price, output_price=price)
    losses = np.full((1, 200), 0.5, np.float32)
    assert_exact(rng, losses, {"cost": 0.3}, experts)


@pytest.mark.parametrize("gap", [1e-9, 1e-15])
def test_a_difference_below_single_precision_decides(gap):
    price = 80 * np.array([1.0, 1.0 - gap, 1.0])
    experts = Library.from_columns(["a", "b", "c"], input_price=price, output_price=price)
    router = Router(FixedPerception(dict.fromkeys("abc", 0.5)), experts)
    decision = router.route("x", Preferences({"cost": 1.0}))
    assert [ranked.name for ranked in decision.ranking] == ["b", "a", "c"]


def test_the_terms_of_one_expert_are_those_of_the_whole_columns():
    rng = np.random.default_rng(2)
    experts, losses = library(rng, 9), np.zeros((2, 9), np.float32)
    weights = dict.fromkeys(WEIGHTED, 0.5)
    found = compute_routing_loss(
        losses, experts, weights, constraints(rng, 2, 9), RequestBatch(np.array([9.0, 900.0]))
    )
    one = found.row(1)
    for i in range(9):
        here = slice(i, i + 1)
        for name, whole in found.weighted.items():
            assert (
                one.weighted_terms(here)[name].item() == (whole if whole.ndim == 1 else whole[1])[i]
            )
        for name, whole in found.unknown.items():
            assert (
                one.unknown_masks(here)[name].item() == (whole if whole.ndim == 1 else whole[1])[i]
            )


def test_many_different_weights_and_requirements_do_not_fill_the_memory():
    rng = np.random.default_rng(3)
    experts = library(rng, 5)
    router = Router(
        FixedPerception(dict.fromkeys(experts.names, 0.0)),
        experts,
        default="m0",
        default_exempt=True,
    )
    for i in range(1, 60):
        router.route("x", Preferences({"size": i / 60}, max_parameters=i * 1e8))
    assert 0 < len(get_or_compute(experts, "recent", dict)) <= 16


def test_cached_sums_are_those_of_the_requested_constraints():
    rng = np.random.default_rng(4)
    experts, losses, request = (
        library(rng, 2_000),  # of few experts there are no approximate totals
        np.zeros((1, 2_000), np.float32),
        RequestBatch(np.ones(1)),
    )
    for weights in ({"size": 0.5}, {"latency": 0.5}, {"size": 0.25}, {"size": 0.5, "latency": 0.5}):
        found = compute_routing_loss(losses, experts, weights, DEFAULT_CONSTRAINTS, request)
        near = found.approximate_total - found.total
        assert math.isclose(np.abs(near).max(), 0, abs_tol=found.rounding_bound(1.0))
