import datetime
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.constraints import (
    DEFAULT_CONSTRAINTS,
    RequestBatch,
    StaticConstraint,
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
from tryage.core.objective import compute_routing_loss, needs_request
from tryage.errors import InputError
from tryage.testing import demo_library

REQUEST = RequestBatch(np.array([1_000.0, 100.0]))
# Switching compares with the expert that serves a conversation: tests/core/test_switching.py.
OF_AN_EXPERT = sorted(set(DEFAULT_CONSTRAINTS) - {"switching"})


def terms(library, weights, constraints=DEFAULT_CONSTRAINTS, request=REQUEST):
    zeros = np.zeros((request.prompt_tokens.size, len(library)))
    return compute_routing_loss(zeros, library, weights, constraints, request)


def test_total_is_the_predicted_loss_plus_every_weighted_constraint():
    library = Library([Expert("small", parameters=1e9), Expert("large", parameters=1e11)])
    found = compute_routing_loss(
        np.array([[0.5, 0.2]]),
        library,
        {"size": 0.4},
        DEFAULT_CONSTRAINTS,
        RequestBatch(np.ones(1)),
    )
    np.testing.assert_allclose(found.total, [[0.5 + 0.4 * 0, 0.2 + 0.4 * 1]])
    np.testing.assert_allclose(found.weighted["size"], [0, 0.4])


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


@pytest.mark.parametrize("name", OF_AN_EXPERT)
def test_unknown_counts_as_the_worst_and_is_named(name):
    found = terms(demo_library(), {name: 2.0})
    newcomer = demo_library().index("newcomer")
    assert (found.weighted[name][..., newcomer] == 2.0).all()
    assert found.unknown[name][..., newcomer].all()


@pytest.mark.parametrize("name", OF_AN_EXPERT)
def test_a_library_where_nothing_is_known_is_scored_without_warnings(name):
    found = terms(Library(["a", "b"]), {name: 1.0})
    np.testing.assert_array_equal(found.total, np.ones((2, 2)))


def test_an_unknown_price_is_never_free():
    library = Library(
        [Expert("free", input_price=0, output_price=0), Expert("half", input_price=0)]
    )
    np.testing.assert_array_equal(cost(library, REQUEST), [[0, np.nan]] * 2)
    assert terms(library, {"cost": 1.0}).total[0].tolist() == [0, 1]


def test_expected_cost_is_tokens_times_prices():
    library = Library([Expert("a", input_price=2.0, output_price=10.0, output_tokens=300)])
    usd = expected_cost(library, RequestBatch(np.array([1_000.0])))
    np.testing.assert_allclose(usd, [[(1_000 * 2 + 300 * 10) / 1e6]])


def test_a_forecast_of_the_answer_replaces_the_typical_length_where_there_is_one():
    library = Library([Expert(n, input_price=0, output_price=1.0, output_tokens=7) for n in "ab"])
    usd = expected_cost(library, RequestBatch(np.array([10.0]), np.array([[100.0, np.nan]])))
    np.testing.assert_allclose(usd, [[100 / 1e6, 7 / 1e6]])


def test_an_expert_without_a_typical_answer_is_taken_to_write_500_tokens():
    library = Library([Expert("a", input_price=0, output_price=2.0)])
    np.testing.assert_allclose(expected_cost(library, REQUEST), [[0.001], [0.001]])


def test_cost_is_proportional_to_dollars_and_one_on_the_dearest_reference_request():
    library = Library(
        [
            Expert("cheap", input_price=1.0, output_price=1.0),
            Expert("dear", input_price=10.0, output_price=10.0),
        ]
    )
    scaled = cost(library, RequestBatch(np.array([1_000.0, 250.0])))
    np.testing.assert_allclose(scaled, [[0.1, 1.0], [0.05, 0.5]])


def test_cost_stops_at_one_for_a_request_beyond_the_reference():
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


def test_a_constant_column_prefers_nobody():
    assert minmax_scale(np.array([3.0, 3.0])).tolist() == [0, 0]


def test_ones_own_callable_is_a_constraint_under_its_own_name():
    def green(library, request):
        return np.linspace(0, 1, len(library)) * np.ones((request.prompt_tokens.size, 1))

    found = terms(Library(["a", "b", "c"]), {"green": 2.0}, {"green": green})
    np.testing.assert_allclose(found.total, [[0, 1, 2]] * 2)


def test_gaps_of_ones_own_constraint_are_pessimistic_too():
    own = {"own": lambda _library, _request: np.array([0.0, np.nan])}
    found = terms(Library(["a", "b"]), {"own": 1.0}, own)
    assert found.total.tolist() == [[0, 1]] * 2
    assert found.unknown["own"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (np.zeros(3), r"shape \(3,\); expected \(2,\) or \(2, 2\)"),
        (np.zeros((1, 2)), r"shape \(1, 2\)"),
        (np.array([0.0, 1.5]), r"returned 1.5 for 'b'"),
        (np.array([-0.1, 0.0]), r"returned -0.1 for 'a'"),
        (np.array([[0, 0], [0, np.inf]]), r"returned inf for 'b'"),
        (["x", "y"], r"expected numbers"),
        (None, r"shape \(\)"),
    ],
)
def test_a_constraint_that_returns_nonsense_is_refused_by_name(returned, told):
    with pytest.raises(InputError, match=told) as caught:
        terms(Library(["a", "b"]), {"mine": 1.0}, {"mine": lambda *_: returned})
    assert "mine" in str(caught.value)


def test_a_weight_that_names_no_constraint_is_refused_with_near_names():
    with pytest.raises(InputError, match=r"'sizes'.*Did you mean size"):
        terms(demo_library(), {"sizes": 1.0})


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_must_be_finite_and_not_negative(weight):
    with pytest.raises(InputError, match="size"):
        terms(demo_library(), {"size": weight})


def test_predicted_losses_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match=r"\(1, 3\); expected \(batch, 5\)"):
        compute_routing_loss(np.zeros((1, 3)), demo_library(), {}, DEFAULT_CONSTRAINTS, REQUEST)


def test_a_weight_of_zero_costs_nothing_and_does_not_call_the_constraint():
    def explode(_library, _request):
        raise AssertionError

    assert terms(Library(["a"]), {"boom": 0.0}, {"boom": explode}).weighted == {}


def test_a_per_library_constraint_is_computed_once_per_library_and_checked():
    calls = []

    def shade(library):
        calls.append(library)
        return np.zeros(len(library))

    constraint, library = StaticConstraint(shade), Library(["a", "b"])
    for _ in range(3):
        terms(library, {"shade": 1.0}, {"shade": constraint})
    terms(Library(["a"]), {"shade": 1.0}, {"shade": constraint})
    assert [len(seen) for seen in calls] == [2, 1]
    with pytest.raises(InputError, match="shape"):
        terms(library, {"bad": 1.0}, {"bad": StaticConstraint(lambda _: np.zeros(7))})


def test_only_weights_that_look_at_the_prompt_need_its_length():
    assert not needs_request({"size": 1.0, "cost": 0.0}, DEFAULT_CONSTRAINTS)
    assert needs_request({"cost": 0.1}, DEFAULT_CONSTRAINTS)


def test_the_caller_cannot_change_a_remembered_column():
    found = terms(demo_library(), {"size": 1.0})
    with pytest.raises(ValueError, match="read-only"):
        found.unknown["size"][0] = True


def test_the_built_in_constraints_pickle_by_name():
    for constraint in DEFAULT_CONSTRAINTS.values():
        assert pickle.loads(pickle.dumps(constraint)) is constraint  # noqa: S301 - our own bytes
