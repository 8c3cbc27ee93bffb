"""The id of a decision and the position of its prompt."""

from __future__ import annotations

import numpy as np

from tryage import Router
from tryage.testing import FixedPerception


def test_every_decision_has_an_id_of_its_own_in_its_values():
    router = Router.from_pretrained()
    decisions = router.route_batch(["hello", "hello"])
    ids = {decision.id for decision in decisions}
    assert len(ids) == 2
    assert all(len(bytes.fromhex(one)) == 8 for one in ids)
    assert decisions[0].to_dict()["id"] == decisions[0].id


def test_a_decision_holds_the_position_from_which_feedback_learns():
    router = Router.from_pretrained()
    first, second = router.route_batch(["hello", "Prove that pi is irrational."])
    expected = router.perception.latent_positions([second.prompt])[0]
    np.testing.assert_allclose(second.position, expected, atol=1e-5)
    assert not np.array_equal(first.position, second.position)


def test_a_perception_without_an_ability_space_gives_no_position():
    assert Router(FixedPerception({"a": 0.1, "b": 0.2})).route("x").position is None
