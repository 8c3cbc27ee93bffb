"""A policy that keeps what it sees, so that predictions of a router can be read as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.policy import Policy

if TYPE_CHECKING:
    from tryage.core.policy import PolicyBatch


class BatchReader(Policy):
    """Keeps the batches that it sees, and changes nothing."""

    def __init__(self) -> None:
        self.batches: list[PolicyBatch] = []

    def choose(self, batch: PolicyBatch) -> None:
        """Keep a batch."""
        self.batches.append(batch)
