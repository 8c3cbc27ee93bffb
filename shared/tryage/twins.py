"""Experts that are one model at several providers: they share what is predicted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.alignment import Alignment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.experts import Library
    from tryage.perception.base import Perception, Prediction


class Twins:
    """A perception in which several experts stand for the same column of another.

    Args:
        perception: Predicts, of each model once.
        library: The experts without their twins.
        twins: Name of a further expert -> the name in the library that it equals.
    """

    def __init__(self, perception: Perception, library: Library, twins: Mapping[str, str]) -> None:
        self.experts = (*library.names, *twins)
        self._alignment = Alignment(perception, library)
        positions = [library.index(name) for name in twins.values()]
        self._columns = np.array([*range(len(library)), *positions], dtype=np.intp)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict in one pass of the other perception, `(batch, n_experts)`."""
        return self._alignment.predict(prompts).at(np.s_[:, self._columns])

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Count the tokens of each prompt as the other perception does, `(batch,)`."""
        return self._alignment.count_tokens(prompts)
