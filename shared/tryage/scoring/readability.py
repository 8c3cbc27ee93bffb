"""How easy a text is to read: Flesch reading ease."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tryage.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable


def reading_ease(text: str) -> float | None:
    """Return the Flesch reading ease of an English text, higher is easier; None without words.

    206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch, 1948). Words and sentences
    are counted by textstat. Syllables are counted by hyphenation, as textstat does for words that
    are in no dictionary: its dictionary for English would be downloaded behind the user's back, and
    texts would have another ease where it is.

    Raises:
        MissingExtraError: textstat is not installed.
    """
    words = [word for word in text.split() if any(sign.isalpha() for sign in word)]
    if not words:
        return None
    count_words, count_sentences, syllables = _counters()
    counted, sentences = count_words(text), max(1, count_sentences(text))
    spoken = sum(syllables("".join(filter(str.isalpha, word))) for word in words)
    return 206.835 - 1.015 * counted / sentences - 84.6 * spoken / len(words)


@lru_cache(maxsize=1)
def _counters() -> tuple[Callable[[str], int], Callable[[str], int], Callable[[str], int]]:
    require("textstat", "score")
    import textstat
    from pyphen import Pyphen

    hyphens: Any = Pyphen(lang="en_US")

    @lru_cache(maxsize=50_000)
    def syllables(word: str) -> int:
        return len(hyphens.positions(word.lower())) + 1

    return textstat.lexicon_count, textstat.sentence_count, syllables
