"""How long a text is in tokens when no tokenizer is at hand: one rule of thumb for all."""

from __future__ import annotations

import math

_BYTES_PER_TOKEN = 4  # of UTF-8, a rule of thumb that holds for English and roughly elsewhere


def estimate_tokens(text: str) -> float:
    """Return about how many tokens a text has."""
    return float(math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN))
