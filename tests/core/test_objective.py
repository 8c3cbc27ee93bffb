"""The routing loss: predicted loss plus weighted constraints, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.constraints import DEFAULT_CONSTRAINTS, RequestBatch, StaticConstraint
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss, needs_request
from tryage.errors import InputError
from tryage.testing import demo_library

REQUEST = RequestBatch(np.array([1_000.0, 100.0]))
# Without switching, which compares with the expert that serves a conversation.
EXPERT_CONSTRAINTS = sorted(set(DEFAULT_CONSTRAINTS) - {"switching"})


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
    np.testing.assert_allclose(found.total, [[0.5 + 0.4 * 3 / 6, 0.2 + 0.4 * 5 / 6]])
    np.testing.assert_allclose(found.weighted["size"], [0.2, 1 / 3])


@pytest.mark.parametrize("name", EXPERT_CONSTRAINTS)
def test_unknown_counts_as_the_worst_and_is_named(name):
    found = terms(demo_library(), {name: 2.0})
    newcomer = demo_library().index("newcomer")
    assert (found.weighted[name][..., newcomer] == 2.0).all()
    assert found.unknown[name][..., newcomer].all()


@pytest.mark.parametrize("name", EXPERT_CONSTRAINTS)
def test_a_library_without_any_facts_is_scored_without_warnings(name):
    found = terms(Library(["a", "b"]), {name: 1.0})
    np.testing.assert_array_equal(found.total, np.ones((2, 2)))


def test_any_callable_can_be_a_constraint_under_its_name():
    def green(library, request):
        return np.linspace(0, 1, len(library)) * np.ones((request.prompt_tokens.size, 1))

    found = terms(Library(["a", "b", "c"]), {"green": 2.0}, {"green": green})
    np.testing.assert_allclose(found.total, [[0, 1, 2]] * 2)


def test_nan_of_a_custom_constraint_counts_as_the_worst():
    custom = {"own": lambda _library, _request: np.array([0.0, np.nan])}
    found = terms(Library(["a", "b"]), {"own": 1.0}, custom)
    assert found.total.tolist() == [[0, 1]] * 2
    assert found.unknown["own"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("returned", "message"),
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
def test_a_constraint_that_returns_wrong_values_is_refused_by_name(returned, message):
    with pytest.raises(InputError, match=message) as caught:
        terms(Library(["a", "b"]), {"mine": 1.0}, {"mine": lambda *_: returned})
    assert "mine" in str(caught.value)


def test_a_weight_that_names_no_constraint_is_refused_with_similar_names():
    with pytest.raises(InputError, match=r"'sizes'.*Did you mean size"):
        terms(demo_library(), {"sizes": 1.0})


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_must_be_finite_and_not_negative(weight):
    with pytest.raises(InputError, match="size"):
        terms(demo_library(), {"size": weight})


def test_predicted_losses_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match=r"\(1, 3\); expected \(batch, 5\)"):
        compute_routing_loss(np.zeros((1, 3)), demo_library(), {}, DEFAULT_CONSTRAINTS, REQUEST)


def test_a_weight_of_zero_does_not_call_the_constraint():
    def explode(_library, _request):
        raise AssertionError

    assert terms(Library(["a"]), {"boom": 0.0}, {"boom": explode}).weighted == {}


def test_a_static_constraint_is_computed_once_per_library_and_checked():
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


def test_only_weights_of_static_constraints_need_no_request():
    assert not needs_request({"size": 1.0, "cost": 0.0}, DEFAULT_CONSTRAINTS)
    assert needs_request({"cost": 0.1}, DEFAULT_CONSTRAINTS)


def test_a_cached_column_is_read_only():
    found = terms(demo_library(), {"size": 1.0})
    with pytest.raises(ValueError, match="read-only"):
        found.unknown["size"][0] = True
