"""Surface and tool schemas: any string becomes finite numbers, in bounded time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.perception.features import (
    SURFACE_WIDTH,
    TOOL_SCHEMA_WIDTH,
    FeatureExtractor,
    FeatureScaler,
    TfidfSvd,
    surface_features,
    tool_schema_features,
)
from tryage.perception.tokenizer import MAX_BYTES, excerpt

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


def with_functions(request, functions=FUNCTIONS):
    return f"{request}\n\n{json.dumps(functions)}"


@given(st.lists(st.text(alphabet=st.characters()), max_size=3))
def test_any_strings_are_described_by_finite_numbers(prompts):
    for describe, width in (
        (surface_features, SURFACE_WIDTH),
        (tool_schema_features, TOOL_SCHEMA_WIDTH),
    ):
        numbers = describe(prompts)
        assert numbers.shape == (len(prompts), width)
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("text", ["", "\ud800", "日本語", "🙂" * 9, "\n{", "\n[" * 9_000])
def test_odd_prompts_are_described(text):
    assert np.isfinite(surface_features([text])).all()
    assert np.isfinite(tool_schema_features([text])).all()


# Long prompts


def test_only_the_excerpt_of_a_long_prompt_is_described():
    prompt = "a" * MAX_BYTES + "0{" * 500_000 + "b" * MAX_BYTES
    short, long = surface_features([excerpt(prompt), prompt])
    np.testing.assert_array_equal(long[1:], short[1:])
    assert long[0] == pytest.approx(np.log(len(prompt) + 1))  # but for its length


# Surface


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


# Tool schemas


def test_a_prompt_without_functions_is_zeros():
    np.testing.assert_array_equal(
        tool_schema_features(["What is the weather?", "", "a [b] {c}"]), 0
    )


def test_a_request_that_shares_words_with_a_function_fits_it_better():
    fitting, other = tool_schema_features(
        [with_functions("Forecast the weather in Oslo"), with_functions("Prove a lemma")]
    )
    assert fitting[0] == other[0] == 1
    assert (fitting[1:4] > other[1:4]).all()


def test_the_required_values_are_counted():
    plain = [{"name": "weather_forecast", "parameters": {"type": "object"}}]
    with_two, with_none = tool_schema_features(
        [with_functions("Oslo"), with_functions("Oslo", plain)]
    )
    assert with_two[10] == pytest.approx(np.log1p(2))
    assert with_none[10] == 0


def test_a_request_with_more_numbers_than_required_values_shows():
    one, many = tool_schema_features(
        [with_functions("In 3 days"), with_functions("In 3, 5, 7 and 9 days and 2 hours")]
    )
    assert many[-1] > one[-1]


# Scaling and joining


def test_numbers_are_standardized_and_an_extreme_one_is_clipped():
    scaler = FeatureScaler(np.float32([1.0]), np.float32([2.0]), scale=0.5)
    np.testing.assert_allclose(scaler.transform(np.float32([[5.0], [-1e9]])), [[1.0], [-2.0]])


@pytest.fixture
def extractor():
    """An extractor whose TF-IDF knows two tokens."""
    tfidf = TfidfSvd(np.int32([1, 2]), np.float32([1, 2]), np.float32([[1, 0, 0], [0, 1, 0]]))
    unit = [
        FeatureScaler(np.zeros(width, np.float32), np.ones(width, np.float32), 0.1)
        for width in (SURFACE_WIDTH, TOOL_SCHEMA_WIDTH)
    ]
    return FeatureExtractor(tfidf, *unit)


def test_features_are_embedding_words_surface_and_tool_schemas(encoder, extractor):
    prompts = ["sum word1 word2", "code word1", with_functions("law word1"), ""]
    ids, embeddings = encoder.token_ids(prompts), encoder.encode(prompts)
    x = extractor.extract(prompts, embeddings, ids)
    expected = [
        embeddings,
        extractor.tfidf.transform(ids),
        extractor.surface_scaler.transform(surface_features(prompts)),
        extractor.tool_schema_scaler.transform(tool_schema_features(prompts)),
    ]
    np.testing.assert_array_equal(x, np.concatenate(expected, axis=1))
    assert x.dtype == np.float32


def test_the_features_of_a_prompt_do_not_depend_on_the_others(encoder, extractor):
    prompts = ["sum word1 word2", "code word1", with_functions("law word1"), "word1 " * 200_000]
    together = extractor.extract(prompts, encoder.encode(prompts), encoder.token_ids(prompts))
    for row, prompt in enumerate(prompts):
        alone = extractor.extract([prompt], encoder.encode([prompt]), encoder.token_ids([prompt]))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)
    assert np.isfinite(together).all()
    assert np.abs(together[:, -SURFACE_WIDTH - TOOL_SCHEMA_WIDTH :]).max() <= 4 * 0.1 + 1e-6
