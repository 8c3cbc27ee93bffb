"""A perception that reads the first word, and runnables that tell what reached them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tryage.perception.base import Prediction
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Sequence


class FirstWord:
    """Predicts loss 0 for the expert that the prompt names first and 1 for the others."""

    experts = ("small", "big")

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def predict(self, prompts: Sequence[str]) -> Prediction:
        self.passes.append(list(prompts))
        losses = np.array(
            [
                [0.0 if prompt.startswith(name) else 1.0 for name in self.experts]
                for prompt in prompts
            ],
            dtype=np.float32,
        ).reshape(len(prompts), len(self.experts))
        return Prediction(losses, np.zeros_like(losses))


@pytest.fixture
def perception() -> FirstWord:
    return FirstWord()


@pytest.fixture
def router(perception: FirstWord) -> Router:
    return Router(perception)


@pytest.fixture
def flagged(perception: FirstWord) -> Router:
    return Router(perception, prompt_flags=True)
