"""LlamaIndex: its embedding selector, with a description of every model.

A description names the model and the categories in which it is the best on the training prompts.
The selector embeds all descriptions for every query; in `predict` they come from memory.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import EmbeddingSingleSelector
from llama_index.core.tools.types import ToolMetadata
from peer import Peer, Training, main, mark_choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peer import Floats

_CATEGORIES = 5  # named in a description


class CachedEmbedding(BaseEmbedding):
    """LlamaIndex's interface: known texts from memory, others by the common encoder."""

    encoder: Any
    known: dict[str, Any]

    def _get_text_embedding(self, text: str) -> list[float]:
        row = self.known.get(text)
        found = self.encoder.encode([text])[0] if row is None else row
        return [float(x) for x in found]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class Selector(Peer):
    """Its `EmbeddingSingleSelector`."""

    forecasts = False

    def fit(self, training: Training) -> None:
        """Describe the models."""
        self.training = training
        texts = describe(training)
        self.reader = CachedEmbedding(encoder=self.encoder, known={})
        self.selector = EmbeddingSingleSelector(self.reader)
        self.choices = [
            ToolMetadata(description=text, name=f"model_{i}") for i, text in enumerate(texts)
        ]

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Mark its choices."""
        texts = [choice.description for choice in self.choices]
        self.reader.known.update(zip(texts, self.encoder.encode(texts), strict=True))
        self.reader.known.update(zip(prompts, embeddings, strict=True))
        chosen = [self.decide(prompt) for prompt in prompts]
        self.reader.known.clear()
        return mark_choices(chosen, self.training)

    def decide(self, prompt: str) -> int:
        """Return the position of the selected model."""
        return int(self.selector.select(self.choices, QueryBundle(prompt)).ind)


def describe(training: Training) -> list[str]:
    """Write one description per model."""
    categories = training.categories or [""] * len(training.prompts)
    rows_of = defaultdict(list)
    for row, category in enumerate(categories):
        rows_of[category].append(row)
    strengths = defaultdict(list)
    for category, rows in sorted(rows_of.items(), key=lambda item: -len(item[1])):
        counts = (~np.isnan(training.scores[rows])).sum(axis=0)
        sums = np.nansum(training.scores[rows], axis=0)
        means = np.divide(sums, counts, out=np.full(len(counts), -1.0), where=counts > 0)
        strengths[int(means.argmax())].append(category)
    return [
        f"{name}: a language model, good at {', '.join(strengths[i][:_CATEGORIES]) or 'all'}"
        for i, name in enumerate(training.experts)
    ]


if __name__ == "__main__":
    main({"embedding": Selector})
