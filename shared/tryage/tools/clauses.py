"""A request for several things in its parts: each may need a tool of its own."""

from __future__ import annotations

import re

_END = re.compile(
    r"[.;?!]\s+|,\s*"
    r"|[\uff0c\u3001\u3002\uff1b\uff1f\uff01]"  # the same signs of Chinese and Japanese
    r"|\b(?:and then|and|then|also|additionally|finally|after that)\b",
    re.IGNORECASE,
)
_LEAST_WORDS, _LEAST_SIGNS = 3, 6  # signs where a script sets no spaces between words
_MOST = 16  # of an endless request the beginning is enough


def clauses(query: str) -> list[str]:
    """Return the parts of a query that can stand alone; none if it asks for one thing."""
    parts = [part.strip() for part in _END.split(query)]
    whole = [part for part in parts if _stands_alone(part)][:_MOST]
    return whole if len(whole) > 1 else []


def _stands_alone(part: str) -> bool:
    spaced = len(part.split()) >= _LEAST_WORDS
    return spaced or (not part.isascii() and len(part) >= _LEAST_SIGNS)
