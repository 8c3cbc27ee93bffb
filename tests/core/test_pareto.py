"""The exact front: the lower envelope against brute force, and the points of a front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tryage.core.pareto import ParetoFront, lower_envelope
from tryage.errors import InputError, NoExpertError

# Thirds and sevenths collide often: ties, parallel and concurrent lines are the hard cases.
coordinates = st.integers(0, 12).map(lambda i: i / 12) | st.floats(0, 1, width=32)


@st.composite
def tables(draw):
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 7)))
    base = draw(hnp.arrays(np.float64, shape, elements=coordinates))
    per_prompt = draw(st.booleans())
    constraint = draw(
        hnp.arrays(np.float64, shape if per_prompt else shape[1:], elements=coordinates)
    )
    return base, constraint


@settings(max_examples=300, deadline=None)
@given(tables(), st.lists(st.floats(0, 50), max_size=10))
def test_between_breakpoints_the_path_is_as_good_as_trying_every_expert(table, more):
    base, constraint = table
    path = lower_envelope(base, constraint)
    ends = path.weights
    between = (ends[1:] + ends[:-1]) / 2
    rows = np.arange(len(base))
    for weight in [*ends, *between, ends[-1] + 1, *more]:
        totals = base + weight * constraint
        chosen = totals[rows, path.experts_at(weight)]
        np.testing.assert_allclose(chosen, totals.min(axis=1), rtol=1e-9, atol=1e-9)


@settings(max_examples=300, deadline=None)
@given(tables())
def test_a_rising_weight_never_raises_the_constraint_and_never_lowers_the_base(table):
    base, constraint = table
    path = lower_envelope(base, constraint)
    assert path.weights[0] == 0
    assert (np.diff(path.weights) > 0).all()
    assert (np.diff(path.mean(constraint)) <= 0).all()
    assert (np.diff(path.mean(base)) >= 0).all()


@settings(max_examples=200, deadline=None)
@given(tables())
def test_running_means_are_the_means_of_the_chosen_experts(table):
    base, constraint = table
    path = lower_envelope(base, constraint)
    rows = np.arange(len(base))
    for weight, mean in zip(path.weights, path.mean(base), strict=True):
        assert mean == pytest.approx(base[rows, path.experts_at(weight)].mean(), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(tables())
def test_every_change_goes_from_the_expert_of_the_change_before(table):
    path = lower_envelope(*table)
    current = path.start.copy()
    for prompt, before, after in zip(path.prompt, path.old_expert, path.new_expert, strict=True):
        assert current[prompt] == before != after
        current[prompt] = after
    assert (current == path.experts_at(np.inf)).all()


def test_lines_that_almost_meet_in_one_point_are_followed_in_order():
    base = np.array([[0.08999999999999997, 0.45, 0.73, 0.18000000000000005, 0.54]])
    path = lower_envelope(base, np.array([0.8, 0.4, 0.2, 0.7, 0.3]))
    assert path.old_expert[0] == path.start[0]
    assert path.old_expert[1:].tolist() == path.new_expert[:-1].tolist()
    assert (np.diff(path.weight) >= 0).all()


def test_an_envelope_computed_by_hand():
    # 0 + w, .2 + w/2 and .4 meet at w = .4: straight to the lowest constraint.
    # .38 + .4w lies above .4 from w = .05 on, and above the others before: never chosen.
    path = lower_envelope(np.array([[0, 0.2, 0.38, 0.4]]), np.array([1, 0.5, 0.4, 0]))
    np.testing.assert_allclose(path.weights, [0, 0.4])
    assert path.new_expert.tolist() == [3]
    # With .1 + w/2 in the middle: 0 + w = .1 + w/2 at .2, and .1 + w/2 = .4 at .6.
    path = lower_envelope(np.array([[0, 0.1, 0.38, 0.4]]), np.array([1, 0.5, 0.4, 0]))
    np.testing.assert_allclose(path.weights, [0, 0.2, 0.6])
    assert path.old_expert.tolist() == [0, 1]
    assert path.new_expert.tolist() == [1, 3]


def test_a_tie_at_weight_zero_goes_to_the_lower_constraint_then_to_library_order():
    path = lower_envelope(np.array([[0.1, 0.1, 0.1]]), np.array([0.5, 0.2, 0.2]))
    assert path.start.tolist() == [1]
    assert path.weights.tolist() == [0]


def test_experts_that_are_not_allowed_or_not_predicted_are_never_chosen():
    base = np.array([[0.0, np.nan, 0.5, 0.6]])
    allowed = np.array([False, True, True, True])
    path = lower_envelope(base, np.array([0.0, 0.0, 1.0, 0.0]), allowed)
    assert {*path.start, *path.new_expert} == {2, 3}


def test_a_prompt_without_any_expert_is_named():
    with pytest.raises(NoExpertError, match="prompt 1"):
        lower_envelope(np.array([[0.0], [np.nan]]), np.array([0.5]))


@pytest.mark.parametrize(
    ("base", "constraint"),
    [(np.zeros((1, 2)), np.zeros(3)), (np.zeros(2), np.zeros(2)), (np.zeros((1, 1)), [np.nan])],
)
def test_shapes_that_do_not_fit_and_unknown_constraints_are_refused(base, constraint):
    with pytest.raises(InputError):
        lower_envelope(base, constraint)


def test_the_choice_is_by_prediction_and_the_mean_by_measured_values():
    predicted = np.array([[0.1, 0.3], [0.1, 0.5]])
    true = np.array([[1.0, 0.6], [0.2, np.nan]])  # the second expert was never measured there
    path = lower_envelope(predicted, np.array([1.0, 0.0]))
    np.testing.assert_allclose(path.weights, [0, 0.2, 0.4])
    np.testing.assert_allclose(path.mean(true), [0.6, 0.4, 0.6])
    np.testing.assert_allclose(path.mean(np.array([4, 2])), [4, 3, 2])


def test_blocks_of_prompts_do_not_change_the_path(monkeypatch):
    rng = np.random.default_rng(0)
    base, constraint = rng.random((50, 9)), rng.random((50, 9))
    whole = lower_envelope(base, constraint)
    monkeypatch.setattr("tryage.core.pareto._MAX_CELLS", 40)
    pieces = lower_envelope(base, constraint)
    for field in ("start", "weight", "prompt", "old_expert", "new_expert"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(pieces, field))


def front(base, constraint, names):
    path = lower_envelope(base, constraint)
    return ParetoFront("size", names, path, path.weights, path.mean(base), path.mean(constraint))


def test_iterating_a_front_and_indexing_it_agree():
    rng = np.random.default_rng(1)
    made = front(rng.random((20, 6)), rng.random(6), [f"m{i}" for i in range(6)])
    assert len(made) > 10
    assert list(made) == [made[i] for i in range(len(made))] == list(made[:])
    assert made[-1] == list(made)[-1]
    assert all(sum(point.share.values()) == pytest.approx(1) for point in made)


def test_a_front_has_the_changes_of_each_prompt_with_their_weights():
    made = front(np.array([[0.0, 0.5], [0.9, 0.5]]), np.array([1.0, 0.0]), ["big", "small"])
    (change,) = made.changes(0)
    assert (change.weight, change.before, change.after) == (0.5, "big", "small")
    assert made.changes(1) == ()
    assert made.at(0.49).share == {"big": 0.5, "small": 0.5}
    assert made.at(0.5).share == {"small": 1.0}
    with pytest.raises(InputError, match="prompt 2"):
        made.changes(2)
    with pytest.raises(InputError, match="weight"):
        made.at(-1)
