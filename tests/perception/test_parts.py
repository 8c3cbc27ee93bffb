"""A part that is cut out of a text has the tokens that it has by itself, or is not cut out."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

from tryage.perception.encoder import PromptTokenizer, TokenizedPrompt, is_wordwise
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

UNKNOWN = "[UNK]"
TEXT = "Caf\u00e9s in Rome, and then unbelievably e-mail \u5929\u6c14 [SEP] to Ann! It's 20\u00b0C?"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(BUNDLED_FOLDER / "encoder" / "tokenizer.json"))


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def whole(tokenizer, text):
    return TokenizedPrompt(text, tokenizer.encode(text, add_special_tokens=False))


def test_any_part_of_a_text_has_the_tokens_that_it_has_alone(tokenizer):
    text, cut = whole(tokenizer, TEXT), 0
    for start in range(len(TEXT)):
        for end in range(start, len(TEXT) + 1):
            part = text.segment_ids(TEXT[start:end])
            if part is not None:
                cut += 1
                assert part.tolist() == ids(tokenizer, TEXT[start:end])
    assert cut > 150


@pytest.mark.parametrize("part", ["Rom", "nbelievably", "mail \u5929", "mail it"])
def test_what_ends_in_a_word_or_is_no_part_is_not_cut_out(tokenizer, part):
    assert whole(tokenizer, TEXT).segment_ids(part) is None


def test_a_token_of_several_words_is_not_cut():
    made = Tokenizer(WordPiece({UNKNOWN: 0, "a": 1, "b": 2}, unk_token=UNKNOWN))
    made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    made.add_tokens(["a b"])
    text = whole(made, "a, a b, b")
    assert text.segment_ids("a b").tolist() == [3]
    assert whole(made, "b a b").segment_ids("b a") is None
    assert whole(made, "a b a").segment_ids("b a") is None


@pytest.mark.parametrize("text", ["", "   ", "\x00"])
def test_a_text_without_tokens_has_parts_without_tokens(tokenizer, text):
    assert whole(tokenizer, text).segment_ids(text).tolist() == []


def test_a_tokenizer_that_minds_the_space_before_a_word_does_not_read_by_word(tokenizer):
    other = Tokenizer(BPE())
    other.pre_tokenizer = ByteLevel()
    assert is_wordwise(tokenizer)
    assert not is_wordwise(other)


def test_a_text_and_its_parts_are_read_as_if_each_stood_alone(tokenizer):
    parts = ["Caf\u00e9s in Rome", "and then", "elsewhere", "unbeliev", "\ud800"]
    read = PromptTokenizer(tokenizer).ids([TEXT, *parts])
    for found, text in zip(read, [TEXT, *parts[:-1], "?"], strict=True):
        assert found.tolist() == ids(tokenizer, text)


def test_an_encoder_gives_a_clause_the_vector_that_it_has_alone():
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    both = encoder.encode([TEXT, "It's 20\u00b0C?"])
    np.testing.assert_array_equal(both[1:], encoder.encode(["It's 20\u00b0C?"]))
