"""What encoders promise, held on tiny ones that are built here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from tryage.errors import InputError, MissingExtraError, PersistenceError
from tryage.perception import transformer
from tryage.perception.encoder import (
    MAX_CHARACTERS,
    Encoder,
    StaticEncoder,
    head_and_tail,
)
from tryage.perception.persistence import load_encoder
from tryage.perception.transformer import length_batches

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


@pytest.fixture(scope="module")
def bert(tiny_bert):
    return tiny_bert(len(WORDS))


@pytest.fixture(scope="module")
def exported(bert, tokenizer, tmp_path_factory):
    pytest.importorskip("onnx")
    from tryage.learning.training.finetune import export_encoder

    folder = tmp_path_factory.mktemp("encoder")
    return export_encoder(bert, tokenizer, folder, max_length=32, keep_weights=True), folder


def test_both_encoders_keep_the_protocol(static, exported):
    for encoder in (static, exported[0]):
        assert isinstance(encoder, Encoder)
        assert encoder.encode(TEXTS).shape == (len(TEXTS), encoder.dim)
        assert encoder.encode(TEXTS).dtype == np.float32
        assert encoder.encode([]).shape == (0, encoder.dim)


def test_rows_have_unit_length_and_a_prompt_without_tokens_is_zeros(static, exported):
    for encoder in (static, exported[0]):
        lengths = np.linalg.norm(encoder.encode(TEXTS), axis=1)
        np.testing.assert_allclose(lengths, [1, 1, 0, 1, 0, 1], atol=1e-5)
        np.testing.assert_array_equal(encoder.encode(["", " "]), 0)


def test_a_static_embedding_is_the_scaled_sum_of_its_rows(static):
    table = rows()
    ids = [WORDS.index(w) for w in ("prove", "sum", "##s")]
    expected = table[ids].sum(0) / np.linalg.norm(table[ids].sum(0))
    np.testing.assert_allclose(static.encode(["Prove sums"])[0], expected, atol=0.02)


def test_a_batch_gives_what_each_prompt_gives_alone(static, exported):
    for encoder in (static, exported[0]):
        alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
        agreement = (encoder.encode(TEXTS) * alone).sum(1)[[0, 1, 3, 5]]
        assert agreement.min() > 0.98  # int8 activations share one scale in a batch


def test_a_row_of_zero_weight_does_not_divide_by_zero(tokenizer):
    table = rows()
    table[WORDS.index("a")] = 0
    encoder = StaticEncoder.from_rows(table, tokenizer)
    np.testing.assert_array_equal(encoder.encode(["a"]), 0)
    np.testing.assert_allclose(encoder.encode(["a b"]), encoder.encode(["b"]), atol=1e-6)


def test_tokens_are_counted_without_special_tokens(static, exported):
    for encoder in (static, exported[0]):
        np.testing.assert_array_equal(encoder.count_tokens(TEXTS), [3, 3, 0, 4, 0, 1])
        assert [i.tolist() for i in encoder.token_ids(["a b"])] == [[4, 5]]
        assert encoder.vocabulary == len(WORDS)


def test_prompts_are_tokenised_once_for_encoding_and_counting(static, monkeypatch):
    calls = []
    encode = static._tokenizer._encode
    monkeypatch.setattr(static._tokenizer, "_encode", lambda t: calls.append(t) or encode(t))
    static.encode(["a b"])
    static.count_tokens(["a b"])
    static.encode(["a c"])
    assert calls == [["a b"], ["a c"]]


def test_a_long_prompt_is_read_at_both_ends(exported):
    assert head_and_tail(np.arange(10), 5).tolist() == [0, 1, 2, 8, 9]
    assert head_and_tail(np.arange(5), 5).tolist() == [0, 1, 2, 3, 4]
    assert head_and_tail(np.arange(10), 1).tolist() == [0]
    encoder = exported[0]
    outer, inner = ["a"] * 15, ["b"] * 100
    long = encoder.encode([" ".join(outer + inner + outer)])
    np.testing.assert_allclose(long, encoder.encode([" ".join(outer + outer)]), atol=1e-5)


def test_a_million_characters_are_encoded_and_counted_by_their_ends(static, exported):
    text = "a b " * 250_000
    assert len(text) > MAX_CHARACTERS
    for encoder in (static, exported[0]):
        assert np.isfinite(encoder.encode([text])).all()
        assert encoder.count_tokens([text])[0] == pytest.approx(500_000, rel=0.01)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "日本語", "\u202e", "🙂" * 50])
def test_any_string_is_encoded(static, text):
    assert np.isfinite(static.encode([text])).all()


@pytest.mark.parametrize("given", ["a b", [None], [b"a"]])
def test_what_is_not_a_list_of_strings_is_refused(static, given):
    with pytest.raises(InputError, match="string"):
        static.encode(given)


def test_batches_hold_every_row_once_and_stay_within_their_tokens():
    lengths = np.random.default_rng(0).integers(1, 50, 200).tolist()
    batches = list(length_batches(lengths, tokens=100))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(len(b) * max(lengths[i] for i in b) <= 100 for b in batches)
    assert [b.tolist() for b in length_batches([500], tokens=100)] == [[0]]
    assert list(length_batches([], tokens=100)) == []


def test_saved_encoders_come_back_equal(static, exported, tmp_path):
    for number, encoder in enumerate((static, exported[0])):
        encoder.save(tmp_path / str(number))
        back = load_encoder(tmp_path / str(number))
        assert type(back) is type(encoder)
        np.testing.assert_array_equal(back.encode(TEXTS), encoder.encode(TEXTS))


def test_a_static_table_takes_one_byte_per_number(static, tmp_path):
    static.save(tmp_path)
    size = (tmp_path / "table.safetensors").stat().st_size
    assert size < len(WORDS) * (8 + 2) + 300


def test_int8_onnx_agrees_with_torch(exported, monkeypatch):
    monkeypatch.setattr(transformer, "find_spec", lambda name: name != "onnxruntime")
    with_torch = load_encoder(exported[1])
    agreement = (with_torch.encode(TEXTS) * exported[0].encode(TEXTS)).sum(1)
    assert agreement[[0, 1, 3, 5]].min() > 0.97


def test_without_any_runtime_the_error_names_the_extra(exported, monkeypatch):
    monkeypatch.setattr(transformer, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tryage\[onnx\]'"):
        load_encoder(exported[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "encoder.json").unlink(), "holds no readable encoder"),
        (lambda f: (f / "encoder.json").write_text("{"), "holds no readable encoder"),
        (lambda f: (f / "encoder.json").write_text("[]"), "kind"),
        (lambda f: (f / "encoder.json").write_text('{"kind": "static", "format": 99}'), "upgrade"),
        (lambda f: (f / "encoder.json").write_text('{"kind": "x"}'), "known kinds: static"),
        (lambda f: (f / "encoder.json").write_text('{"kind": "static"}'), "no 'max_length'"),
        (lambda f: (f / "table.safetensors").write_bytes(b"x"), "damaged"),
        (lambda f: save_file({"table": rows()}, f / "table.safetensors"), "lacks an array"),
        (lambda f: (f / "table.safetensors").unlink(), "missing"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "damaged"),
        (lambda f: (f / "tokenizer.json").unlink(), "missing"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(static, tmp_path, change, message):
    static.save(tmp_path)
    change(tmp_path)
    with pytest.raises(PersistenceError, match=message):
        load_encoder(tmp_path)


def test_a_table_that_does_not_fit_its_tokenizer_is_refused(tokenizer):
    with pytest.raises(InputError, match="the tokenizer needs"):
        StaticEncoder.from_rows(rows()[:5], tokenizer)


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
