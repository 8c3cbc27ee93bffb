"""Which words of a text are hidden: the same for every expert, whatever its tokeniser."""

from __future__ import annotations

import math
import random
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Span: TypeAlias = tuple[int, int]

# A run of letters and digits, or one sign. Scripts without spaces have no words that a rule could
# find: each of their characters is one (CJK ideographs, kana, Hangul).
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s]"
)


def words(text: str) -> list[Span]:
    """Return where the words of a text are, as `(start, end)` in characters."""
    return [found.span() for found in _WORD.finditer(text)]


def masks(text: str, rate: float, seed: int, rounds: int, least: int = 1) -> list[list[Span]]:
    """Return the words that each round hides, no word twice.

    At least one word is hidden in each; there are more rounds than `rounds` until `least` words are
    hidden, and fewer if there are no more words. Seed and text alone decide, so every expert gets
    the same.
    """
    found = words(text)
    size = max(1, round(rate * len(found)))
    digest = blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    random.Random(int.from_bytes(digest, "big")).shuffle(found)  # noqa: S311 - chance, no secret
    needed = max(rounds, math.ceil(least / size))
    most = math.ceil(len(found) / size)
    return [sorted(found[i * size : (i + 1) * size]) for i in range(min(needed, most))]


def characters(spans: Iterable[Span]) -> set[int]:
    """Return the positions of all characters in some spans."""
    return {at for span in spans for at in range(*span)}
