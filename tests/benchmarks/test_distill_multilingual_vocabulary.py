"""The pieces of many languages are those of BERT and the most frequent ones, and hide no word."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tryage.perception.tokenizer import is_wordwise

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BASE = ["[UNK]", "!", "a", "##a", "letter"]
PIECES = [
    ("\u2581\u043f\u0438\u0441\u044c\u043c\u043e", -5.0),
    ("\u0e01\u0e32\u0e23", -6.0),
    ("\u2581Brief", -7.0),
]


@pytest.fixture
def vocabulary(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("distill_multilingual_vocabulary")


def test_a_piece_begins_a_word_or_goes_on_and_in_thai_both(vocabulary):
    assert set(vocabulary.candidates(PIECES)) == {
        "\u043f\u0438\u0441\u044c\u043c\u043e",
        "\u0e01\u0e32\u0e23",
        "##\u0e01\u0e32\u0e23",
        "brief",
    }


def test_the_base_keeps_its_places_and_frequent_pieces_follow(vocabulary):
    texts = {"ru": ["\u043f\u0438\u0441\u044c\u043c\u043e"] * 10}
    pieces, frequency = vocabulary.frequent_pieces(BASE, PIECES, texts, {"ru": 1.0}, size=18)
    assert pieces[: len(BASE)] == BASE
    assert "\u043f\u0438\u0441\u044c\u043c\u043e" in pieces
    assert frequency["\u043f\u0438\u0441\u044c\u043c\u043e"] > frequency["brief"]


def test_its_tokenizer_is_read_word_by_word(vocabulary):
    tokenizer = vocabulary.make_tokenizer(BASE)
    assert is_wordwise(tokenizer)
    assert tokenizer.encode("LETTER aa").tokens == ["letter", "a", "##a"]
