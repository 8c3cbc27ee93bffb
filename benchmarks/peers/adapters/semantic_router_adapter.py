"""semantic-router: a route per model, whose utterances are the prompts that it answers best.

It routes by topic; that a model is a route is our use of it, not its maker's claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np  # noqa: TC002 - pydantic reads the types of the fields when it runs
from peer import OnnxEncoder, Peer, Training, main, mark_choices
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import DenseEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats


class CachedEncoder(DenseEncoder):
    """Their interface to embeddings: known texts from memory, others by the common encoder."""

    encoder: OnnxEncoder
    known: dict[str, np.ndarray]

    def __call__(self, docs: list[str]) -> list[list[float]]:
        """Embed texts."""
        return [self._embed(text).tolist() for text in docs]

    def _embed(self, text: str) -> np.ndarray:
        row = self.known.get(text)
        return self.encoder.encode([text])[0] if row is None else row


class SemanticRouter(Peer):
    """Its `IndexedRouter` with the defaults: the mean similarity of the five best utterances."""

    forecasts = False

    def fit(self, training: Training) -> None:
        """Index the prompts under the model that answers them best."""
        self.training = training
        known = dict(zip(training.prompts, training.embeddings, strict=True))
        self.reader = CachedEncoder(name="minilm", encoder=self.encoder, known=known)
        best = training.best
        routes = [
            Route(
                name=name,
                utterances=[training.prompts[row] for row in training.usable if best[row] == i],
            )
            for i, name in enumerate(training.experts)
        ]
        self.router = IndexedRouter(self.reader, [route for route in routes if route.utterances])
        self.index = {name: i for i, name in enumerate(training.experts)}

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Mark its choices; where it has none, the best single model answers."""
        self.reader.known.update(zip(prompts, embeddings, strict=True))
        return mark_choices([self.decide(prompt) for prompt in prompts], self.training)

    def decide(self, prompt: str) -> int:
        """Return the position of the chosen route's model."""
        choice = self.router(prompt)
        name = getattr(choice, "name", None)
        return self.index.get(str(name), 0)


if __name__ == "__main__":
    main({"semantic_router": SemanticRouter})
