"""The inputs of co-training: experts that learn, prompts to learn from, and a mode.

The mode assigns prompts to experts, and learns from their losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.core.request import check_prompts
from tryage.errors import InputError
from tryage.learning.training.estimators import fit_feature_extractor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.perception.encoder import Encoder

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class Learner(Protocol):
    """An expert that learns, such as `MaskedStudent` and `CausalStudent`."""

    @property
    def name(self) -> str:
        """The expert's name in the library."""
        ...

    def losses(self, texts: Sequence[str]) -> FloatArray:
        """Return the loss on each text, `(n_texts,)` nats per character, the same at every call."""
        ...

    def update(self, texts: Sequence[str]) -> float:
        """Learn from the texts in one step, and return the mean loss before it."""
        ...

    def save_state(self, folder: Path) -> None:
        """Write the whole state, with the optimizer's moments."""
        ...

    def load_state(self, folder: Path) -> None:
        """Restore what `save_state` wrote."""
        ...


@dataclass(frozen=True)
class PromptPool:
    """Prompts to learn from.

    `features` `(n_prompts, k)` are the inputs of the router. They are centered, have a mean
    square length of 1, and end with a constant 1. `tokens` `(n_prompts,)` are the prompts' lengths.
    """

    texts: tuple[str, ...]
    features: FloatArray
    tokens: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        """Count the prompts."""
        return len(self.texts)

    def shuffled_rows(self, start: int, count: int, seed: int) -> IndexArray:
        """Return `count` rows from position `start` of endless passes, each newly shuffled."""
        size = len(self)
        passes = range(start // size, (start + count - 1) // size + 1)
        rows = [np.random.default_rng([seed, number]).permutation(size) for number in passes]
        offset = start - passes[0] * size
        return np.asarray(np.concatenate(rows)[offset : offset + count], np.intp)


def embed_pool(texts: Sequence[str], encoder: Encoder, *, n_components: int = 64) -> PromptPool:
    """Extract the features of prompts as a perception does: embedding, words and form.

    The first `n_components` principal components are kept: a head that is learned from a few
    hundred losses at a time can use no more.

    Raises:
        InputError: there are fewer than two different prompts, or one is not a text.
    """
    check_prompts(texts)
    if len(set(texts)) < 2:
        raise InputError(f"{len(set(texts))} different prompts; co-training needs hundreds.")
    ids = encoder.token_ids(texts)
    extractor = fit_feature_extractor(texts, ids, encoder.vocabulary)
    features = extractor.extract(texts, encoder.encode(texts), ids).astype(np.float64)
    x = _principal_components(features, n_components)
    x /= np.sqrt((x**2).sum(axis=1).mean()) + 1e-12
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    return PromptPool(tuple(texts), x, np.maximum(encoder.count_tokens(texts), 1))


def _principal_components(x: FloatArray, n_components: int) -> FloatArray:
    """Project features `(n, d)` on their first principal axes, `(n, n_components)`."""
    centered_x = x - x.mean(axis=0)
    axes = np.linalg.eigh(centered_x.T @ centered_x)[1][:, ::-1][:, :n_components]
    return np.asarray(centered_x @ axes)


@dataclass(frozen=True)
class TrainingRound:
    """One round as a mode sees it: prompts, and the two operations on them.

    `rows` `(batch,)` are positions in the pool, `x` `(batch, k)` their features, `penalties`
    `(batch, n_experts)` the weighted constraints. `assign` turns predicted losses
    `(batch, n_experts)` into an expert per prompt `(batch,)`: the lowest total with no expert above
    its capacity. `measure` takes an expert per prompt and returns current losses
    `(batch, n_experts)`: those of the assigned experts and, each with probability
    `exploration_rate`, those of the others. All other losses are NaN.
    """

    rows: IndexArray
    x: FloatArray
    penalties: FloatArray
    exploration_rate: float
    rng: np.random.Generator
    assign: Callable[[FloatArray], IndexArray]
    measure: Callable[[IndexArray], FloatArray]


class Mode(Protocol):
    """Assigns the prompts of a round to experts, and learns from their losses."""

    def __call__(self, batch: TrainingRound) -> IndexArray:
        """Return the expert that learns from each prompt, `(batch,)`."""
        ...

    def state(self) -> Arrays:
        """Return everything the mode has learned."""
        ...

    def restore(self, state: Arrays) -> None:
        """Restore what `state` returned."""
        ...
