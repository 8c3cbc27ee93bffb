"""langchain-model-router: its embedding strategy, with examples of every model's prompts.

It compares in plain Python, so 100 examples per route are as many as it takes in reason. It routes
by topic; that a model is a route is our use of it, not its maker's claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_model_router import EmbeddingStrategy, RoutingRequest
from peer import OnnxEncoder, Peer, Training, main, mark_choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats

EXAMPLES = 100  # per route


class CachedEmbeddings(Embeddings):
    """LangChain's interface: known texts from memory, others by the common encoder."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        """Start without known texts."""
        self.encoder = encoder
        self.known: dict[str, np.ndarray] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed examples."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        row = self.known.get(text)
        found = self.encoder.encode([text])[0] if row is None else row
        return [float(x) for x in found]


class ModelRouter(Peer):
    """Its `EmbeddingStrategy` without a threshold: the closest example decides."""

    forecasts = False

    def fit(self, training: Training) -> None:
        """Draw examples of the prompts that each model answers best."""
        self.training = training
        self.reader = CachedEmbeddings(self.encoder)
        texts = [text.strip() for text in training.prompts]
        self.reader.known.update(zip(texts, training.embeddings, strict=True))
        best, rng = training.best, np.random.default_rng(training.seed)
        examples = {}
        for i, name in enumerate(training.experts):
            rows = [row for row in training.usable if best[row] == i and texts[row]]
            drawn = rng.permutation(rows)[:EXAMPLES]
            if len(drawn):
                examples[name] = [texts[row] for row in drawn]
        self.routes = tuple(examples)
        self.strategy = EmbeddingStrategy(self.reader, examples, threshold=-1.0)
        self.index = {name: i for i, name in enumerate(training.experts)}

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Mark its choices."""
        self.reader.known.update(zip(prompts, embeddings, strict=True))
        return mark_choices([self.decide(prompt) for prompt in prompts], self.training)

    def decide(self, prompt: str) -> int:
        """Return the position of the chosen route's model; without a choice the best single one."""
        request = RoutingRequest(
            text=prompt,
            content_blocks=[{"type": "text", "text": prompt}],
            modalities=frozenset({"text"}),
            routes=self.routes,
            tools_bound=False,
        )
        choice = self.strategy.decide(request)
        return 0 if choice is None else self.index[choice.route]


if __name__ == "__main__":
    main({"embedding": ModelRouter})
