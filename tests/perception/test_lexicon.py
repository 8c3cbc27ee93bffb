"""The lexicon is TF-IDF and a truncated singular value decomposition, as scikit-learn does them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer

from tryage.learning.training.estimators import fit_tfidf_svd
from tryage.perception.features import _unique_counts

VOCABULARY = 30


@pytest.fixture
def ids():
    rng = np.random.default_rng(0)
    popular = rng.dirichlet(np.full(VOCABULARY, 0.3), size=3)  # three kinds of prompts
    return [rng.choice(VOCABULARY, 25, p=popular[i % 3]) for i in range(60)]


def reference(ids, tokens):
    """scikit-learn's rows, with its idf less the one that it adds to every token's."""
    counts = np.array([np.bincount(prompt, minlength=VOCABULARY) for prompt in ids])
    tfidf = TfidfTransformer(sublinear_tf=True).fit(csr_matrix(counts))
    tfidf.idf_ -= 1
    rows = tfidf.transform(csr_matrix(counts)).toarray()[:, tokens]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_are_the_decomposition_of_tf_idf_rows(ids):
    lexicon = fit_tfidf_svd(ids, VOCABULARY, width=4, seed=0)
    rows = reference(ids, lexicon.token_ids)
    expected = TruncatedSVD(4, random_state=0).fit(rows).transform(rows)
    vectors = lexicon.transform(ids)
    signs = np.sign((vectors * expected).sum(axis=0))  # a singular vector has no sign of its own
    np.testing.assert_allclose(vectors * signs, expected, atol=1e-4)


def test_nearby_vectors_are_prompts_of_the_same_kind(ids):
    vectors = fit_tfidf_svd(ids, VOCABULARY, width=4, seed=0).transform(ids)
    kinds = np.arange(60) % 3
    distance = np.linalg.norm(vectors[:, None] - vectors, axis=2) + 9 * np.eye(60)
    assert (kinds[distance.argmin(axis=1)] == kinds).mean() > 0.9


def test_tokens_of_a_single_prompt_are_left_out():
    ids = [np.array([1, 2, 3 + i]) for i in range(4)] + [np.array([1]), np.array([2])]
    lexicon = fit_tfidf_svd(ids, VOCABULARY, width=4, seed=0)
    np.testing.assert_array_equal(lexicon.token_ids, [1, 2])


def test_a_prompt_without_a_known_token_is_zeros(ids):
    lexicon = fit_tfidf_svd(ids, VOCABULARY, width=4, seed=0)
    strange = [np.array([], np.int64), np.array([VOCABULARY + 5, VOCABULARY + 9])]
    np.testing.assert_array_equal(lexicon.transform(strange), 0)
    assert lexicon.transform([]).shape == (0, 4)


def test_a_token_that_every_prompt_has_says_nothing_even_alone():
    ids = [np.array([0, 1 + i % 3, 1 + i % 2]) for i in range(12)]
    lexicon = fit_tfidf_svd(ids, VOCABULARY, width=2, seed=0)
    np.testing.assert_array_equal(lexicon.transform([np.array([0, 0])]), 0)


def test_unknown_tokens_do_not_change_a_vector(ids):
    lexicon = fit_tfidf_svd(ids, VOCABULARY, width=4, seed=0)
    known = ids[0]
    more = np.append(known, [VOCABULARY + 1] * 50)
    np.testing.assert_allclose(lexicon.transform([more]), lexicon.transform([known]))


@pytest.mark.parametrize("tokens", [[], [7], [7, 7, 7], [3, 9, 3, 0, 9, 3]])
def test_tokens_are_counted_as_numpy_counts_them(tokens):
    expected = np.unique(np.array(tokens, np.int32), return_counts=True)
    for ours, theirs in zip(_unique_counts(np.array(tokens, np.int32)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "ids", [[np.array([i]) for i in range(5)], [np.array([1, 2])], [np.array([], np.int64)] * 5]
)
def test_prompts_that_share_no_words_give_an_empty_lexicon(ids):
    lexicon = fit_tfidf_svd(ids, VOCABULARY, width=4, seed=0)
    assert lexicon.width == 0
    assert lexicon.transform([np.array([1, 2, 29])]).shape == (1, 0)


def test_the_lexicon_is_the_same_for_the_same_seed(ids):
    one, two = (fit_tfidf_svd(ids, VOCABULARY, width=4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.projection, two.projection)
