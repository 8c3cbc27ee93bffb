"""Which words are hidden, and how texts are cut: the same for everybody, nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.learning.scoring.language_model import Window, batch_by_length, sliding_windows
from tryage.learning.scoring.losses import sample_masks, word_spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, sat.", ["The", "cat", ",", "sat", "."]),
        ("x_1 = 3.5", ["x_1", "=", "3", ".", "5"]),
        ("Größe été", ["Größe", "été"]),
        ("数学はab", ["数", "学", "は", "ab"]),
        ("  \n\t", []),
        ("🙂", ["🙂"]),
    ],
)
def test_words_are_runs_of_letters_single_signs_and_ideographs(text, expected):
    assert [text[start:end] for start, end in word_spans(text)] == expected


@given(st.text(max_size=80), st.floats(0.01, 1.0), st.integers(), st.integers(1, 12))
def test_masks_hide_words_never_twice_and_always_the_same(text, rate, seed, rounds):
    found = sample_masks(text, rate, seed, rounds)
    assert found == sample_masks(text, rate, seed, rounds)
    hidden = [span for spans in found for span in spans]
    assert len(set(hidden)) == len(hidden)
    assert set(hidden) <= set(word_spans(text))
    assert len(found) <= rounds
    assert all(found)


@given(st.text(max_size=80), st.floats(0.01, 1.0), st.integers(1, 4), st.integers(1, 30))
def test_a_short_text_takes_rounds_until_enough_words_are_hidden(text, rate, rounds, least):
    found = sample_masks(text, rate, 0, rounds, least)
    assert sum(map(len, found)) >= min(least, len(word_spans(text)))
    assert found[:rounds] == sample_masks(text, rate, 0, rounds)
    assert len(found) <= rounds or sum(map(len, found[:-1])) < least


def test_enough_rounds_hide_every_word():
    text = "one two three four five six seven"
    assert sorted(s for spans in sample_masks(text, 0.3, 0, 99) for s in spans) == word_spans(text)


@given(st.integers(0, 60), st.integers(2, 20), st.integers(1, 20))
def test_windows_score_every_token_but_the_first_exactly_once(n, length, stride):
    stride = min(stride, length - 1)
    found = list(sliding_windows(n, length, stride))
    assert [at for w in found for at in range(w.first_scored, w.end)] == list(range(1, n))
    assert all(w.end - w.start <= length and w.start < w.first_scored for w in found)


def test_windows_are_those_of_the_perplexity_guide():
    assert list(sliding_windows(9, 4, 2)) == [
        Window(0, 4, 1),
        Window(2, 6, 4),
        Window(4, 8, 6),
        Window(6, 9, 8),
    ]


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 100))
def test_batches_hold_everything_once_and_fit(lengths, room):
    found = list(batch_by_length(lengths, room))
    assert sorted(at for batch in found for at in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= room
