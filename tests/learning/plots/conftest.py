"""A router whose predictions are given by hand, and a table of what it is measured on."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Library, QTable, Router
from tryage.core.perception import Perception, Prediction

PROMPTS = ("easy one", "easy two", "hard one", "hard two")

EXPERTS = ("small", "large")

LOSSES = {"easy": (0.1, 0.1), "hard": (0.9, 0.3)}


class WordPerception(Perception):
    """Predicts losses by the first word of a prompt."""

    experts = EXPERTS

    def predict(self, prompts):
        losses = np.array([LOSSES[text.split()[0]] for text in prompts], np.float32)
        return Prediction(losses, np.full(losses.shape, 0.05, np.float32))


@pytest.fixture
def router() -> Router:
    """A router that expects the small model to fail at what is hard; it costs a tenth."""
    experts = [
        Expert("small", input_price=0.0, output_price=1.0, output_tokens=1_000),
        Expert("large", input_price=0.0, output_price=10.0, output_tokens=1_000),
    ]
    return Router(WordPerception(), Library(experts))


@pytest.fixture
def table() -> QTable:
    """Both are right where it is easy; else the small one fails, and the large one once."""
    losses = np.array([[0, 0], [0, 0], [1, 0], [1, 1]], np.float32)
    costs = np.tile(np.float32([0.001, 0.010]), (4, 1))
    return QTable(PROMPTS, EXPERTS, losses, ("easy", "easy", "hard", "hard"), costs=costs)
