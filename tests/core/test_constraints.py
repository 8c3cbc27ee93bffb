"""The built-in constraints: which expert gets 0 and which gets 1, and what a request costs."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.constraints import (
    DEFAULT_CONSTRAINTS,
    RequestBatch,
    active_weights,
    cost,
    expected_cost,
    minmax_scale,
    popularity,
    readability,
    recency,
    security,
    size,
)
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss
from tryage.errors import InputError

REQUEST = RequestBatch(np.array([1_000.0, 100.0]))


def test_size_is_scaled_on_a_log_axis():
    library = Library(
        [Expert(n, parameters=p) for n, p in zip("abc", (1e7, 1e8, 1e9), strict=True)]
    )
    np.testing.assert_allclose(size(library), [0, 0.5, 1])


@pytest.mark.parametrize(
    ("constraint", "field", "better", "worse"),
    [
        (recency, "released", datetime.date(2025, 1, 1), datetime.date(2020, 1, 1)),
        (security, "security", 1.0, 0.5),
        (readability, "readability", 80.0, 30.0),
        (popularity, "downloads", 1e6, 10.0),
        (size, "parameters", 1e9, 7e9),
        (DEFAULT_CONSTRAINTS["latency"], "latency", 0.5, 5.0),
        (DEFAULT_CONSTRAINTS["verbosity"], "output_tokens", 50.0, 500.0),
    ],
)
def test_the_better_expert_gets_zero_and_the_worse_gets_one(constraint, field, better, worse):
    library = Library([Expert("good", **{field: better}), Expert("bad", **{field: worse})])
    np.testing.assert_allclose(constraint(library, REQUEST), [0, 1], atol=1e-12)


def test_an_unknown_price_is_never_free():
    library = Library(
        [Expert("free", input_price=0, output_price=0), Expert("half", input_price=0)]
    )
    np.testing.assert_array_equal(cost(library, REQUEST), [[0, np.nan]] * 2)
    zeros = np.zeros((2, 2))
    found = compute_routing_loss(zeros, library, {"cost": 1.0}, DEFAULT_CONSTRAINTS, REQUEST)
    assert found.total[0].tolist() == [0, 1]


def test_expected_cost_is_tokens_times_prices():
    library = Library([Expert("a", input_price=2.0, output_price=10.0, output_tokens=300)])
    usd = expected_cost(library, RequestBatch(np.array([1_000.0])))
    np.testing.assert_allclose(usd, [[(1_000 * 2 + 300 * 10) / 1e6]])


def test_a_forecast_length_replaces_the_typical_one():
    library = Library([Expert(n, input_price=0, output_price=1.0, output_tokens=7) for n in "ab"])
    usd = expected_cost(library, RequestBatch(np.array([10.0]), np.array([[100.0, np.nan]])))
    np.testing.assert_allclose(usd, [[100 / 1e6, 7 / 1e6]])


def test_an_expert_without_a_typical_answer_is_assumed_to_write_500_tokens():
    library = Library([Expert("a", input_price=0, output_price=2.0)])
    np.testing.assert_allclose(expected_cost(library, REQUEST), [[0.001], [0.001]])


def test_cost_is_proportional_to_dollars_and_one_on_the_most_expensive_reference_request():
    library = Library(
        [
            Expert("cheap", input_price=1.0, output_price=1.0),
            Expert("dear", input_price=10.0, output_price=10.0),
        ]
    )
    scaled = cost(library, RequestBatch(np.array([1_000.0, 250.0])))
    np.testing.assert_allclose(scaled, [[0.1, 1.0], [0.05, 0.5]])


def test_cost_is_at_most_one_for_a_request_beyond_the_reference():
    library = Library([Expert("a", input_price=10.0, output_price=10.0)])
    assert cost(library, RequestBatch(np.array([1e6]))).tolist() == [[1.0]]


@given(
    st.lists(st.one_of(st.just(np.nan), st.floats(-1e300, 1e300)), min_size=1, max_size=20).map(
        np.array
    )
)
def test_scaled_columns_lie_in_zero_to_one_and_keep_order_and_gaps(column):
    with np.errstate(over="ignore"):
        scaled = minmax_scale(column / 1e10)
    known = ~np.isnan(column)
    assert (np.isnan(scaled) == ~known).all()
    assert ((scaled[known] >= 0) & (scaled[known] <= 1)).all()
    assert (np.diff(scaled[known][np.argsort(column[known])]) >= 0).all()


def test_a_constant_column_is_zero():
    assert minmax_scale(np.array([3.0, 3.0])).tolist() == [0, 0]


def test_the_built_in_constraints_pickle_by_name():
    for constraint in DEFAULT_CONSTRAINTS.values():
        assert pickle.loads(pickle.dumps(constraint)) is constraint  # noqa: S301 - our own bytes


def test_weights_of_zero_are_not_active():
    assert active_weights({"size": 0, "cost": 2}, DEFAULT_CONSTRAINTS) == {"cost": 2.0}
    with pytest.raises(InputError, match="'sise' is not a constraint; expected one of cost,"):
        active_weights({"sise": 1.0}, DEFAULT_CONSTRAINTS)
