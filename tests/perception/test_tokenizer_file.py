"""Whatever is wrong with a tokenizer.json is one PersistenceError, also where Rust code panics."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.errors import PerceptionError, PersistenceError
from tryage.perception.tokenizer import PromptTokenizer
from tryage.perception.tokenizer_file import read_tokenizer, tokenizer_errors

WORDS = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
FILE = {
    "version": "1.0",
    **dict.fromkeys(["truncation", "padding", "normalizer", "pre_tokenizer", "post_processor"]),
    "added_tokens": [],
    "decoder": None,
    "model": WORDS,
}
BPE = {"type": "BPE", "vocab": {"a": 0, "ab": 1, "##b": 2}, "merges": ["a ##b"]}


def replacement(content):
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


def several(normalizers):
    return {"type": "Sequence", "normalizers": normalizers}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokenizer.json"


def test_a_tokenizer_is_read(path):
    path.write_text(json.dumps(FILE), "utf-8")
    assert read_tokenizer(path).encode("a").ids == [0]


def test_normalizers_of_language_models_are_read(path):
    usual = several([{"type": "Prepend", "prepend": "\u2581"}, replacement("\u2581")] * 4)
    path.write_text(json.dumps(FILE | {"normalizer": usual}), "utf-8")
    assert read_tokenizer(path).encode("b").ids == [1]


def test_words_of_a_vocabulary_are_not_taken_for_settings(path):
    names = ["content", "pattern", "prepend", "precompiled_charsmap", "type", "\u00e9", "Replace"]
    words = {name: i for i, name in enumerate(names)}
    model = WORDS | {"vocab": words | {"[UNK]": len(words)}}
    path.write_text(json.dumps(FILE | {"model": model}), "utf-8")  # with a backslash for the accent
    assert read_tokenizer(path).encode("prepend").ids == [2]


def test_a_file_that_hides_no_letters_of_ascii_is_parsed_once(path, monkeypatch):
    """Parsing takes as long as all the rest, and a normalizer tells what it is made of."""
    read = []
    parse = json.loads
    monkeypatch.setattr(
        json, "loads", lambda text, **hooks: read.append(text) or parse(text, **hooks)
    )
    words = {f"word{i}": i for i in range(1_000)} | {"\u00e9": 1_000, "[UNK]": 1_001}
    normalizer = replacement("b") | {"pattern": {"Regex": r"[\u0300-\u036f]"}}
    file = FILE | {"normalizer": normalizer, "model": WORDS | {"vocab": words}}
    path.write_text(json.dumps(file), "utf-8")
    read_tokenizer(path)
    assert sum(map(len, read)) < 1_000


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model": "\\u0061", "x": ' + b"[" * 100_000,
        b'{"model": ' + b'{"a": ' * 100_000,
        b'{"version": 1' + b"0" * 5_000 + b"}",
        b"[1, 2]",
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused(path, content):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        PersistenceError, match=r"tokenizer\.json is (missing or )?damaged"
    ) as caught:
        read_tokenizer(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"model": BPE | {"continuing_subword_prefix": "x" * 9}},  # panics
        {"model": BPE | {"merges": ["a c"]}},
        {"model": {"type": "unheard of"}},
        {"truncation": -1},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},  # panics
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": 1}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "no base64"}},
        {"normalizer": several([replacement("a" * 64)] * 4)},  # fills the memory
        {"normalizer": replacement("a" * 10_000)},
        {"normalizer": {"type": "Prepend", "prepend": "a" * 10_000}},
    ],
)
def test_parts_that_cannot_be_used_are_refused(path, change):
    path.write_text(json.dumps(FILE | change), "utf-8")
    with pytest.raises(PersistenceError, match=r"tokenizer\.json is (missing or )?damaged"):
        read_tokenizer(path)


@pytest.mark.parametrize(
    "name", ["Precompiled", r"\u0050recompiled", r"Pre\u0063ompiled", r"Preco\u006Dp\u0069led"]
)
@pytest.mark.parametrize("again", ["", ', "normalizer": null'])
def test_a_table_of_gigabytes_is_refused_before_it_is_allocated(path, name, again):
    """The tokenizers package would allocate 4 GB, which ends a process of limited memory."""
    table = f'"normalizer": {{"type": "{name}", "precompiled_charsmap": "/////w=="}}{again}'
    path.write_text(json.dumps(FILE).replace('"normalizer": null', table), "utf-8")
    with pytest.raises(PersistenceError, match="table of its normalizer is shorter than it says"):
        read_tokenizer(path)


def test_a_file_larger_than_any_tokenizer_is_not_read(path):
    with path.open("wb") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(PersistenceError, match="67,108,865 bytes; a tokenizer has at most"):
        read_tokenizer(path)


@pytest.mark.parametrize(
    "change",
    [
        {"model": WORDS | {"vocab": {"a": 0}}},  # no token for unknown words
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},  # panics
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "(b+)+$"},
                "behavior": "Isolated",
                "invert": False,
            }
        },  # takes exponential time, and panics
    ],
)
def test_a_tokenizer_that_fails_on_a_prompt_is_one_error(path, change):
    path.write_text(json.dumps(FILE | change), "utf-8")
    tokenizer = PromptTokenizer(read_tokenizer(path))
    for n in (1, 20):
        with pytest.raises(PerceptionError, match="The tokenizer of the encoder has failed"):
            tokenizer.ids(["b" * 30 + "c"] * n)


def test_special_tokens_that_do_not_exist_are_one_error(path):
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "X", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    }
    path.write_text(json.dumps(FILE | {"post_processor": template}), "utf-8")
    with pytest.raises(PerceptionError, match="has failed"):
        PromptTokenizer(read_tokenizer(path)).special_ids()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, ValueError])
def test_an_error_that_is_not_of_tokenizers_passes(error):
    with pytest.raises(error), tokenizer_errors(PersistenceError, "damaged"):
        raise error


PARTS = st.sampled_from(
    [
        WORDS,
        BPE,
        replacement("b"),
        {"type": "Whitespace"},
        {"type": "BertNormalizer"},
        {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    ]
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**33) | st.floats() | st.text(max_size=4) | PARTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "vocab", "merges", "normalizers", "pattern", "content", "unk_token"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(FILE)), ODD)
def test_a_file_with_any_part_changed_reads_texts_or_is_refused(path, part, value):
    path.write_text(json.dumps({**FILE, part: value}), "utf-8")
    with contextlib.suppress(PersistenceError, PerceptionError):
        PromptTokenizer(read_tokenizer(path)).ids(["a b", ""])
