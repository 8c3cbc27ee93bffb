"""The transformer encoder, on a tiny random BERT: by ONNX Runtime and by torch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tryage.errors import MissingExtraError, PersistenceError
from tryage.perception import transformer
from tryage.perception.encoder import Encoder
from tryage.perception.persistence import load_encoder
from tryage.perception.tokenizer import MAX_BYTES
from tryage.perception.transformer import TransformerEncoder, length_batches

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "add", "list", "prove", "sum", "##s")
TEXTS = ["a b c", "prove sums", "", "add list list list", "   ", "h"]
WITH_TOKENS = [0, 1, 3, 5]


@pytest.fixture(scope="module")
def folder(tiny_bert, word_pieces, tmp_path_factory):
    """An encoder with weights for both runtimes, which reads 32 tokens of a prompt."""
    pytest.importorskip("onnx")
    from tryage.learning.training.finetune import export_encoder

    path, bert = tmp_path_factory.mktemp("encoder"), tiny_bert(len(WORDS))
    export_encoder(bert, word_pieces(WORDS), path, max_length=32, keep_weights=True)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return TransformerEncoder.load(folder)


def similarity(one, two):
    return (one * two).sum(1)[WITH_TOKENS]


def test_it_keeps_the_protocol(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.encode(TEXTS).shape == (len(TEXTS), encoder.dim)
    assert encoder.encode(TEXTS).dtype == np.float32
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_rows_have_unit_length_and_a_prompt_without_tokens_is_zeros(encoder):
    lengths = np.linalg.norm(encoder.encode(TEXTS), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0, 1, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(["", " "]), 0)


def test_a_batch_gives_about_the_embeddings_that_each_prompt_has_alone(encoder):
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    # int8 activations share one scale in a batch
    assert similarity(encoder.encode(TEXTS), alone).min() > 0.98


def test_tokens_are_counted_without_special_tokens(encoder):
    np.testing.assert_array_equal(encoder.count_tokens(TEXTS), [3, 3, 0, 4, 0, 1])
    assert [i.tolist() for i in encoder.token_ids(["a b"])] == [[4, 5]]
    assert encoder.vocabulary == len(WORDS)


def test_a_long_prompt_is_read_at_both_ends(encoder):
    outer, inner = ["a"] * 15, ["b"] * 100
    long = encoder.encode([" ".join(outer + inner + outer)])
    np.testing.assert_allclose(long, encoder.encode([" ".join(outer + outer)]), atol=1e-5)


def test_a_million_characters_are_encoded_and_counted_by_their_ends(encoder):
    text = "a b " * 250_000
    assert len(text) > MAX_BYTES
    assert np.isfinite(encoder.encode([text])).all()
    assert encoder.count_tokens([text])[0] == pytest.approx(500_000, rel=0.01)


def test_a_saved_encoder_comes_back_equal(encoder, tmp_path):
    encoder.save(tmp_path)
    back = load_encoder(tmp_path)
    assert type(back) is TransformerEncoder
    np.testing.assert_array_equal(back.encode(TEXTS), encoder.encode(TEXTS))


def test_int8_onnx_agrees_with_torch(encoder, folder, monkeypatch):
    monkeypatch.setattr(transformer, "find_spec", lambda name: name != "onnxruntime")
    with_torch = load_encoder(folder)
    assert similarity(with_torch.encode(TEXTS), encoder.encode(TEXTS)).min() > 0.97


def test_without_any_runtime_the_error_names_the_extra(folder, monkeypatch):
    monkeypatch.setattr(transformer, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tryage\[onnx\]'"):
        load_encoder(folder)


def test_a_folder_without_weights_is_refused(encoder, tmp_path):
    encoder.save(tmp_path)
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(PersistenceError, match=r"neither model\.onnx nor model\.safetensors"):
        load_encoder(tmp_path)


def test_a_header_without_the_dimension_is_refused(encoder, tmp_path):
    encoder.save(tmp_path)
    (tmp_path / "encoder.json").write_text('{"kind": "transformer", "max_length": 32}')
    with pytest.raises(PersistenceError, match="no 'dim'"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"no weights"), "holds no weights that run"),
        (lambda f: rewrite(f, dim=7), "weights that run: shape mismatch"),
        (lambda f: rewrite(f, dim=10**12), "dim is 1000000000000; expected a whole number"),
        (lambda f: rewrite(f, max_length=-1), "max_length is -1; expected a whole number, from 3"),
        (lambda f: rewrite(f, max_length=True), "max_length is True"),
    ],
)
def test_damaged_weights_and_numbers_are_refused_at_load(encoder, tmp_path, change, message):
    encoder.save(tmp_path)
    change(tmp_path)
    with pytest.raises(PersistenceError, match=message):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.safetensors", b"no weights"), ("config.json", b"{"), ("config.json", b"[1]")],
)
def test_damaged_weights_for_torch_are_refused_at_load(
    encoder, tmp_path, monkeypatch, name, content
):
    monkeypatch.setattr(transformer, "find_spec", lambda name: name != "onnxruntime")
    encoder.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PersistenceError, match="holds no weights that run"):
        load_encoder(tmp_path)


def rewrite(folder, **fields):
    path = folder / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


def test_batches_hold_every_row_once_and_at_most_the_tokens_allowed():
    lengths = np.random.default_rng(0).integers(1, 50, 200).tolist()
    batches = list(length_batches(lengths, max_tokens=100))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(len(b) * max(lengths[i] for i in b) <= 100 for b in batches)
    assert [b.tolist() for b in length_batches([500], max_tokens=100)] == [[0]]
    assert list(length_batches([], max_tokens=100)) == []
