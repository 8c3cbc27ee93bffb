"""Fitting features: TF-IDF and SVD as scikit-learn does them, and the usual ranges of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer

from tryage.learning.training.estimators import fit_feature_extractor, fit_tfidf_svd, form_ids
from tryage.perception.features import SURFACE_WIDTH, TOOL_SCHEMA_WIDTH
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

VOCABULARY = 30
SCHEMA = '\n\n[{"name": "f", "parameters": {"type": "object", "required": ["city"]}}]'
QUESTION = "Which sea is it?\nA. the Black Sea\nB. an ocean\nC. some lake\nAnswer:"


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
    tfidf = fit_tfidf_svd(ids, VOCABULARY, max_components=4, seed=0)
    rows = reference(ids, tfidf.token_ids)
    expected = TruncatedSVD(4, random_state=0).fit(rows).transform(rows)
    vectors = tfidf.transform(ids)
    signs = np.sign((vectors * expected).sum(axis=0))  # a singular vector has no sign of its own
    np.testing.assert_allclose(vectors * signs, expected, atol=1e-4)


def test_nearby_vectors_are_prompts_of_the_same_kind(ids):
    vectors = fit_tfidf_svd(ids, VOCABULARY, max_components=4, seed=0).transform(ids)
    kinds = np.arange(60) % 3
    distance = np.linalg.norm(vectors[:, None] - vectors, axis=2) + 9 * np.eye(60)
    assert (kinds[distance.argmin(axis=1)] == kinds).mean() > 0.9


def test_tokens_of_a_single_prompt_are_left_out():
    ids = [np.array([1, 2, 3 + i]) for i in range(4)] + [np.array([1]), np.array([2])]
    tfidf = fit_tfidf_svd(ids, VOCABULARY, max_components=4, seed=0)
    np.testing.assert_array_equal(tfidf.token_ids, [1, 2])


def test_a_token_that_every_prompt_has_says_nothing():
    ids = [np.array([0, 1 + i % 3, 1 + i % 2]) for i in range(12)]
    tfidf = fit_tfidf_svd(ids, VOCABULARY, max_components=2, seed=0)
    np.testing.assert_array_equal(tfidf.transform([np.array([0, 0])]), 0)


@pytest.mark.parametrize(
    "ids", [[np.array([i]) for i in range(5)], [np.array([1, 2])], [np.array([], np.int64)] * 5]
)
def test_prompts_that_share_no_words_give_empty_vectors(ids):
    tfidf = fit_tfidf_svd(ids, VOCABULARY, max_components=4, seed=0)
    assert tfidf.width == 0
    assert tfidf.transform([np.array([1, 2, 29])]).shape == (1, 0)


def test_the_same_seed_gives_the_same_projection(ids):
    one, two = (fit_tfidf_svd(ids, VOCABULARY, max_components=4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.projection, two.projection)


def extract(prompts, encoder):
    ids = encoder.token_ids(prompts)
    extractor = fit_feature_extractor(prompts, ids, encoder.vocabulary, tfidf_dim=3)
    return extractor, extractor.extract(prompts, encoder.encode(prompts), ids)


def test_numbers_of_the_training_prompts_have_a_mean_of_zero(encoder):
    prompts = ["sum word1 word2", "code word1", "poem word2?", "law word1" + SCHEMA, "sum word2"]
    extractor, x = extract(prompts, encoder)
    width = encoder.dim + extractor.tfidf.width
    assert x.shape == (5, width + SURFACE_WIDTH + TOOL_SCHEMA_WIDTH)
    np.testing.assert_array_equal(x[:, : encoder.dim], encoder.encode(prompts))
    np.testing.assert_allclose(x[:, width:].mean(axis=0), 0, atol=1e-6)


def test_options_are_described_only_if_training_prompts_had_some(encoder):
    without = [f"sum word{i}" for i in range(8)]
    extractor, x = extract(without, encoder)
    assert extractor.choice_scaler is None
    wider_extractor, wider = extract([*without, QUESTION], encoder)
    assert wider_extractor.choice_scaler is not None
    assert wider.shape[1] == x.shape[1] + 85
    np.testing.assert_allclose(wider[:, -85:].mean(axis=0), 0, atol=1e-6)


def test_options_that_fewer_than_one_prompt_in_a_hundred_has_are_not_described(encoder):
    prompts = [QUESTION, *(f"sum word{i}" for i in range(100))]
    assert extract(prompts, encoder)[0].choice_scaler is None


PLAIN = "Translate this letter to my aunt into French"


@pytest.fixture(scope="module")
def bundled_encoder():
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    return encoder.without_tokens(form_ids(encoder))


def describe(prompts, encoder, ignored):
    known = [PLAIN, *(f"Write a poem about word{i}, please!\n\nIt is short." for i in range(9))]
    extractor = fit_feature_extractor(
        known, encoder.token_ids(known), encoder.vocabulary, tfidf_dim=3, form_ids=ignored
    )
    return extractor.extract(prompts, encoder.encode(prompts), encoder.token_ids(prompts))


@pytest.mark.parametrize(
    "form",
    [
        "translate this letter to my aunt into french",
        "## Translate this letter to my aunt into French!!!",
        "**Translate this letter to my aunt into French.**",
        "\n\n   Translate this letter\n\nto my aunt into French ...",
        "TRANSLATE THIS LETTER TO MY AUNT INTO FRENCH?",
    ],
)
def test_without_form_a_prompt_in_another_form_has_the_same_features(bundled_encoder, form):
    x, other = describe([PLAIN, form], bundled_encoder, form_ids(bundled_encoder))
    np.testing.assert_allclose(other, x, atol=1e-6)
    x, other = describe([PLAIN, form], bundled_encoder, None)
    assert np.abs(other - x).max() > 0.01  # with form it is another prompt


def surface_of(prompts, encoder, ignored):
    return describe(prompts, encoder, ignored)[
        :, -SURFACE_WIDTH - TOOL_SCHEMA_WIDTH : -TOOL_SCHEMA_WIDTH
    ]


def test_without_form_digits_and_code_still_count(bundled_encoder):
    surface = surface_of(
        [PLAIN, "def f(x): return {x: 2026}"], bundled_encoder, form_ids(bundled_encoder)
    )
    assert np.abs(surface[1] - surface[0]).max() > 0.1


CHINESE, RUSSIAN = "\u7ffb\u8bd1\u8fd9\u5c01\u4fe1", "\u043f\u0435\u0440\u0435\u0432\u043e\u0434"


@pytest.mark.parametrize("translation", [CHINESE, RUSSIAN])
def test_without_form_the_script_of_a_translation_does_not_count(bundled_encoder, translation):
    surface = surface_of([PLAIN, translation], bundled_encoder, form_ids(bundled_encoder))
    np.testing.assert_array_equal(surface[1], surface[0])
    surface = surface_of([PLAIN, translation], bundled_encoder, None)
    assert np.abs(surface[1] - surface[0]).max() > 0.1


def test_ignored_tokens_have_no_tf_idf_weight(ids):
    tfidf = fit_tfidf_svd(ids, VOCABULARY, max_components=4, seed=0, ignored_ids=np.array([3, 7]))
    assert not {3, 7} & set(tfidf.token_ids.tolist())
    assert {3, 7} <= set(fit_tfidf_svd(ids, VOCABULARY, 4, 0).token_ids.tolist())
