"""The index finds shared words, weighs rare ones more, and says how much of a query it knows."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.tools import Tool
from tryage.tools.bm25 import N_LEXICAL_FEATURES, BM25Index, PostingLists, stem_tokens

TOOLS = [
    Tool("weather", "weather of a city"),
    Tool("stock_price", "price of a share"),
    Tool("city_map", "map of a city"),
]


def test_bm25_equals_the_formula_by_hand():
    (_, scores, _) = BM25Index([Tool("a1", "cat"), Tool("b1", "dog dog")])("dog").T
    # "a1" and "b1" are split into one letter and one digit, which are dropped: lengths are 1 and 2.
    idf = np.log1p((2 - 1 + 0.5) / (1 + 0.5))
    normalization = 1.2 * (1 - 0.6 + 0.6 * 2 / 1.5)
    assert scores == pytest.approx([0, idf * 2 * 2.2 / (2 + normalization) / 20], abs=1e-6)


def test_a_rare_word_scores_more_than_a_common_one():
    index = BM25Index(TOOLS)
    assert index("weather")[0, 1] > index("city")[0, 1] > 0


def test_the_third_feature_is_the_share_of_the_name():
    index = BM25Index(TOOLS)
    assert index("the stock price")[:, 2] == pytest.approx([0, 1, 0])
    assert 0 < index("the price")[1, 2] < 1


def test_words_that_no_tool_has_lower_the_known_share():
    index = BM25Index(TOOLS)
    assert index("weather")[0, 0] > index("weather zeppelin")[0, 0] > 0


@pytest.mark.parametrize("query", ["", "   ", "?!", "the of", "\ud83d\ude00", "zeppelin"])
def test_a_query_without_known_words_has_no_features(query):
    features = BM25Index(TOOLS)(query)
    assert features.shape == (3, N_LEXICAL_FEATURES)
    assert not features.any()


def test_several_texts_have_the_features_of_each_alone():
    index, texts = BM25Index(TOOLS), ["city weather", "", "the price of a map", "zeppelin"]
    for features, text in zip(index.features(texts), texts, strict=True):
        np.testing.assert_array_equal(features, index(text))


def test_an_index_of_one_tool_without_words_is_possible():
    assert BM25Index([Tool("a")])("a").tolist() == [[0, 0, 0]]


def test_scores_of_words_are_summed_by_row():
    words, rows = np.array([2, 0, 0]), np.array([1, 1, 3])
    postings = PostingLists(words, rows, np.array([0.5, 1.0, 4.0]), n_words=3, n_rows=4)
    sums = postings.sum_scores([[0, 2], [], [1], [2]])
    assert sums.tolist() == [[0, 1.5, 0, 4], [0] * 4, [0] * 4, [0, 0.5, 0, 0]]


def test_stems_join_inflected_forms_and_split_identifiers():
    assert stem_tokens("calculateTax") == stem_tokens("calculating tax")
    assert stem_tokens("Größe") == stem_tokens("größe")


def test_stems_of_ascii_text_are_those_of_any_text():
    text = "send 10 e-mails to a1b2 user_name, the 7th of x"
    expected = ["send", "10", "mails", "user", "name", "th"]
    assert stem_tokens(text) == stem_tokens(f"{text} …") == expected
