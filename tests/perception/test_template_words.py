"""A word is in small letters, as names are compared, and stands for one part of a template."""

from __future__ import annotations

from itertools import combinations

import pytest

from tryage.perception import template_words

KINDS = {
    name: getattr(template_words, name)
    for name in ("CONTEXT", "PAGE", "QUESTION", "USER", "ANSWER", "ABOVE")
}


@pytest.mark.parametrize("words", KINDS.values(), ids=KINDS)
def test_words_are_folded_and_no_word_occurs_twice(words):
    assert [word.casefold() for word in words] == list(words)
    assert len(set(words)) == len(words)


def test_no_word_stands_for_two_parts():
    for one, other in combinations(KINDS.values(), 2):
        assert set(one).isdisjoint(other)


def test_each_part_has_words_of_other_scripts():
    for name in ("CONTEXT", "PAGE", "QUESTION", "USER", "ANSWER"):
        assert any(not word.isascii() for word in KINDS[name])
        assert any("\u4e00" <= word[0] <= "\u9fff" for word in KINDS[name])
