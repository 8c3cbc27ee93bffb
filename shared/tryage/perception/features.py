"""A prompt as one row of numbers: its meaning, its words and its form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.choices import choices
from tryage.perception.lexicon import Lexicon, TokenIds, fit_lexicon
from tryage.perception.offer import offer
from tryage.perception.surface import surface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.base import Floats

# An embedding has unit length over hundreds of entries: a few numbers must not drown it.
_SURFACE_SCALE, _OFFER_SCALE, _CHOICES_SCALE = 0.15, 0.4, 0.1
_OFTEN = 0.01  # of the training prompts; who gives options less often is not read for them
_LIMIT = 4.0  # standard deviations: one endless prompt is no more than "very long"


@dataclass(frozen=True, slots=True)
class Form:
    """What is usual of some numbers, to say how far a prompt is from it."""

    mean: Floats
    std: Floats
    scale: float

    def standardised(self, numbers: Floats) -> Floats:
        """Scale `(batch, n)` by what is usual."""
        usual = np.clip((numbers - self.mean) / self.std, -_LIMIT, _LIMIT)
        return np.asarray(self.scale * usual, np.float32)


@dataclass(frozen=True, slots=True)
class Features:
    """Joins embeddings, words, surface and offer to `phi(z)`, `(batch, d)`.

    And choices, if training met any.
    """

    lexicon: Lexicon
    surface: Form
    offer: Form
    choices: Form | None = None

    def join(self, prompts: Sequence[str], embeddings: Floats, ids: TokenIds) -> Floats:
        """Describe prompts whose embeddings `(batch, dim)` and token ids are at hand."""
        parts = [
            embeddings,
            self.lexicon.vectors(ids),
            self.surface.standardised(surface(prompts)),
            self.offer.standardised(offer(prompts)),
        ]
        if self.choices is not None:
            parts.append(self.choices.standardised(choices(prompts)))
        return np.concatenate(parts, axis=1)


def fit_features(
    prompts: Sequence[str], ids: TokenIds, vocabulary: int, *, width: int = 128, seed: int = 0
) -> Features:
    """Learn the lexicon and what is usual from the training prompts; losses are not looked at."""
    options = choices(prompts)
    return Features(
        lexicon=fit_lexicon(ids, vocabulary, width, seed),
        surface=_usual(surface(prompts), _SURFACE_SCALE),
        offer=_usual(offer(prompts), _OFFER_SCALE),
        choices=_usual(options, _CHOICES_SCALE) if options[:, 0].mean() >= _OFTEN else None,
    )


def _usual(numbers: Floats, scale: float) -> Form:
    std = numbers.std(axis=0)
    return Form(numbers.mean(axis=0), np.where(std > 1e-6, std, 1.0).astype(np.float32), scale)
