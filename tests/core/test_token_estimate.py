"""The estimate of tokens without a tokenizer."""

from __future__ import annotations

import pytest

from tryage.core import request
from tryage.core.token_estimate import estimate_tokens


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("日本", 2), ("\ud800", 1)]
)
def test_four_bytes_are_estimated_as_one_token(text, tokens):
    assert estimate_tokens(text) == tokens


def test_the_estimate_is_importable_from_its_former_place():
    assert request.estimate_tokens is estimate_tokens
