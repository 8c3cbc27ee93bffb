"""One model at two providers: two experts that share what is predicted of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert, Library, Router
from tryage.core.request import estimate_tokens
from tryage.errors import LibraryError
from tryage.perception.base import DeduplicatedPerception
from tryage.testing import FixedPerception, LearningPerception

ALONE = Library(["one", Expert("two", input_price=1)])


def test_twins_share_a_prediction_and_are_told_apart_by_their_facts():
    perception = FixedPerception({"two": 0.2, "one": 0.4})
    twins = DeduplicatedPerception(perception, ALONE, {"again": "two"})
    assert twins.experts == ("one", "two", "again")
    np.testing.assert_allclose(twins.predict(["a", "b"]).losses, [[0.4, 0.2, 0.2]] * 2)
    library = Library(["one", Expert("two", input_price=9), Expert("again", input_price=1)])
    router = Router(twins, library)
    assert [ranked.name for ranked in router.route("a").ranking] == ["two", "again", "one"]
    assert len(perception.calls) == 2


def test_twins_share_the_length_of_an_answer_where_one_is_forecast():
    class Forecasting(FixedPerception):
        def predict(self, prompts):
            tokens = np.tile(np.float32([7, 9]), (len(prompts), 1))
            return replace(super().predict(prompts), output_tokens=tokens)

    twins = DeduplicatedPerception(Forecasting({"two": 0.2, "one": 0.4}), ALONE, {"again": "two"})
    assert twins.predict(["a", "b"]).output_tokens.tolist() == [[9, 7, 7]] * 2
    assert (
        DeduplicatedPerception(FixedPerception({"one": 0.1}), Library(["one"]), {})
        .predict(["a"])
        .output_tokens
        is None
    )


def test_a_twin_of_a_stranger_gets_the_same_guess():
    twins = DeduplicatedPerception(LearningPerception({"one": 0.1}), ALONE, {"again": "two"})
    np.testing.assert_allclose(twins.predict(["a"]).losses, [[0.1, 0.5, 0.5]])
    assert twins.count_tokens(["three words here"]).tolist() == [3]


def test_a_wrapper_keeps_what_the_other_perception_offers():
    twins = DeduplicatedPerception(
        LearningPerception({"one": 0.1, "two": 0.4}), ALONE, {"again": "two"}
    )
    assert twins.prior() == (0.5, 0.5)
    wider = twins.for_library(Library(["again", "new", "one"]))
    np.testing.assert_allclose(wider.predict(["a"]).losses, [[0.4, 0.5, 0.1]])
    twins.observe("a", "again", 0.8)
    np.testing.assert_allclose(twins.predict(["a"]).losses, [[0.1, 0.6, 0.6]])
    grown = twins.onboard(Expert("new"), {"p": 0.3})
    assert grown.experts == ("one", "two", "new", "again")
    taught = twins.onboard(Expert("again"), {"p": 0.3})
    np.testing.assert_allclose(taught.predict(["b"]).losses, [[0.1, 0.3, 0.3]])


def test_a_twin_of_nobody_is_refused():
    with pytest.raises(LibraryError, match="nobody"):
        DeduplicatedPerception(
            FixedPerception({"one": 0.1, "two": 0.2}), ALONE, {"again": "nobody"}
        )


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("日本", 2), ("\ud800", 1)]
)
def test_without_a_tokenizer_four_bytes_are_a_token(text, tokens):
    assert estimate_tokens(text) == tokens
