"""A name tells the family and the variants of a model, in any spelling."""

from __future__ import annotations

import pytest

from tryage.perception.metadata import VARIANTS, combine_variants, parse_family, parse_name


@pytest.mark.parametrize(
    ("name", "series", "generation"),
    [
        ("Meta-Llama-3-70B", "llama", "llama-3"),
        ("Llama-2-7b-hf", "llama", "llama-2"),
        ("Llama-7b", "llama", "llama"),
        ("llama-13b", "llama", "llama"),
        ("Llama-3_1-Nemotron-51B-Instruct", "llama", "llama-3"),
        ("llama3.1:8b", "llama", "llama-3.1"),
        ("Qwen2.5-0.5B-Instruct-GGUF", "qwen", "qwen-2.5"),
        ("qwen-72b", "qwen", "qwen"),
        ("Mixtral-8x7B-Instruct-v0.1", "mixtral", "mixtral"),
        ("vicuna-7b-v1.5", "vicuna", "vicuna"),
        ("gpt-3.5-turbo-0125", "gpt", "gpt-3.5"),
        ("gpt-4-0314", "gpt", "gpt-4"),
        ("Yi-1.5-34B-Chat", "yi", "yi-1.5"),
        ("starcoder2-7b", "starcoder", "starcoder-2"),
        ("o1-mini", "o1", "o1"),
        ("yield-curve", "", ""),
        ("optimum-7b", "", ""),
        ("7b", "", ""),
        ("", "", ""),
        ("模型-llama_2", "llama", "llama-2"),
        ("-" * 10_000, "", ""),
    ],
)
def test_the_family_is_the_first_series_with_its_version_but_no_size(name, series, generation):
    assert parse_family(parse_name(name)) == (series, generation)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma-2-9b-it", {"instruct"}),
        ("Yi-34B-Chat-4bit", {"instruct", "quantized"}),
        ("Marcoro14-7B-slerp-dpo", {"merge", "preference"}),
        ("DeepSeek-R1-Distill", {"reasoning"}),
        ("StarCoder2", {"code"}),
        ("Qwen2.5-Math-7B-GPTQ", {"mathematics", "quantized"}),
        ("italian-llama", set()),
        ("bitter-lesson", set()),
        ("mode-7b", set()),
    ],
)
def test_variants_are_whole_words_or_beginnings_of_words(name, expected):
    found = combine_variants(parse_name(name))
    assert {variant for i, variant in enumerate(VARIANTS) if found >> i & 1} == expected
