"""The index finds shared words, weighs rare ones more, and knows which part of a query it knows."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.tools import Tool
from tryage.tools.bm25 import (
    N_LEXICAL_FEATURES,
    BM25Index,
    DenseWordScores,
    SparseWordScores,
    stem_tokens,
)
from tryage.tools.matching import split_clauses

BOX = [
    Tool("weather", "weather of a city"),
    Tool("stock_price", "price of a share"),
    Tool("city_map", "map of a city"),
]


def test_bm25_is_as_worked_by_hand():
    (_, told, _) = BM25Index([Tool("a1", "cat"), Tool("b1", "dog dog")])("dog").T
    # stems: "a1" is split into nothing longer than a letter and a digit, so lengths are 1 and 2
    idf = np.log1p((2 - 1 + 0.5) / (1 + 0.5))
    fair = 1.2 * (1 - 0.6 + 0.6 * 2 / 1.5)
    assert told == pytest.approx([0, idf * 2 * 2.2 / (2 + fair) / 20], abs=1e-6)


def test_a_rare_word_tells_more_than_a_common_one():
    index = BM25Index(BOX)
    assert index("weather")[0, 1] > index("city")[0, 1] > 0


def test_names_count_by_themselves():
    named = BM25Index(BOX)("the stock price")[:, 2]
    assert named == pytest.approx([0, 1, 0])


def test_words_that_no_tool_has_lower_the_share_that_is_known():
    index = BM25Index(BOX)
    assert index("weather")[0, 0] > index("weather zeppelin")[0, 0] > 0


@pytest.mark.parametrize("query", ["", "   ", "?!", "the of", "\ud83d\ude00", "zeppelin"])
def test_a_query_without_known_words_fits_nothing(query):
    found = BM25Index(BOX)(query)
    assert found.shape == (3, N_LEXICAL_FEATURES)
    assert not found.any()


def test_several_texts_are_described_as_one_after_the_other():
    index, texts = BM25Index(BOX), ["city weather", "", "the price of a map", "zeppelin"]
    for found, text in zip(index.features(texts), texts, strict=True):
        np.testing.assert_array_equal(found, index(text))


@pytest.mark.parametrize("kind", [DenseWordScores, SparseWordScores])
def test_what_words_give_is_added_up_by_row(kind):
    words, rows = np.array([2, 0, 0]), np.array([1, 1, 3])
    kept = kind(words, rows, np.array([0.5, 1.0, 4.0]), 3, 4)
    sums = kept.sums([[0, 2], [], [1], [2]])
    assert sums.tolist() == [[0, 1.5, 0, 4], [0] * 4, [0] * 4, [0, 0.5, 0, 0]]


def test_many_tools_are_described_as_few_are(monkeypatch):
    few = BM25Index(BOX)
    monkeypatch.setattr("tryage.tools.bm25._MAX_DENSE_SIZE", 0)
    many, texts = BM25Index(BOX), ["price of a city", ""]
    np.testing.assert_array_equal(many.features(texts), few.features(texts))


def test_stems_join_inflections_and_split_names():
    assert stem_tokens("calculateTax") == stem_tokens("calculating tax")
    assert stem_tokens("Größe") == stem_tokens("größe")


def test_stems_are_the_same_whether_a_text_is_plain_or_not():
    plain = "send 10 e-mails to a1b2 user_name, the 7th of x"
    assert (
        stem_tokens(plain)
        == stem_tokens(f"{plain} …")
        == ["send", "10", "mails", "user", "name", "th"]
    )


def test_one_request_has_no_clauses():
    assert split_clauses("What is the weather in Rome?") == []


def test_a_request_for_several_things_has_a_clause_for_each():
    asked = "Book a flight to Rome, then send a mail to Ann and translate it into Greek."
    assert split_clauses(asked) == [
        "Book a flight to Rome",
        "send a mail to Ann",
        "translate it into Greek.",
    ]


def test_clauses_are_found_where_a_script_sets_no_spaces():
    asked = (
        "\u5e2e\u6211\u8ba2\u4e00\u5f20\u673a\u7968\uff0c\u518d\u7ed9\u5b89\u5a1c\u53d1\u90ae\u4ef6"
    )
    assert len(split_clauses(asked)) == 2


def test_an_endless_request_has_a_bounded_number_of_clauses():
    assert len(split_clauses("do this thing now. " * 10_000)) == 16
