"""Pooled states are those of transformers, with and without padding and a cache of the prefix."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tryage.errors import InputError, PersistenceError
from tryage.perception.language_model import LanguageModel

torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

NO_IDS = np.zeros(0, np.int64)
PREFIX, SUFFIX = np.array([5, 6, 7]), np.array([8])
IDS = [np.array([3, 4, 9]), np.array([2]), np.array([1, 2, 3, 4, 5, 6, 7])]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The folder of a causal model of four layers, and the whole model as transformers runs it."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    folder = tmp_path_factory.mktemp("llama")
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    return folder, model.model


@pytest.fixture(scope="module")
def bert(bert_folder):
    model = transformers.BertModel.from_pretrained(bert_folder, add_pooling_layer=False).eval()
    return bert_folder, model


def make(folder, layers, poolings=("mean", "last"), prefix=NO_IDS, suffix=NO_IDS, **options):
    return LanguageModel(
        folder, layers, poolings, prefix_ids=prefix, suffix_ids=suffix, device="cpu", **options
    )


def states_of(model, ids, layer):
    """The states of one sequence in one layer, by transformers alone."""
    with torch.inference_mode():
        output = model(torch.tensor(np.array([ids])), output_hidden_states=True)
    return output.hidden_states[layer][0].numpy()


@pytest.mark.parametrize("layers", [(1, 2), (2, 4), (3,)])
def test_states_of_a_causal_model_are_those_of_transformers_without_the_first_token(llama, layers):
    folder, model = llama
    pooled = make(folder, layers).pooled_states(IDS)
    for ids, row in zip(IDS, pooled, strict=True):
        for i, layer in enumerate(layers):
            states = states_of(model, ids, layer)
            own = states[1:] if len(ids) > 1 else states
            np.testing.assert_allclose(row[2 * i], own.mean(axis=0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(row[2 * i + 1], states[-1], rtol=1e-4, atol=1e-5)


def test_states_of_an_encoder_model_are_those_of_transformers_between_its_special_tokens(bert):
    folder, model = bert
    first, last = np.array([2]), np.array([3])
    pooled = make(folder, (1, -1), prefix=first, suffix=last).pooled_states(IDS)
    for ids, row in zip(IDS, pooled, strict=True):
        for i, layer in enumerate((1, 2)):
            states = states_of(model, [2, *ids, 3], layer)
            np.testing.assert_allclose(row[2 * i], states[1:-1].mean(axis=0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(row[2 * i + 1], states[-1], rtol=1e-4, atol=1e-5)


def test_a_cached_prefix_gives_the_states_of_the_whole_sequences(llama):
    folder, model = llama
    cached = make(folder, (2, 3), prefix=PREFIX, suffix=SUFFIX)
    assert cached._prefix_cache is not None
    pooled = cached.pooled_states(IDS)
    for ids, row in zip(IDS, pooled, strict=True):
        states = states_of(model, [*PREFIX, *ids, *SUFFIX], 3)
        np.testing.assert_allclose(row[2], states[3:-1].mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(row[3], states[-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cached.pooled_states(IDS), pooled, atol=1e-6)  # it stays as it was


def test_a_model_with_learned_positions_is_read_after_its_cached_prefix(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=12,
        n_embd=16,
        n_layer=3,
        n_head=2,
        n_positions=32,
        initializer_range=0.3,
        eos_token_id=1,
    )
    model = transformers.GPT2Model(config).eval()
    model.save_pretrained(tmp_path)
    cached = make(tmp_path, (2,), prefix=PREFIX, suffix=SUFFIX)
    assert cached._prefix_cache is not None
    for ids, row in zip(IDS, cached.pooled_states(IDS), strict=True):
        states = states_of(model, [*PREFIX, *ids, *SUFFIX], 2)
        np.testing.assert_allclose(row[0], states[3:-1].mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(row[1], states[-1], rtol=1e-4, atol=1e-5)


def test_an_encoder_model_has_no_cache_as_its_prefix_depends_on_the_prompt(bert):
    assert make(bert[0], (1,), prefix=PREFIX)._prefix_cache is None


def test_only_the_layers_up_to_the_last_one_needed_run(llama):
    model = make(llama[0], (1, 2))
    assert model.layers_needed == 2
    assert len(model._model.layers) == 2


def test_the_default_layers_are_at_half_and_three_quarters_of_the_depth(llama, bert):
    assert make(llama[0], None).layers == (2, 3)
    assert make(bert[0], None).layers == (1,)


@pytest.mark.parametrize("layers", [(0,), (5,), (-5,), (1, 1), (-1, 4)])
def test_a_layer_that_the_model_lacks_or_that_is_named_twice_is_refused(llama, layers):
    with pytest.raises(InputError, match="expected different numbers from 1 to 4"):
        make(llama[0], layers)


def test_bfloat16_gives_about_the_same_states(llama):
    exact = make(llama[0], (2,)).pooled_states(IDS)
    rounded = make(llama[0], (2,), dtype="bfloat16").pooled_states(IDS)
    assert rounded.dtype == np.float32
    cosines = (exact * rounded).sum(2) / np.linalg.norm(exact, axis=2)
    np.testing.assert_array_less(0.99, cosines / np.linalg.norm(rounded, axis=2))


def test_threads_that_share_a_model_do_not_mix_their_states(llama):
    model = make(llama[0], (1, 3))
    expected = [model.pooled_states([ids]) for ids in IDS]
    wrong = []

    def repeat(ids, rows):
        results = [model.pooled_states([ids]) for _ in range(20)]
        wrong.extend(states for states in results if not np.allclose(states, rows, atol=1e-5))

    threads = [
        threading.Thread(target=repeat, args=pair) for pair in zip(IDS, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_folder_without_safetensors_is_refused(llama, tmp_path):
    (tmp_path / "config.json").write_text((llama[0] / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PersistenceError, match="pickled weights are not read"):
        make(tmp_path, (1,))


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    config = transformers.T5Config(
        vocab_size=12, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    transformers.T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="encoder with a decoder"):
        make(tmp_path, (1,))
