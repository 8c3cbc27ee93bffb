"""Which language a prompt is written in."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tryage.core.validation import require_extra

if TYPE_CHECKING:
    from collections.abc import Callable

LANGUAGES = (
    *("ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu"),
    *("he", "hi", "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "ml", "mr", "ms", "nl"),
    *("no", "pa", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "sw", "ta", "te", "th", "tl"),
    *("tr", "uk", "ur", "vi", "zh"),
)
"""The languages that are told apart, ISO 639-1. With rarer ones, short English is often Fula."""

MAX_READ = 2_000  # characters, more than enough for a language

_MIN_PROBABILITY = 0.5


def detect_language(text: str) -> str | None:
    """Return the language of a text, None if none has a probability of one half.

    That is so for most texts of one or two words, and for numbers and code. Of a text in two
    languages it is the one of the larger part.

    Raises:
        MissingExtraError: the extra `rules` is not installed.
    """
    language, probability = _load_classifier()(text[:MAX_READ])
    return language if probability >= _MIN_PROBABILITY else None


@cache
def _load_classifier() -> Callable[[str], Any]:
    require_extra("py3langid", "rules")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    classify: Callable[[str], Any] = identifier.classify
    return classify
