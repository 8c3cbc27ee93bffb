"""Rows of a log about the prompts of a small perception, for what reads the log."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.traffic.records import DecisionRecord, Feedback, LoggedFeedback


class Rows:
    """Makes rows of a log in order, each about a decision for one of a few prompts."""

    def __init__(self, perception, router=""):
        prompts = ["sum word1", "code word2", "poem word3", "law word4"]
        self.positions = perception.latent_positions(prompts).astype(np.float32)
        self.router = router
        self.sequence = 0

    def __call__(self, expert, score, kind="test", *, prompt=0, topic="sum", **decision):
        self.sequence += 1
        name = str(self.sequence)
        record = {"propensity": 1.0, "position": self.positions[prompt], "kind": topic} | decision
        return LoggedFeedback(
            self.sequence,
            Feedback(f"f{name}", f"d{name}", float(self.sequence), score, kind),
            expert,
            DecisionRecord(f"d{name}", float(self.sequence), self.router, expert, **record),
        )


@pytest.fixture
def rows(learned):
    return Rows(learned)
