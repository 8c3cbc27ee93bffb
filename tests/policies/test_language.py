"""The language of a prompt."""

from __future__ import annotations

import pytest

from tryage.policies.language import MAX_READ, detect_language

pytest.importorskip("py3langid")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Write a Python function that sorts a list.", "en"),
        ("Wie geht es dir heute?", "de"),
        ("Écris un poème sur la mer.", "fr"),
        ("今日は良い天気ですね", "ja"),
        ("", None),
        ("2 + 2", None),
        ("hello world", None),
        ("\ud800", None),
    ],
)
def test_the_language_is_known_where_the_text_tells(text: str, language: str | None) -> None:
    assert detect_language(text) == language


def test_a_long_text_is_read_at_its_beginning() -> None:
    text = "Der Hund lief über die Straße. " * 200
    assert detect_language(text[:MAX_READ] + "The dog. " * 10_000) == "de"
