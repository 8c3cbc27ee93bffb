"""The tokens of a segment, cut out of those of the whole text, are those that it has alone."""

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


def tokenized(tokenizer, text):
    return TokenizedPrompt(text, tokenizer.encode(text, add_special_tokens=False))


def test_any_segment_of_a_text_has_the_tokens_that_it_has_alone(tokenizer):
    whole, found = tokenized(tokenizer, TEXT), 0
    for start in range(len(TEXT)):
        for end in range(start, len(TEXT) + 1):
            segment = whole.segment_ids(TEXT[start:end])
            if segment is not None:
                found += 1
                assert segment.tolist() == ids(tokenizer, TEXT[start:end])
    assert found > 150


@pytest.mark.parametrize("text", ["Rom", "nbelievably", "mail \u5929", "mail it"])
def test_a_text_that_cuts_a_word_or_is_not_in_the_whole_has_no_known_tokens(tokenizer, text):
    assert tokenized(tokenizer, TEXT).segment_ids(text) is None


def test_a_token_of_several_words_is_not_cut():
    made = Tokenizer(WordPiece({UNKNOWN: 0, "a": 1, "b": 2}, unk_token=UNKNOWN))
    made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    made.add_tokens(["a b"])
    text = tokenized(made, "a, a b, b")
    assert text.segment_ids("a b").tolist() == [3]
    assert tokenized(made, "b a b").segment_ids("b a") is None
    assert tokenized(made, "a b a").segment_ids("b a") is None


@pytest.mark.parametrize("text", ["", "   ", "\x00"])
def test_a_text_without_tokens_has_segments_without_tokens(tokenizer, text):
    assert tokenized(tokenizer, text).segment_ids(text).tolist() == []


def test_a_tokenizer_that_reads_the_space_before_a_word_is_not_wordwise(tokenizer):
    other = Tokenizer(BPE())
    other.pre_tokenizer = ByteLevel()
    assert is_wordwise(tokenizer)
    assert not is_wordwise(other)


def test_a_text_and_its_segments_have_the_tokens_that_each_has_alone(tokenizer):
    segments = ["Caf\u00e9s in Rome", "and then", "elsewhere", "unbeliev", "\ud800"]
    found = PromptTokenizer(tokenizer).ids([TEXT, *segments])
    for one, text in zip(found, [TEXT, *segments[:-1], "?"], strict=True):
        assert one.tolist() == ids(tokenizer, text)


def test_an_encoder_gives_a_segment_the_vector_that_it_has_alone():
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    both = encoder.encode([TEXT, "It's 20\u00b0C?"])
    np.testing.assert_array_equal(both[1:], encoder.encode(["It's 20\u00b0C?"]))
