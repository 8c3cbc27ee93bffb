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
    active_weights,
    cost,
    latency,
    linear_scale,
    popularity,
    readability,
    recency,
    security,
    size,
    verbosity,
)
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss
from tryage.core.request_batch import RequestBatch
from tryage.errors import InputError

REQUEST = RequestBatch(np.array([1_000.0, 100.0]))


@pytest.mark.parametrize(
    ("constraint", "field", "values"),
    [
        (size, "parameters", {1e6: 0, 1e9: 1 / 2, 1e12: 1, 10: 0, 1e15: 1}),
        (
            recency,
            "released",
            {
                datetime.date(2030, 1, 1): 0,
                datetime.date(2024, 1, 1): 2192 / 4383,
                datetime.date(2018, 1, 1): 1,
                datetime.date(2000, 1, 1): 1,
            },
        ),
        (security, "security", {1.0: 0, 0.75: 0.25, 0.0: 1}),
        (readability, "readability", {100.0: 0, 60.0: 0.4, 120.0: 0, -5.0: 1}),
        (popularity, "downloads", {1e9: 0, 0: 1, 1e12: 0}),
        (latency, "latency", {0: 0, 3.0: 0.1, 30.0: 1, 300.0: 1}),
        (verbosity, "output_tokens", {0: 0, 500: 1 / 8, 4_000: 1, 90_000: 1}),
    ],
)
def test_each_constraint_has_a_fixed_scale(constraint, field, values):
    library = Library([Expert(f"m{i}", **{field: value}) for i, value in enumerate(values)])
    np.testing.assert_allclose(constraint(library, REQUEST), list(values.values()), atol=1e-12)


def test_an_unknown_price_is_never_free():
    library = Library(
        [Expert("free", input_price=0, output_price=0), Expert("half", input_price=0)]
    )
    np.testing.assert_array_equal(cost(library, REQUEST), [[0, np.nan]] * 2)
    zeros = np.zeros((2, 2))
    found = compute_routing_loss(zeros, library, {"cost": 1.0}, DEFAULT_CONSTRAINTS, REQUEST)
    assert found.total[0].tolist() == [0, 1]


def test_cost_is_proportional_to_dollars_and_one_at_five_cents():
    library = Library(
        [
            Expert("cheap", input_price=1.0, output_price=1.0),
            Expert("dear", input_price=10.0, output_price=80.0),
        ]
    )
    scaled = cost(library, RequestBatch(np.array([1_000.0, 0.0])))
    np.testing.assert_allclose(scaled, [[0.0015 / 0.05, 1.0], [0.0005 / 0.05, 0.8]])


def test_cost_is_at_most_one():
    library = Library([Expert("a", input_price=10.0, output_price=10.0)])
    assert cost(library, RequestBatch(np.array([1e6]))).tolist() == [[1.0]]


@given(
    st.lists(st.one_of(st.just(np.nan), st.floats(-1e300, 1e300)), min_size=1, max_size=20).map(
        np.array
    )
)
def test_scaled_columns_lie_in_zero_to_one_and_keep_order_and_gaps(column):
    scaled = linear_scale(column, -3.0, 5e10)
    known = ~np.isnan(column)
    assert (np.isnan(scaled) == ~known).all()
    assert ((scaled[known] >= 0) & (scaled[known] <= 1)).all()
    assert (np.diff(scaled[known][np.argsort(column[known])]) >= 0).all()


def test_the_built_in_constraints_pickle_by_name():
    for constraint in DEFAULT_CONSTRAINTS.values():
        assert pickle.loads(pickle.dumps(constraint)) is constraint  # noqa: S301 - our own bytes


def test_weights_of_zero_are_not_active():
    assert active_weights({"size": 0, "cost": 2}, DEFAULT_CONSTRAINTS) == {"cost": 2.0}
    with pytest.raises(InputError, match="'sise' is not a constraint; expected one of cost,"):
        active_weights({"sise": 1.0}, DEFAULT_CONSTRAINTS)
