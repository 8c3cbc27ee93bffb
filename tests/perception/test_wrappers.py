"""Wrappers of a perception: columns in library order, and experts that are the same model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import LibraryError, PerceptionError
from tryage.perception.tokenizer import MAX_BYTES, excerpt
from tryage.perception.wrappers import AlignedPerception, DeduplicatedPerception, match_columns
from tryage.testing import FixedPerception, LearningPerception

MODELS = Library(["one", Expert("two", input_price=1)])


def test_duplicates_share_a_prediction_but_keep_their_own_facts():
    wrapped = FixedPerception({"two": 0.2, "one": 0.4})
    perception = DeduplicatedPerception(wrapped, MODELS, {"duplicate": "two"})
    assert perception.experts == ("one", "two", "duplicate")
    np.testing.assert_allclose(perception.predict(["a", "b"]).losses, [[0.4, 0.2, 0.2]] * 2)
    prices = {"two": 9, "duplicate": 1}
    priced = [Expert(name, input_price=usd, output_price=0) for name, usd in prices.items()]
    library = Library(["one", *priced])
    router = Router(perception, library)
    by_loss = router.route("a", Preferences({"cost": 0})).ranking
    assert [ranked.name for ranked in by_loss] == ["two", "duplicate", "one"]
    by_cost = router.route("a", Preferences({"cost": 0.1})).ranking
    assert [ranked.name for ranked in by_cost] == ["duplicate", "two", "one"]
    assert len(wrapped.calls) == 3


def test_duplicates_share_a_forecast_answer_length():
    class Forecasting(FixedPerception):
        def predict(self, prompts):
            tokens = np.tile(np.float32([7, 9]), (len(prompts), 1))
            return replace(super().predict(prompts), output_tokens=tokens)

    perception = DeduplicatedPerception(
        Forecasting({"two": 0.2, "one": 0.4}), MODELS, {"duplicate": "two"}
    )
    assert perception.predict(["a", "b"]).output_tokens.tolist() == [[9, 7, 7]] * 2
    assert (
        DeduplicatedPerception(FixedPerception({"one": 0.1}), Library(["one"]), {})
        .predict(["a"])
        .output_tokens
        is None
    )


def test_a_duplicate_of_an_unseen_model_gets_the_same_prior():
    perception = DeduplicatedPerception(
        LearningPerception({"one": 0.1}), MODELS, {"duplicate": "two"}
    )
    np.testing.assert_allclose(perception.predict(["a"]).losses, [[0.1, 0.5, 0.5]])
    assert perception.count_tokens(["three words here"]).tolist() == [3]


def test_a_wrapper_keeps_what_the_other_perception_offers():
    perception = DeduplicatedPerception(
        LearningPerception({"one": 0.1, "two": 0.4}), MODELS, {"duplicate": "two"}
    )
    assert perception.prior() == (0.5, 0.5)
    assert perception.loss_range() == (0.0, 1.0)
    for_library = perception.for_library(Library(["duplicate", "new", "one"]))
    np.testing.assert_allclose(for_library.predict(["a"]).losses, [[0.4, 0.5, 0.1]])
    perception.observe("a", "duplicate", 0.8)
    np.testing.assert_allclose(perception.predict(["a"]).losses, [[0.1, 0.6, 0.6]])
    extended = perception.onboard(Expert("new"), {"p": 0.3})
    assert extended.experts == ("one", "two", "new", "duplicate")
    updated = perception.onboard(Expert("duplicate"), {"p": 0.3})
    np.testing.assert_allclose(updated.predict(["b"]).losses, [[0.1, 0.3, 0.3]])


def test_a_duplicate_of_an_unknown_model_is_refused():
    with pytest.raises(LibraryError, match="unknown"):
        DeduplicatedPerception(
            FixedPerception({"one": 0.1, "two": 0.2}), MODELS, {"duplicate": "unknown"}
        )


def test_the_columns_are_matched_by_name_before_alias():
    library = Library([Expert("a", aliases=["b"]), Expert("c"), "d"])
    assert match_columns(("b", "a", "C"), library).tolist() == [1, 2, -1]


def test_columns_are_put_in_library_order():
    perception = FixedPerception({"one": 0.1, "two": 0.2, "three": 0.3})
    aligned = AlignedPerception(perception, Library(["three", "one"]))
    assert aligned.experts == ("three", "one")
    np.testing.assert_allclose(aligned.predict(["x"]).losses, [[0.3, 0.1]])


def test_an_unseen_expert_without_a_prior_is_refused():
    with pytest.raises(PerceptionError, match=r"never seen 1 of 2 experts \(new\)"):
        AlignedPerception(FixedPerception({"a": 0.1}), Library(["a", "new"]))


def test_tokens_of_a_very_long_prompt_are_extrapolated():
    aligned = AlignedPerception(LearningPerception({"a": 0.1}), Library(["a"]))
    assert aligned.count_tokens(["one two", "words " * 170_000]).tolist() == pytest.approx(
        [2, 170_000], rel=1e-3
    )


def test_the_middle_of_a_long_prompt_counts_as_what_it_is():
    words, base64 = "word " * 4_000, "ab3Xz9Qw7T" * 8_000
    aligned = AlignedPerception(LearningPerception({"a": 0.1}), Library(["a"]))
    count = aligned.count_tokens([words + base64 + words])[0]
    assert count == pytest.approx(estimate_tokens(words + base64 + words), rel=0.2)


def test_a_perception_never_counts_more_than_an_excerpt():
    class Counting(FixedPerception):
        def count_tokens(self, prompts):
            return np.array([len(prompt) for prompt in prompts])

    aligned = AlignedPerception(Counting({"a": 0.1}), Library(["a"]))
    prompt = "word " * 4_000
    assert aligned.count_tokens([prompt])[0] == pytest.approx(len(prompt), rel=0.01)
    assert Counting({"a": 0.1}).count_tokens([excerpt(prompt)])[0] <= MAX_BYTES


def test_without_a_tokenizer_tokens_are_estimated():
    aligned = AlignedPerception(FixedPerception({"a": 0.1}), Library(["a"]))
    assert aligned.count_tokens(["", "two words"]).tolist() == [0, 2]


class PositionedPerception(FixedPerception):
    """Knows how uncertain its experts are everywhere, as one with an ability space does."""

    def ability_std_at(self, positions):
        return np.tile(np.float32([0.1, 0.2]), (len(positions), 1))

    def prior(self):
        return 0.5, 0.4


def test_the_std_of_abilities_is_in_library_order_and_an_unseen_expert_has_that_of_the_prior():
    perception = PositionedPerception({"a": 0.1, "b": 0.2})
    positions = np.zeros((3, 2))
    reordered = AlignedPerception(perception, Library(["b", "a"]))
    np.testing.assert_allclose(reordered.ability_std_at(positions), [[0.2, 0.1]] * 3)
    unseen = AlignedPerception(perception, Library(["a", "new", "b"]))
    np.testing.assert_allclose(unseen.ability_std_at(positions), [[0.1, 0.4, 0.2]] * 3)
    fixed = AlignedPerception(FixedPerception({"a": 0.1}), Library(["a"]))
    assert fixed.ability_std_at(positions) is None
