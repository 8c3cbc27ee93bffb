"""The router that an evaluation puts on trial: trained anew in every fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import QTableError
from tryage.evaluation import Method, Predicted
from tryage.evaluation.splits import least_taught
from tryage.perception.training import LEAST_PROMPTS, Settings, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.qtable import QTable

ROUTER = "tryage"


class ReadOnce:
    """An encoder that reads every prompt once; the folds ask for the same ones many times."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the encoder offers
        """Pass everything but `encode` on to the encoder."""
        return getattr(self._encoder, name)

    def encode(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Embed prompts `(batch, dim)`, only the new ones by the encoder."""
        new = list(dict.fromkeys(text for text in prompts if text not in self._known))
        if new:
            self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._known[text] for text in prompts], dtype=np.float32)


def check_folds(table: QTable, n_folds: int) -> None:
    """Refuse so few prompts that no router can be trained in every fold.

    Raises:
        QTableError: it tells how many there are, and how many are needed.
    """
    usable = table.groups[table.measured.any(axis=1)]
    taught = least_taught(usable, n_folds)
    if taught < LEAST_PROMPTS:
        raise QTableError(
            f"{len(set(usable.tolist()))} different prompts in {n_folds} folds leave {taught} to "
            f"train on, and at least {LEAST_PROMPTS} are needed: measure more, or try more folds"
        )


def trained(encoder: Encoder, seed: int = 0) -> Method:
    """Make the method that does what `tryage train` does, and predicts the unseen prompts."""

    def method(
        train: QTable,
        train_embeddings: NDArray[np.float32],
        test_prompts: Sequence[str],
        test_embeddings: NDArray[np.float32],  # noqa: ARG001 - the encoder is asked again
    ) -> Predicted:
        perception = fit(
            train,
            encoder,
            settings=Settings(seed=seed),
            embeddings=train_embeddings,
            progress=False,
        )
        x = perception.describe(test_prompts)
        predicted = perception.predict_from(x)
        return Predicted(
            predicted.losses, predicted.std, perception.forecast("costs", perception.head.see(x))
        )

    return method
