"""The sliders of the page: which number each moves, on which scale, and what it says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slider:
    """A slider beside the field of a number.

    A slider on a logarithmic scale goes over the power of ten, so `low` and `high` are powers.
    """

    name: str
    label: str
    hint: str
    low: float
    high: float
    step: float
    is_log: bool = False


SLIDERS = (
    Slider(
        "answer_value",
        "What a right answer is worth",
        "USD. The more it is worth, the dearer a model may be.",
        -4,
        3,
        0.05,
        is_log=True,
    ),
    Slider("latency", "Fast", "Weight of the seconds to an answer: 1 is 30 s or more.", 0, 1, 0.05),
    Slider("size", "Small", "Weight of the parameters.", 0, 1, 0.05),
    Slider("recency", "New", "Weight of the age: a year is 1/12.", 0, 1, 0.05),
    Slider("security", "Safe", "Weight of failed security scans.", 0, 1, 0.05),
    Slider("verbosity", "Terse", "Weight of long answers: 1 is 4,000 tokens.", 0, 1, 0.05),
    Slider("readability", "Readable", "Weight of answers that are hard to read.", 0, 1, 0.05),
)
"""In the order of the page: first what a right answer is worth, then the weights."""
