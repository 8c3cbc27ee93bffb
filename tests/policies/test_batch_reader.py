"""A reader sees what policies see, and the decisions stay as they are."""

from __future__ import annotations

import pytest

from tryage import Router
from tryage.policies.batch_reader import BatchReader
from tryage.testing import FixedPerception


def test_a_reader_keeps_the_predictions_of_a_batch_and_changes_nothing():
    router = Router(FixedPerception({"small": 0.5, "large": 0.1}))
    reader = BatchReader()
    decisions = router.with_policy(reader).decide_batch(["a", "b"])
    (batch,) = reader.batches
    assert batch.losses.tolist() == [pytest.approx([0.5, 0.1])] * 2
    assert [one.expert.name for one in decisions] == ["large", "large"]
    assert decisions[0].changes == ()
