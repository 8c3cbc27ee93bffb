"""The static encoder, on tiny tables that are built here."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tryage.errors import InputError, PerceptionError, PersistenceError
from tryage.perception.encoder import Encoder, StaticEncoder
from tryage.perception.persistence import load_encoder
from tryage.perception.tokenizer import PromptTokenizer

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "add", "list", "prove", "sum", "##s")
TEXTS = ["a b c", "prove sums", "", "add list list list", "   ", "h"]


@pytest.fixture(scope="module")
def tokenizer(word_pieces):
    return word_pieces(WORDS)


def rows(dim: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(WORDS), dim)).astype(np.float32)


@pytest.fixture
def static(tokenizer) -> StaticEncoder:
    return StaticEncoder.from_rows(rows(), tokenizer)


# Embeddings


def test_it_keeps_the_protocol(static):
    assert isinstance(static, Encoder)
    assert static.encode(TEXTS).shape == (len(TEXTS), static.dim)
    assert static.encode(TEXTS).dtype == np.float32
    assert static.encode([]).shape == (0, static.dim)


def test_rows_have_unit_length_and_a_prompt_without_tokens_is_zeros(static):
    lengths = np.linalg.norm(static.encode(TEXTS), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0, 1, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(static.encode(["", " "]), 0)


def test_an_embedding_is_the_scaled_sum_of_its_rows(static):
    table = rows()
    ids = [WORDS.index(w) for w in ("prove", "sum", "##s")]
    expected = table[ids].sum(0) / np.linalg.norm(table[ids].sum(0))
    np.testing.assert_allclose(static.encode(["Prove sums"])[0], expected, atol=0.02)


def test_a_batch_gives_the_embeddings_that_each_prompt_has_alone(static):
    alone = np.concatenate([static.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(static.encode(TEXTS), alone)


def test_a_row_of_zero_weight_does_not_divide_by_zero(tokenizer):
    table = rows()
    table[WORDS.index("a")] = 0
    encoder = StaticEncoder.from_rows(table, tokenizer)
    np.testing.assert_array_equal(encoder.encode(["a"]), 0)
    np.testing.assert_allclose(encoder.encode(["a b"]), encoder.encode(["b"]), atol=1e-6)


def test_a_token_without_weight_changes_no_embedding(static):
    other = static.without_tokens(np.array([WORDS.index("list")]))
    np.testing.assert_array_equal(other.encode(["add list list"]), other.encode(["add"]))
    np.testing.assert_array_equal(other.encode(["add"]), static.encode(["add"]))
    assert np.abs(static.encode(["add list"]) - static.encode(["add"])).max() > 0.1


def test_a_long_prompt_is_read_at_both_ends(tokenizer):
    encoder = StaticEncoder.from_rows(rows(), tokenizer, max_length=30)
    outer, inner = ["a"] * 15, ["b"] * 100
    long = encoder.encode([" ".join(outer + inner + outer)])
    np.testing.assert_allclose(long, encoder.encode([" ".join(outer + outer)]), atol=1e-5)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "日本語", "\u202e", "🙂" * 50])
def test_any_string_is_encoded(static, text):
    assert np.isfinite(static.encode([text])).all()


@pytest.mark.parametrize("given", ["a b", [None], [b"a"]])
def test_anything_but_a_list_of_strings_is_refused(static, given):
    with pytest.raises(InputError, match="string"):
        static.encode(given)


def test_a_table_that_does_not_fit_its_tokenizer_is_refused(tokenizer):
    with pytest.raises(InputError, match="the tokenizer needs"):
        StaticEncoder.from_rows(rows()[:5], tokenizer)


# Tokens


def test_tokens_are_counted_without_special_tokens(static):
    np.testing.assert_array_equal(static.count_tokens(TEXTS), [3, 3, 0, 4, 0, 1])
    assert [i.tolist() for i in static.token_ids(["a b"])] == [[4, 5]]
    assert static.vocabulary == len(WORDS)


def test_prompts_are_tokenized_once_for_encoding_and_counting(static, monkeypatch):
    calls = []
    encode = PromptTokenizer._encode
    monkeypatch.setattr(
        PromptTokenizer, "_encode", lambda *given: calls.append(given[1]) or encode(*given)
    )
    static.encode(["a b"])
    static.count_tokens(["a b"])
    static.encode(["a c"])
    assert calls == [("a b",), ("a c",)]


def test_a_million_characters_are_encoded_and_counted_by_their_ends(static):
    text = "a b " * 250_000
    assert np.isfinite(static.encode([text])).all()
    assert static.count_tokens([text])[0] == pytest.approx(500_000, rel=0.01)


# Files


def test_a_saved_encoder_comes_back_equal(static, tmp_path):
    static.save(tmp_path)
    np.testing.assert_array_equal(StaticEncoder.load(tmp_path).encode(TEXTS), static.encode(TEXTS))


def test_a_table_takes_one_byte_per_number(static, tmp_path):
    static.save(tmp_path)
    size = (tmp_path / "table.safetensors").stat().st_size
    assert size < len(WORDS) * (8 + 2) + 300


def test_a_table_takes_one_byte_per_number_in_memory_too(static):
    arrays = [value for value in vars(static).values() if isinstance(value, np.ndarray)]
    numbers = len(WORDS) * static.dim
    assert sum(array.nbytes for array in arrays) == numbers + 2 * len(WORDS)  # a scale has two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "encoder.json").unlink(), "holds no readable encoder"),
        (lambda f: (f / "encoder.json").write_text("{"), "holds no readable encoder"),
        (lambda f: (f / "encoder.json").write_text("[]"), "no 'max_length'"),
        (lambda f: (f / "encoder.json").write_text('{"kind": "static", "format": 99}'), "upgrade"),
        (lambda f: (f / "encoder.json").write_text('{"kind": "static"}'), "no 'max_length'"),
        (lambda f: (f / "table.safetensors").write_bytes(b"x"), "damaged"),
        (lambda f: (f / "table.safetensors").unlink(), "missing"),
        (lambda f: save_file({"table": rows()}, f / "table.safetensors"), "lacks an array"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "damaged"),
        (lambda f: (f / "tokenizer.json").unlink(), "missing"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(static, tmp_path, change, message):
    static.save(tmp_path)
    change(tmp_path)
    with pytest.raises(PersistenceError, match=message):
        StaticEncoder.load(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"table": rows()}, r"table is .*\(float32\).* numbers \(int8\)"),
        ({"scales": np.full(len(WORDS), np.nan, np.float32)}, "scales is .* between nan and nan"),
        ({"scales": np.full(len(WORDS), 1e30, np.float32)}, r"from 0 to 6\.55e\+04"),
        ({"scales": np.ones(len(WORDS) + 1, np.float32)}, rf"expected \({len(WORDS)}\)"),
        ({"table": np.zeros((len(WORDS), 0), np.int8)}, r"table is \(\d+, 0\)"),
        (
            {"table": np.ones((3, 8), np.int8), "scales": np.ones(3, np.float32)},
            "the tokenizer needs",
        ),
    ],
)
def test_a_damaged_table_is_refused_with_what_is_expected(static, tmp_path, arrays, message):
    static.save(tmp_path)
    whole = load_file(tmp_path / "table.safetensors")
    save_file(whole | arrays, tmp_path / "table.safetensors")
    with pytest.raises(PersistenceError, match=f"the encoder in .* is damaged: .*{message}"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("length", [-1, 0, True, 10**30])
def test_an_impossible_length_is_refused(static, tmp_path, length):
    static.save(tmp_path)
    header = {"kind": "static", "format": 1, "max_length": length}
    (tmp_path / "encoder.json").write_text(json.dumps(header), "utf-8")
    with pytest.raises(PersistenceError, match=r"max_length is .*; expected a whole number"):
        load_encoder(tmp_path)


def test_a_token_beyond_the_table_is_one_error(static, tmp_path):
    static.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    tokenizer["model"]["vocab"]["prove"] = 4_000_000_000
    path.write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(PerceptionError, match="more tokens than the table"):
        load_encoder(tmp_path).encode(["prove"])


def test_the_static_encoder_needs_neither_torch_nor_onnxruntime(tmp_path, static):
    static.save(tmp_path)
    code = (
        f"from tryage.perception.persistence import load_encoder; load_encoder({str(tmp_path)!r})"
        ".encode(['a']); import sys; "
        "assert not {'torch', 'transformers', 'onnxruntime', 'sklearn'} & set(sys.modules)"
    )
    path = ":".join(p for p in sys.path if p)
    env = {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)  # noqa: S603 - our own code
