"""A prompt as one row of numbers: its meaning, its words and its form, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tryage.perception.base import Floats
from tryage.perception.lexicon import Lexicon, TokenIds, fit_lexicon
from tryage.perception.surface import surface

_FORM_SCALE = 0.15  # an embedding has unit length over hundreds of entries; form must not drown it
_FORM_LIMIT = 4.0  # standard deviations: one endless prompt is no more than "very long"


@dataclass(frozen=True, slots=True)
class Features:
    """Joins embeddings, words and form to `phi(z)`, `(batch, dim + lexicon + surface)`."""

    lexicon: Lexicon
    form_mean: Floats
    form_std: Floats

    def join(self, prompts: Sequence[str], embeddings: Floats, ids: TokenIds) -> Floats:
        """Describe prompts whose embeddings `(batch, dim)` and token ids are at hand."""
        form = (surface(prompts) - self.form_mean) / self.form_std
        form = _FORM_SCALE * np.clip(form, -_FORM_LIMIT, _FORM_LIMIT)
        return np.concatenate([embeddings, self.lexicon.vectors(ids), form], axis=1)


def fit_features(
    prompts: Sequence[str], ids: TokenIds, vocabulary: int, *, width: int = 128, seed: int = 0
) -> Features:
    """Learn the lexicon and the usual form from the training prompts; losses are not looked at."""
    form = surface(prompts)
    spread = form.std(axis=0)
    return Features(
        lexicon=fit_lexicon(ids, vocabulary, width, seed),
        form_mean=form.mean(axis=0),
        form_std=np.where(spread > 1e-6, spread, 1.0).astype(np.float32),
    )
