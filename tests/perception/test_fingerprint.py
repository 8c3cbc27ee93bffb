"""The fingerprint of a perception: equal for equal knowledge, another after any change."""

from __future__ import annotations

import pickle

from tryage import Router
from tryage.perception.fingerprint import perception_fingerprint
from tryage.testing import FixedPerception


def test_a_copy_and_a_pickle_have_the_same_fingerprint():
    perception = Router.from_pretrained().perception
    fingerprint = perception_fingerprint(perception)
    assert perception_fingerprint(perception.copy()) == fingerprint
    again = pickle.loads(pickle.dumps(perception))  # noqa: S301 - our own pickle
    assert perception_fingerprint(again) == fingerprint
    assert len(fingerprint) == 16


def test_feedback_changes_the_fingerprint_but_not_that_of_a_copy_made_before():
    perception = Router.from_pretrained().perception
    frozen, fingerprint = perception.copy(), perception_fingerprint(perception)
    perception.observe("hello", perception.experts[0], 1.0)
    assert perception_fingerprint(perception) != fingerprint
    assert perception_fingerprint(frozen) == fingerprint


def test_perceptions_of_other_experts_have_other_fingerprints():
    assert perception_fingerprint(FixedPerception({"a": 0.1})) != perception_fingerprint(
        FixedPerception({"b": 0.1})
    )
