"""Which requests count as the same, and thresholds that hold what they promise."""

# ruff: noqa: RUF001 - a test is in Russian

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from tryage.errors import InputError
from tryage.policies import SimilarRequests
from tryage.policies.similar_requests import (
    VectorIndex,
    fewest_hits,
    fit_threshold,
    may_be_same,
    pair_similarities,
)


def encode(texts):
    """Return counts of letters: equal letters, equal vectors."""
    return np.array([[text.lower().count(c) for c in "abcdefghij"] for text in texts], np.float32)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Add 3 and 4.", "Please add 3 and 4", True),
        ("Add 3 and 4.", "Add 3 and 5.", False),
        ("It costs 1,200 USD", "It costs 1.200 USD", False),
        ("What is the capital of France?", "What is the capital of Italy?", False),
        ("Say the capital of France to me", "Say the capital of Italy to me", False),
        ("The capital of France?", "Hi! What's the capital of France, please?", True),
        ("What is a good example?", "what's a good exmaple", True),
        ("The car was in a good mood", "The car wasn't in a good mood", False),
        ("He does like the tea", "He doesn't like the tea", False),
        ("He does not like the tea", "He doesn't like the tea", True),
        ("Расскажи о городе Москва сейчас", "Расскажи о городе Минск сейчас", False),
        ("Расскажи о погоде", "Какая будет погода", True),
        ("", "", True),
        ("a b " * 1_500, "a b " * 1_500 + "c", False),
    ],
)
def test_another_number_or_word_among_common_ones_is_another_request(one, other, same) -> None:
    assert may_be_same(one, other) is same
    assert may_be_same(other, one) is same


def test_pairs_with_other_numbers_are_never_similar() -> None:
    pairs = [("abc 1", "abc 1"), ("abc 1", "abc 2")]
    assert pair_similarities(encode, pairs) == pytest.approx([1.0, 0.0])


def test_299_hits_are_needed_for_one_percent_at_95_percent() -> None:
    assert fewest_hits(0.01, 0.95) == 299
    same = np.ones(299, bool)
    similarities = np.linspace(0.9, 1.0, 299)
    assert fit_threshold(similarities, same, 0.01, 0.95) == pytest.approx(0.9)
    assert fit_threshold(similarities[1:], same[1:], 0.01, 0.95) is None


def test_a_threshold_passes_as_the_bound_of_clopper_and_pearson_says() -> None:
    similarities = np.linspace(1.0, 0.5, 1_000)
    for false_hits in range(12):
        same = np.ones(1_000, bool)
        same[400 : 400 + false_hits] = False
        chosen = fit_threshold(similarities, same, 0.01, 0.95)
        hits = int((similarities >= chosen).sum())
        false = int((~same[:hits]).sum())
        assert beta.ppf(0.95, false + 1, hits - false) <= 0.01
    assert hits < 1_000


def test_a_threshold_breaks_its_promise_in_no_more_than_five_percent_of_calibrations() -> None:
    rng, broken, chosen_ones = np.random.default_rng(0), 0, 0
    for _ in range(400):
        similarities = rng.random(2_000)
        risk = 0.08 * (1 - similarities) ** 3  # of a false hit, at this similarity
        same = rng.random(2_000) > risk
        threshold = fit_threshold(similarities, same, 0.01, 0.95)
        if threshold is not None:
            chosen_ones += 1
            broken += 0.08 * (1 - threshold) ** 3 / 4 > 0.01  # the mean risk of all hits
    assert chosen_ones > 300
    assert broken <= 0.05 * 400


def test_equal_similarities_are_hits_together() -> None:
    similarities = np.full(1_000, 0.8)
    same = np.ones(1_000, bool)
    same[500:600] = False
    assert fit_threshold(similarities, same, 0.01, 0.95) is None


def test_calibration_is_refused_with_the_number_of_pairs_that_it_needs() -> None:
    with pytest.raises(InputError, match="at least 299 pairs that may be hits; there are 2"):
        SimilarRequests.calibrate(encode, [("abc", "abc")] * 2, [True] * 2)
    with pytest.raises(InputError, match="299 most similar ones, 299 have other answers"):
        SimilarRequests.calibrate(encode, [("abc", "abc")] * 400, [False] * 400)
    with pytest.raises(InputError, match="1 labels for 2 pairs"):
        SimilarRequests.calibrate(encode, [("abc", "abc")] * 2, [True])


def test_calibration_fits_a_threshold() -> None:
    pairs = [("abc", "cab")] * 300 + [("abc", "jjj")] * 300
    similar = SimilarRequests.calibrate(encode, pairs, [True] * 300 + [False] * 300)
    assert similar.threshold == pytest.approx(1.0)


def test_an_index_finds_the_closest_and_forgets_what_is_removed() -> None:
    rng, index = np.random.default_rng(0), VectorIndex()
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for i, vector in enumerate(vectors):
        index.add(i, vector)
    for i in range(0, 50, 3):
        index.discard(i)
    kept = [i for i in range(50) if i % 3]
    assert len(index) == len(kept)
    for query in vectors[:10]:
        expected = sorted(kept, key=lambda i: -float(vectors[i] @ query))
        found = index.nearest(query, -1.0)
        assert [key for key, _ in found] == expected
