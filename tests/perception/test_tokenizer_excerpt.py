"""The part of a long prompt that is read."""

from __future__ import annotations

import pytest

from tryage.perception.tokenizer import MAX_BYTES, excerpt


@pytest.mark.parametrize("letter", ["a", "é", "天", "😀", "\ud800"])
def test_a_prompt_up_to_the_limit_is_read_whole(letter):
    prompt = letter * (MAX_BYTES // len(letter.encode(errors="replace")))
    assert excerpt(prompt) is prompt
    assert excerpt(prompt + letter) != prompt + letter


@pytest.mark.parametrize("filler", ["0", "天"])
@pytest.mark.parametrize("length", [MAX_BYTES + 1, 1_000_000])
def test_of_a_longer_prompt_the_two_ends_are_read(filler, length):
    read = excerpt("The task. " + filler * length + " The question")
    assert MAX_BYTES - 8 <= len(read.encode()) <= MAX_BYTES
    assert read.startswith("The task. " + filler)
    assert read.endswith(filler + " The question")


def test_the_two_ends_are_apart():
    assert "a b" in excerpt("a" * MAX_BYTES + "b" * MAX_BYTES)


def test_a_cut_leaves_no_broken_character():
    for shift in range(4):
        assert set(excerpt("x" * shift + "😀" * MAX_BYTES)) <= {"x", "😀", " "}


@pytest.mark.parametrize("text", ["words " * MAX_BYTES, "天气" * MAX_BYTES, "\ud800" * 9_000])
def test_the_excerpt_of_an_excerpt_is_itself(text):
    once = excerpt(text)
    assert excerpt(once) is once
