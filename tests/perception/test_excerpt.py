"""The part of a long prompt that is read."""

from __future__ import annotations

import pytest

from tryage.perception.excerpt import MAX_CHARACTERS, excerpt


@pytest.mark.parametrize("length", [0, 1, MAX_CHARACTERS])
def test_a_prompt_up_to_the_limit_is_read_whole(length):
    prompt = "ab"[length % 2] * length
    assert excerpt(prompt) is prompt


@pytest.mark.parametrize("length", [MAX_CHARACTERS + 1, 1_000_000])
def test_of_a_longer_prompt_the_two_ends_are_read(length):
    prompt = "The task. " + "0" * (length - 23) + " The question"
    read = excerpt(prompt)
    assert len(read) == MAX_CHARACTERS
    assert read.startswith("The task. 0")
    assert read.endswith("0 The question")


def test_the_two_ends_are_apart():
    assert "a b" in excerpt("a" * MAX_CHARACTERS + "b" * MAX_CHARACTERS)


def test_the_excerpt_of_an_excerpt_is_itself():
    once = excerpt("words " * MAX_CHARACTERS)
    assert excerpt(once) is once
