"""A state survives as bytes, and damaged bytes are refused with a reason."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from tryage.core.library import Library
from tryage.errors import PersistenceError
from tryage.perception.abilities import Gaussian
from tryage.traffic.learner import Learner
from tryage.traffic.learner_state import LearnerState


@pytest.fixture
def state(learned, rows):
    learner = Learner(learned, Library([*learned.experts, "new"]))
    learner.update([rows("adder", 0.0), rows("new", 1.0, "judge"), rows("nobody", 1.0)])
    return learner.state


def test_a_state_with_an_expert_under_suspicion_survives_as_bytes(learned, rows):
    learner = Learner(learned, Library(learned.experts))
    learner.update([rows("adder", 1.0) for _ in range(60)])
    learner.update([rows("adder", 0.0) for _ in range(60)])
    assert list(learner.state.suspects) == ["adder"]
    data = learner.state.to_bytes()
    assert LearnerState.from_bytes(data).to_bytes() == data


def test_a_state_survives_as_bytes(state):
    read = LearnerState.from_bytes(state.to_bytes())
    assert read.to_bytes() == state.to_bytes()
    assert (read.sequence, list(read.beliefs), dict(read.skipped)) == (
        3,
        ["adder", "new"],
        {"unknown expert": 1},
    )
    np.testing.assert_array_equal(
        read.beliefs["new"].given_common.mean, state.beliefs["new"].given_common.mean
    )


def test_a_state_that_read_nothing_survives_as_bytes(learned):
    data = Learner(learned, Library(learned.experts)).state.to_bytes()
    assert LearnerState.from_bytes(data).to_bytes() == data


def without_means(arrays):
    return {name: array for name, array in arrays.items() if name != "beliefs_means"}


def of_format_2(arrays):
    header = json.loads(arrays["header"].tobytes()) | {"format": 2}
    return arrays | {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}


@pytest.mark.parametrize(
    ("damage", "message"), [(without_means, "damaged"), (of_format_2, "pip install -U tryage")]
)
def test_damaged_and_newer_bytes_are_refused(state, damage, message):
    with pytest.raises(PersistenceError, match=message):
        LearnerState.from_bytes(save(damage(load(state.to_bytes()))))


def changed(name, change):
    return lambda arrays: arrays | {name: np.ascontiguousarray(change(arrays[name]))}


def with_header(**values):
    def change(arrays):
        header = json.loads(arrays["header"].tobytes()) | values
        return arrays | {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}

    return change


@pytest.mark.parametrize(
    "damage",
    [
        changed("beliefs_means", lambda a: a[:, :1]),
        changed("beliefs_means", lambda a: a * np.nan),
        changed("beliefs_covariances", lambda a: a[..., 0]),
        changed("beliefs_counts", lambda a: a.astype(np.int64)),
        changed("common_mean", lambda a: a[:0]),
        changed("common_covariance", lambda a: a[:1]),
        changed("evidence", lambda a: a.reshape(-1)),
        changed("header", lambda _: np.frombuffer(b"[" * 100_000, np.uint8)),
        changed("header", lambda _: np.frombuffer(b"[]", np.uint8)),
        with_header(sequence="1"),
        with_header(sequence=-1),
        with_header(incumbent=1.5),
        with_header(beliefs=[1, 2]),
        with_header(beliefs=["adder"]),
        with_header(guard={"count": 1, "odd": 2}),
        with_header(guard={"count": 1, "total": float("nan")}),
        with_header(suspects=[["adder", "x"]]),
        with_header(processes=[["adder", 3, 0.0, 1]]),
        with_header(skipped=[]),
        with_header(skipped={"x": "y"}),
        with_header(unlucky="adder"),
    ],
)
def test_a_state_with_parts_of_a_wrong_type_or_shape_is_refused(state, damage):
    with pytest.raises(PersistenceError, match="damaged"):
        LearnerState.from_bytes(save(damage(load(state.to_bytes()))))


def test_a_state_of_another_perception_is_refused(learned, state):
    learner = Learner(learned, Library(learned.experts))
    learner.check_state(state)
    state.incumbent = len(learned.experts)
    with pytest.raises(PersistenceError, match="the incumbent"):
        learner.check_state(state)
    small = LearnerState(Gaussian(np.zeros(1), np.eye(1)))
    with pytest.raises(PersistenceError, match="1 abilities"):
        learner.check_state(small)


def test_cut_bytes_are_refused(state):
    with pytest.raises(PersistenceError, match="damaged"):
        LearnerState.from_bytes(state.to_bytes()[:-9])
    with pytest.raises(PersistenceError, match="damaged"):
        LearnerState.from_bytes(b"")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [
            "format",
            "sequence",
            "beliefs",
            "incumbent",
            "processes",
            "guard",
            "suspects",
            "unlucky",
            "skipped",
            "n_rollbacks",
        ]
    ),
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        ),
        max_leaves=6,
    ),
)
def test_a_header_with_any_field_changed_is_read_or_refused(state, field, value):
    arrays = load(state.to_bytes())
    header = json.loads(arrays["header"].tobytes())
    arrays["header"] = np.frombuffer(json.dumps({**header, field: value}).encode(), np.uint8)
    with contextlib.suppress(PersistenceError):
        LearnerState.from_bytes(save(arrays))
