"""What is known about the candidate models: one `Expert`, and a `Library` of them in columns."""

from __future__ import annotations

from tryage.experts.expert import Expert
from tryage.experts.library import Library
from tryage.experts.values import NUMBER_RANGES, did_you_mean, number, strings

__all__ = ["NUMBER_RANGES", "Expert", "Library", "did_you_mean", "number", "strings"]
