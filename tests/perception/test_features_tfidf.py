"""Words of a prompt become the TF-IDF row of its known tokens, scaled to length 1 and projected."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tryage.perception.features import TfidfSvd

VOCABULARY = 30


@pytest.fixture
def tfidf():
    rng = np.random.default_rng(0)
    kept = np.arange(1, VOCABULARY, 2, dtype=np.int32)  # the odd tokens
    idf = rng.uniform(0.1, 2, len(kept)).astype(np.float32)
    idf[0] = 0  # every training prompt had token 1
    return TfidfSvd(kept, idf, rng.normal(size=(len(kept), 4)).astype(np.float32))


def reference(tfidf, ids):
    """Compute one vector in the plain way."""
    counts = np.bincount(ids, minlength=VOCABULARY)[tfidf.token_ids]
    row = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * tfidf.idf
    return row / np.linalg.norm(row) @ tfidf.projection


@pytest.mark.parametrize("ids", [[7], [7, 7, 7], [3, 9, 3, 5, 9, 3], [29, 2, 4, 29, 3, 0]])
def test_a_vector_is_the_projected_row_of_sublinear_counts_times_idf(tfidf, ids):
    found = tfidf.transform([np.array(ids)])
    np.testing.assert_allclose(found[0], reference(tfidf, np.array(ids)), atol=1e-6)
    assert found.dtype == np.float32


def test_prompts_of_a_batch_do_not_change_each_other(tfidf):
    ids = [np.array([3, 5]), np.array([], np.int64), np.array([5, 5, 7])]
    together = tfidf.transform(ids)
    for row, one in zip(together, ids, strict=True):
        np.testing.assert_array_equal(row, tfidf.transform([one])[0])


def test_a_prompt_without_a_known_token_is_zeros(tfidf):
    strange = [np.array([], np.int64), np.array([VOCABULARY + 5, VOCABULARY + 9]), np.array([0, 2])]
    np.testing.assert_array_equal(tfidf.transform(strange), 0)
    assert tfidf.transform([]).shape == (0, 4)


def test_a_token_that_every_training_prompt_had_says_nothing_even_alone(tfidf):
    np.testing.assert_array_equal(tfidf.transform([np.array([1, 1])]), 0)


def test_unknown_tokens_do_not_change_a_vector(tfidf):
    known = np.array([3, 5, 5])
    more = np.append(known, [VOCABULARY + 1] * 50)
    np.testing.assert_allclose(tfidf.transform([more]), tfidf.transform([known]))


def test_the_given_token_ids_stay_as_they_are(tfidf):
    ids = np.array([9, 3, 5], np.int32)
    tfidf.transform([ids])
    assert ids.tolist() == [9, 3, 5]


def test_without_known_tokens_vectors_are_empty():
    empty = TfidfSvd(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    assert empty.transform([np.array([1, 2, 29])]).shape == (1, 0)


def test_a_copy_has_the_same_vectors(tfidf):
    ids = [np.array([3, 5, 5, 29])]
    before = tfidf.transform(ids)
    copy = pickle.loads(pickle.dumps(tfidf))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copy.transform(ids), before)
