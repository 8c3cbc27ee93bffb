"""A router that follows the first word, over experts of which this and that is known."""

from __future__ import annotations

import pytest

from tryage import Expert, Library, Router
from tryage.testing import FunctionPerception

NAMES = ("small", "big", "plain", "unknown")


def first_word(prompt):
    """Predict loss 0 for the expert that is named first, and more for each further down."""
    return [0.0 if prompt.startswith(name) else 0.5 + i / 10 for i, name in enumerate(NAMES)]


class Counting(FunctionPerception):
    """Keeps the batches that were asked for."""

    def __init__(self):
        super().__init__(NAMES, first_word)
        self.passes = []

    def predict(self, prompts):
        self.passes.append(list(prompts))
        return super().predict(prompts)


@pytest.fixture
def perception():
    return Counting()


@pytest.fixture
def library():
    able = ["tools", "vision", "structured_output", "audio"]
    return Library(
        [
            Expert("small", capabilities=["tools"], context_length=2_000, input_price=1,
                   output_price=1, cached_input_price=0.1),
            Expert("big", capabilities=able, context_length=100_000, input_price=10,
                   output_price=10, cached_input_price=1),
            Expert("plain", capabilities=[], context_length=100_000, input_price=1,
                   output_price=1),
            Expert("unknown"),
        ]
    )  # fmt: skip


@pytest.fixture
def router(perception, library):
    return Router(perception, library)
