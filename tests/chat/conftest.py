"""A router that follows the first word of a prompt, over experts with some known abilities."""

from __future__ import annotations

import pytest

from tryage import Expert, Library, Router
from tryage.testing import FunctionPerception

NAMES = ("small", "big", "plain", "unknown")


def losses_by_first_word(prompt):
    """Predict loss 0 for the expert that is named first, and more for each later expert."""
    return [0.0 if prompt.startswith(name) else 0.5 + i / 10 for i, name in enumerate(NAMES)]


class CountingPerception(FunctionPerception):
    """Keeps the prompts of each pass."""

    def __init__(self):
        super().__init__(NAMES, losses_by_first_word)
        self.passes = []

    def predict(self, prompts):
        self.passes.append(list(prompts))
        return super().predict(prompts)


@pytest.fixture
def perception():
    return CountingPerception()


@pytest.fixture
def library():
    able = ["tools", "vision", "structured_output", "audio", "pdf", "video", "files"]
    return Library(
        [
            Expert("small", capabilities=["tools"], context_length=2_000, input_price=1,
                   output_price=1, cached_input_price=0.1),
            Expert("big", capabilities=able, context_length=100_000, input_price=10,
                   output_price=10, cached_input_price=1),
            Expert("plain", capabilities=[], context_length=100_000, input_price=1,
                   output_price=1),
            Expert("unknown", aliases=["unknown-2025"]),
        ]
    )  # fmt: skip


@pytest.fixture
def router(perception, library):
    return Router(perception, library, preferences="best")
