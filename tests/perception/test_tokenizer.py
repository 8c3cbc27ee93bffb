"""The tokenizer of an encoder: any text, bounded work, and no prompt in a pickle."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.perception.tokenizer import MAX_BYTES, PromptTokenizer, clean_prompts, head_and_tail

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "add", "list", "prove", "sum", "##s", "!")
TEXTS = ["a b c", "prove sums", "", "add list list list", "   ", "h"]


@pytest.fixture(scope="module")
def tokenizer(word_pieces):
    return word_pieces(WORDS)


@pytest.mark.parametrize("count", [1, 8, 9, 64, 65, 2_000])
def test_tokens_do_not_depend_on_the_size_of_the_batch(tokenizer, count):
    texts = [TEXTS[i % len(TEXTS)] for i in range(count)]
    found = PromptTokenizer(tokenizer).ids(texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids.tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_head_and_tail_keep_as_many_tokens_as_the_limit_says():
    assert head_and_tail(np.arange(10), 5).tolist() == [0, 1, 2, 8, 9]
    assert head_and_tail(np.arange(5), 5).tolist() == [0, 1, 2, 3, 4]
    assert head_and_tail(np.arange(10), 1).tolist() == [0]


def test_a_lone_surrogate_becomes_a_question_mark():
    assert clean_prompts(["a\ud800b", "é"]) == ("a?b", "é")


@pytest.mark.parametrize("given", ["a b", [None], [b"a"]])
def test_anything_but_a_list_of_strings_is_refused(given):
    with pytest.raises(InputError, match="string"):
        clean_prompts(given)


def test_nothing_keeps_a_long_prompt_alive(tokenizer):
    prompts = PromptTokenizer(tokenizer)
    prompts.ids(["a b " * 1_000_000])
    texts, _ = prompts._last_call
    assert len(texts[0]) <= MAX_BYTES


def test_a_pickle_holds_no_prompt(tokenizer):
    prompts = PromptTokenizer(tokenizer)
    fresh = pickle.dumps(prompts)
    prompts.ids(["a secret b"])
    assert pickle.dumps(prompts) == fresh
    copy = pickle.loads(fresh)  # noqa: S301 - our own bytes
    assert copy.ids(["a b"])[0].tolist() == [4, 5]
