"""Form and offer of a prompt: any string is described, in bounded numbers and bounded time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.learning.training.estimators import fit_feature_extractor
from tryage.perception import features as surface_module
from tryage.perception.features import (
    MAX_CHARS_PER_END,
    TOOL_SCHEMA_WIDTH,
    FeatureScaler,
    head_and_tail_text,
    surface_features,
    tool_schema_features,
)
from tryage.perception.features import SURFACE_WIDTH as WIDTH

FUNCTIONS = [
    {
        "name": "weather_forecast",
        "description": "Tell the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    }
]


def offered(request, functions=FUNCTIONS):
    return f"{request}\n\n{json.dumps(functions)}"


@given(st.lists(st.text(alphabet=st.characters()), max_size=3))
def test_any_strings_are_described_by_finite_numbers(prompts):
    for describe, width in ((surface_features, WIDTH), (tool_schema_features, TOOL_SCHEMA_WIDTH)):
        numbers = describe(prompts)
        assert numbers.shape == (len(prompts), width)
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("text", ["", "\ud800", "日本語", "🙂" * 9, "\n{", "\n[" * 9_000])
def test_odd_prompts_are_described(text):
    assert np.isfinite(surface_features([text])).all()
    assert np.isfinite(tool_schema_features([text])).all()


def test_of_an_endless_prompt_only_the_ends_are_read():
    prompt = "a" * MAX_CHARS_PER_END + "0{" * 500_000 + "b" * MAX_CHARS_PER_END
    assert head_and_tail_text(prompt) == "a" * MAX_CHARS_PER_END + "b" * MAX_CHARS_PER_END
    short = surface_features([head_and_tail_text(prompt)])
    long = surface_features([prompt])
    np.testing.assert_array_equal(long[:, 1:], short[:, 1:])
    assert long[0, 0] == pytest.approx(np.log(len(prompt) + 1))
    assert head_and_tail_text("a" * 2 * MAX_CHARS_PER_END) == "a" * 2 * MAX_CHARS_PER_END


def test_patterns_never_see_more_than_the_two_ends(monkeypatch):
    read = []

    class Pattern:
        def findall(self, text):
            read.append(len(text))
            return []

    monkeypatch.setattr(surface_module, "_CHARACTER_CLASSES", [Pattern()])
    surface_module._surface_row("x" * 1_000_000)
    assert read == [2 * MAX_CHARS_PER_END]


def test_digits_code_and_scripts_show_on_the_surface():
    plain, digits, code, chinese = surface_features(
        ["How are you?", "12345", "f(x) = {y};", "你好吗"]
    )
    shares = slice(-6, None)
    assert plain[3] == 1  # ends with a question mark
    assert digits[shares][0] > plain[shares][0]
    assert code[shares][1] > plain[shares][1]
    assert chinese[shares][4] > 0
    assert chinese[shares][5] > 0
    assert plain[shares][5] == 0


def test_a_prompt_that_offers_nothing_is_zeros():
    np.testing.assert_array_equal(
        tool_schema_features(["What is the weather?", "", "a [b] {c}"]), 0
    )


def test_a_request_that_shares_words_with_a_function_fits_it_better():
    fits, strange = tool_schema_features(
        [offered("Forecast the weather in Oslo"), offered("Prove a lemma")]
    )
    assert fits[0] == strange[0] == 1
    assert (fits[1:4] > strange[1:4]).all()


def test_the_required_values_are_counted():
    plain = [{"name": "weather_forecast", "parameters": {"type": "object"}}]
    with_two, with_none = tool_schema_features([offered("Oslo"), offered("Oslo", plain)])
    assert with_two[10] == pytest.approx(np.log1p(2))
    assert with_none[10] == 0


def test_a_request_with_more_numbers_than_values_asked_for_shows():
    one, many = tool_schema_features(
        [offered("In 3 days"), offered("In 3, 5, 7 and 9 days and 2 hours")]
    )
    assert many[-1] > one[-1]


def test_numbers_are_standardised_and_an_extreme_is_cut():
    form = FeatureScaler(np.float32([1.0]), np.float32([2.0]), scale=0.5)
    np.testing.assert_allclose(form.transform(np.float32([[5.0], [-1e9]])), [[1.0], [-2.0]])


def test_features_join_meaning_words_form_and_offer(encoder):
    prompts = ["sum word1 word2", "code word1", "poem word2?", offered("law word1"), "sum word2"]
    ids = encoder.token_ids(prompts)
    features = fit_feature_extractor(prompts, ids, encoder.vocabulary, tfidf_dim=3)
    x = features.extract(prompts, encoder.encode(prompts), ids)
    lexicon = features.tfidf.width
    assert x.shape == (5, encoder.dim + lexicon + WIDTH + TOOL_SCHEMA_WIDTH)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, : encoder.dim], encoder.encode(prompts))
    np.testing.assert_allclose(x[:, encoder.dim + lexicon :].mean(axis=0), 0, atol=1e-6)
    alone = features.extract(prompts[:1], encoder.encode(prompts[:1]), ids[:1])
    np.testing.assert_allclose(alone, x[:1], atol=1e-6)


def test_features_do_not_look_at_more_than_the_prompt(encoder):
    prompts = ["sum word1", "sum word2", "code word1", "code word2"]
    features = fit_feature_extractor(prompts, encoder.token_ids(prompts), encoder.vocabulary)
    endless = ["word1 " * 200_000, ""]
    x = features.extract(endless, encoder.encode(endless), encoder.token_ids(endless))
    assert np.isfinite(x).all()
    assert np.abs(x).max() <= 1.0 + 4 * 0.4
