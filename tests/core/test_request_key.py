"""Digests tell requests apart, whatever is in them."""

from __future__ import annotations

import pytest

from tryage.core.request_key import RequestKey, digest


def test_equal_prompts_have_equal_keys_without_their_text() -> None:
    key = RequestKey.of_prompt("a secret")
    assert key == RequestKey.of_prompt("a secret")
    assert "secret" not in repr(key)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a"], ["a", ""]),
        ([], [""]),
        (["1"], ["2"]),
        ([1], ["one"]),
        (["\ud800"], ["\udfff"]),
    ],
)
def test_other_parts_have_another_digest(one, other) -> None:
    assert digest(one) != digest(other)


def test_prompts_that_are_sent_alone_differ_in_their_words_only() -> None:
    one, other = RequestKey.of_prompt("a"), RequestKey.of_prompt("b")
    assert one.whole != other.whole
    assert one.rest == other.rest
