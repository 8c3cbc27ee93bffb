"""The routing method that `tryage train` trains, as a method to evaluate beside the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import QTableError
from tryage.learning.evaluation.splits import MethodPrediction, min_train_size
from tryage.learning.training.trainer import MIN_PROMPTS, FitConfig, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array
    from tryage.learning.evaluation.splits import RoutingMethod
    from tryage.perception.encoder import Encoder
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

METHOD_NAME = "tryage"  # of the trained router in the table of an evaluation


def make_routing_method(
    encoder: Encoder, seed: int = 0, pretrained: Router | None = None
) -> RoutingMethod:
    """Return a method that trains as `tryage train` does, and predicts the unseen prompts.

    The training starts from a `pretrained` router with the same encoder, or from nothing.
    """

    def method(
        train: QTable,
        train_embeddings: Float32Array,
        test_prompts: Sequence[str],
        test_embeddings: Float32Array,  # noqa: ARG001 - the perception encodes the prompts itself
    ) -> MethodPrediction:
        config = FitConfig(seed=seed)
        perception = fit(
            train,
            encoder,
            config=config,
            pretrained=pretrained,
            embeddings=train_embeddings,
            progress=False,
        )
        x = perception.extract_features(test_prompts)
        prediction = perception.predict_from_features(x)
        costs = perception.forecast("costs", perception.head.prepare(x))
        return MethodPrediction(prediction.losses, prediction.std, costs)

    return method


class CachingEncoder:
    """An encoder that encodes every prompt once; the folds encode the same prompts many times."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._cache: dict[str, Float32Array] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the encoder
        """Return every attribute but `encode` from the encoder."""
        return getattr(self._encoder, name)

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts `(batch, dim)`; the encoder reads only the new ones."""
        new_prompts = list(dict.fromkeys(text for text in prompts if text not in self._cache))
        if new_prompts:
            self._cache.update(zip(new_prompts, self._encoder.encode(new_prompts), strict=True))
        return np.array([self._cache[text] for text in prompts], dtype=np.float32)


def check_folds(table: QTable, n_folds: int) -> None:
    """Refuse a table with which no router can be trained in every fold.

    Raises:
        QTableError: there are too few prompts; it says how many there are, and how many are needed.
            Or names of experts differ in case alone.
    """
    table.check_expert_names()
    usable_groups = table.groups[table.measured.any(axis=1)]
    n_train = min_train_size(usable_groups, n_folds)
    if n_train < MIN_PROMPTS:
        raise QTableError(
            f"{len(set(usable_groups.tolist()))} different prompts in {n_folds} folds leave "
            f"{n_train} to train on, and at least {MIN_PROMPTS} are needed: measure more, or try "
            "more folds"
        )
