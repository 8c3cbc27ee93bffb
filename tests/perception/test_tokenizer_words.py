"""The tokens that are found word by word are those that the tokenizer finds in the whole text."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.perception.tokenizer import (
    PromptTokenizer,
    WordTokenizer,
    is_wordwise,
    many_language_normalizer,
    many_language_pre_tokenizer,
)

TEXT = "Caf\u00e9s in Rome, and then unbelievably e-mail \u5929\u6c14 [SEP] to Ann! It's 20\u00b0C?"
SEGMENTS = ["Caf\u00e9s in Rome", "and then", "elsewhere", "unbeliev", "!", "", "\u5929!"]

# Characters that tokenizers treat in their own ways: combining marks, characters that decompose to
# signs of ASCII, invisible and control characters, white space, several scripts.
ODD = (
    "aZ9 \t\n\r!<;`=[]#_\u0301\u226e\u2260\u037e\u1fef\u00a0\u2028\u200b\u200d\ufe0f"
    "\x00\x0b\x1c\x7f\x85\ufffd\u00e9\u00c9\u0130\u03a3\u5929\u9fff\u3007\uf900\u30ab\u3099"
    "\ud55c\u0434\u0439\u0645\u061f\uff01\U0001f600"
)


def bert():
    """Return the tokenizer of BERT with a small part of its vocabulary."""
    words = ["the", "and", "hello", "in", "un", "##bel", "##ie", "rome", "caf", "cafe", "straße"]
    characters = [c for c in dict.fromkeys(ODD.lower() + string.printable) if not c.isspace()]
    pieces = ["[UNK]", "[SEP]", "[CLS]", "[MASK]", *words, *characters]
    made = word_piece(BertNormalizer(), (*pieces, *("##" + c for c in characters)))
    made.add_special_tokens(["[UNK]", "[SEP]", "[CLS]", "[MASK]"])
    return made


def many_languages():
    made = bert()
    made.normalizer = many_language_normalizer()
    made.pre_tokenizer = many_language_pre_tokenizer()
    return made


@pytest.fixture(scope="module", params=["bundled", "bert", "many languages"])
def tokenizer(request):
    if request.param == "bundled":
        return Tokenizer.from_file(str(BUNDLED_FOLDER / "encoder" / "tokenizer.json"))
    return bert() if request.param == "bert" else many_languages()


@pytest.fixture(scope="module")
def words(tokenizer):
    return WordTokenizer(tokenizer)


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@given(st.text(st.sampled_from(ODD), max_size=12))
@example("[CLS]!a")
@example("[cls]")
@example("a\x00b\u0301!\u0301")
def test_any_text_has_the_tokens_of_the_whole(tokenizer, words, text):
    assert words.ids([text])[0].tolist() == ids(tokenizer, text)


@given(st.text(max_size=40))
def test_any_string_has_the_tokens_of_the_whole(tokenizer, words, text):
    text = text.encode("utf-8", "replace").decode()
    assert words.ids([text])[0].tolist() == ids(tokenizer, text)


@pytest.mark.parametrize(
    "text", [TEXT, "word " * 500 + "x" * 99 + " " + "y" * 101, "0x" + "3f9a" * 300]
)
def test_long_texts_and_words_have_the_tokens_of_the_whole(tokenizer, words, text):
    assert words.ids([text])[0].tolist() == ids(tokenizer, text)


def test_random_mixtures_have_the_tokens_of_the_whole(tokenizer, words):
    draw = random.Random(1)  # noqa: S311 - texts, not secrets
    alphabet = [*ODD, *TEXT.split(), "hello", "Straße", "[MASK]"]
    texts = ["".join(draw.choices(alphabet, k=60)) for _ in range(300)]
    for text, found in zip(texts, words.ids(texts), strict=True):
        assert found.tolist() == ids(tokenizer, text)


def test_every_text_of_a_batch_has_the_tokens_that_it_has_alone(tokenizer):
    found = PromptTokenizer(tokenizer).ids([TEXT, *SEGMENTS])
    for one, text in zip(found, [TEXT, *SEGMENTS], strict=True):
        assert one.tolist() == ids(tokenizer, text)


def test_each_word_is_tokenized_once_and_only_those_of_the_vocabulary_are_remembered(tokenizer):
    words, read = WordTokenizer(tokenizer), []

    class Model:
        def tokenize(self, word):
            read.append(word)
            return tokenizer.model.tokenize(word)

    words._model = Model()
    words.ids(["the qwzx and The qwzx", "qwzx"])
    assert sorted(read) == ["and", "qwzx", "the"]
    words.ids(["the qwzx"])
    assert sorted(read) == ["and", "qwzx", "qwzx", "the"]
    assert sorted(words._vocabulary_ids) == ["and", "the"]


def test_what_is_no_word_of_ascii_is_tokenized_in_one_call(words, monkeypatch):
    read = []
    encode = WordTokenizer._encode
    monkeypatch.setattr(
        WordTokenizer, "_encode", lambda self, text: read.append(text) or encode(self, text)
    )
    words.ids(["naïve café and café", "\u5929 naïve"])
    assert [sorted(text.split("!")) for text in read] == [["café", "naïve"]]


def word_piece(normalizer, vocabulary=("[UNK]", "a", "b", "!")):
    ids_by_word = {word: i for i, word in enumerate(vocabulary)}
    made = Tokenizer(WordPiece(ids_by_word, unk_token=vocabulary[0]))
    made.normalizer, made.pre_tokenizer = normalizer, BertPreTokenizer()
    return made


def test_a_token_of_several_words_is_found():
    made = word_piece(BertNormalizer())
    made.add_tokens(["a b"])
    assert WordTokenizer(made).ids(["a, a b, b"])[0].tolist() == ids(made, "a, a b, b")


def test_case_counts_where_the_tokenizer_keeps_it():
    made = word_piece(BertNormalizer(lowercase=False))
    assert WordTokenizer(made).ids(["A a"])[0].tolist() == ids(made, "A a") == [0, 1]


def test_only_tokenizers_like_that_of_bert_are_wordwise(tokenizer):
    reads_spaces = Tokenizer(BPE())
    reads_spaces.pre_tokenizer = ByteLevel()
    assert is_wordwise(tokenizer)
    assert not is_wordwise(reads_spaces)
    assert not is_wordwise(word_piece(BertNormalizer(handle_chinese_chars=False)))
    assert not is_wordwise(word_piece(BertNormalizer(), ("[UNK]", "a")))  # without the separator


def test_one_for_many_languages_is_wordwise_where_it_reads_as_the_library_says():
    made = many_languages()
    assert is_wordwise(made)
    made.pre_tokenizer = BertPreTokenizer()
    assert not is_wordwise(made)
    made.pre_tokenizer, made.normalizer = many_language_pre_tokenizer(), Lowercase()
    assert not is_wordwise(made)
    made.normalizer = None
    assert not is_wordwise(made)


def normalized(text):
    return many_language_normalizer().normalize_str(text)


def test_accents_of_european_letters_and_vowels_of_arabic_and_hebrew_are_optional():
    assert normalized("Crème brûlée Йод") == normalized("creme brulee Иод")
    assert normalized("\u0645\u064f\u062d\u0645\u062f") == "\u0645\u062d\u0645\u062f"  # muhammad
    assert (
        normalized("\u05e9\u05c1\u05b8\u05dc\u05d5\u05dd") == "\u05e9\u05dc\u05d5\u05dd"
    )  # shalom


def test_signs_that_make_another_letter_stay():
    hindi, japanese = "\u092e\u0947\u0902", "\u304c"
    assert normalized(hindi) == hindi
    assert normalized(japanese) == "\u304b\u3099" != normalized("\u304b")


def test_a_symbol_is_a_word_of_its_own_so_that_an_unknown_one_hides_no_word():
    tokens = many_languages().encode("hello\U0001f680the \u20acthe").tokens
    assert tokens == ["hello", "[UNK]", "the", "[UNK]", "the"]


def test_an_encoder_gives_a_segment_the_vector_that_it_has_alone():
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    both = encoder.encode([TEXT, "It's 20\u00b0C?"])
    np.testing.assert_array_equal(both[1:], encoder.encode(["It's 20\u00b0C?"]))
