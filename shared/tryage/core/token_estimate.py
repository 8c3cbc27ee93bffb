"""An estimate of how many tokens a text has, for models whose tokenizer is not at hand."""

from __future__ import annotations

import math

_BYTES_PER_TOKEN = 4  # of UTF-8; a rule of thumb for English, and roughly for other languages


def estimate_tokens(text: str) -> float:
    """Estimate the number of tokens of a text from its bytes."""
    return float(math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN))
