"""What the rounds of co-training did, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.cotraining.assignment import effective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.cotraining.learner import Floats

# A token that is only read costs a forward pass, one that is learned from a backward pass of twice
# the work as well (Kaplan et al. 2020, section 2.1).
READING = 1 / 3


@dataclass(frozen=True, slots=True)
class Entry:
    """What a round did: tokens that each expert learned from, and that were read to measure.

    `loss` is the mean of the prompts with the experts that they went to, before these learned from
    them, in nats per character; None where nothing was measured.
    """

    tokens: tuple[int, ...]
    read: int
    loss: float | None

    @classmethod
    def read_back(cls, saved: Mapping[str, Any]) -> Entry:
        """Take over what was saved."""
        return cls(tuple(saved["tokens"]), saved["read"], saved["loss"])


@dataclass(slots=True)
class History:
    """What all rounds did."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def trained(self) -> int:
        """The tokens that experts learned from."""
        return sum(sum(entry.tokens) for entry in self.entries)

    @property
    def read(self) -> int:
        """The tokens that were read to measure a loss."""
        return sum(entry.read for entry in self.entries)

    @property
    def compute(self) -> float:
        """Both, in tokens learned from."""
        return self.trained + READING * self.read

    def shares(self, last: int | None = None) -> Floats:
        """Return each expert's share of the tokens, `(n_experts,)`, of all or the last rounds."""
        tokens = np.array([entry.tokens for entry in self.entries[-(last or 0) :]], float).sum(0)
        return np.asarray(tokens / tokens.sum())

    def effective(self, last: int | None = None) -> float:
        """Count the experts that are really at work: 1 is a collapse."""
        return effective(self.shares(last))
