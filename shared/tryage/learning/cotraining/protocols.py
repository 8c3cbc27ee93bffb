"""What co-training needs: experts that learn, prompts to learn from, a rule for who gets which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.perception.encoder import Encoder

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class Learner(Protocol):
    """An expert that learns: `MaskedStudent` and `CausalStudent` are such."""

    @property
    def name(self) -> str:
        """Its name in the library."""
        ...

    def losses(self, texts: Sequence[str]) -> FloatArray:
        """Measure the loss on each text, `(n_texts,)` nats per character, the same every time."""
        ...

    def update(self, texts: Sequence[str]) -> float:
        """Learn from the texts in one step; returns the mean loss before it."""
        ...

    def save_state(self, folder: Path) -> None:
        """Write all that learning goes on from, the optimiser's moments too."""
        ...

    def load_state(self, folder: Path) -> None:
        """Go on from what `save_state` wrote."""
        ...


@dataclass(frozen=True)
class PromptPool:
    """Prompts to learn from.

    `features` `(n_prompts, k)` are what the router reads of them, centred, of unit mean square
    length, and with a 1 at the end; `tokens` `(n_prompts,)` is their length.
    """

    texts: tuple[str, ...]
    features: FloatArray
    tokens: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        """Count the prompts."""
        return len(self.texts)

    def shuffled_rows(self, start: int, count: int, seed: int) -> IndexArray:
        """Deal `count` prompts from position `start` of endless, freshly shuffled passes."""
        size = len(self)
        passes = range(start // size, (start + count - 1) // size + 1)
        dealt = [np.random.default_rng([seed, turn]).permutation(size) for turn in passes]
        at = start - passes[0] * size
        return np.asarray(np.concatenate(dealt)[at : at + count], np.intp)


def embed_pool(texts: Sequence[str], encoder: Encoder, *, n_components: int = 64) -> PromptPool:
    """Read prompts once, with the features of the perception (embedding, words and form).

    Their `width` first principal components are kept: a head that is learned from a few hundred
    losses at a time can use no more.

    Raises:
        InputError: fewer than two different prompts, or one that is no text.
    """
    from tryage.core.request import check_prompts
    from tryage.learning.training.estimators import fit_feature_extractor

    check_prompts(texts)
    if len(set(texts)) < 2:
        raise InputError(f"{len(set(texts))} different prompts; co-training needs hundreds.")
    ids = encoder.token_ids(texts)
    reader = fit_feature_extractor(texts, ids, encoder.vocabulary)
    x = _principal_components(
        reader.extract(texts, encoder.encode(texts), ids).astype(np.float64), n_components
    )
    x /= np.sqrt((x**2).sum(axis=1).mean()) + 1e-12
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    return PromptPool(tuple(texts), x, np.maximum(encoder.count_tokens(texts), 1))


def _principal_components(x: FloatArray, n_components: int) -> FloatArray:
    """Turn features `(n, d)` to their principal axes, and keep the first of them."""
    centered = x - x.mean(axis=0)
    axes = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :n_components]
    return np.asarray(centered @ axes)


@dataclass(frozen=True)
class TrainingRound:
    """One round as a mode sees it: prompts, and the two things that can be done with them.

    `rows` `(batch,)` are positions in the pool, `x` `(batch, k)` their features, `penalties`
    `(batch, n_experts)` the weighted constraints. `assign` turns predicted losses
    `(batch, n_experts)` into an expert per prompt `(batch,)`: the lowest total, nobody above
    capacity. `measure` returns the losses that these experts have now, `(batch, n_experts)`, and
    those of the others where a coin said so, which it does in a share `others` of the cases; the
    rest is NaN.
    """

    rows: IndexArray
    x: FloatArray
    penalties: FloatArray
    exploration_rate: float
    rng: np.random.Generator
    assign: Callable[[FloatArray], IndexArray]
    measure: Callable[[IndexArray], FloatArray]


class Mode(Protocol):
    """Who gets which prompt, and what the router makes of the losses."""

    def __call__(self, batch: TrainingRound) -> IndexArray:
        """Return the expert that learns from each prompt, `(batch,)`."""
        ...

    def state(self) -> Arrays:
        """Return all that it has learned."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go on from what `state` returned."""
        ...
