"""What all language models share: windows, batches, a model in memory, and hidden states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError
from tryage.scoring.language_model import (
    Window,
    batch_by_length,
    mean_hidden_states,
    sliding_windows,
)
from tryage.scoring.losses import MaskedLM
from tryage.scoring.measurement import Budget, Prompt

PROMPTS = ("a longer prompt that is read", "short", "", "ünïcode ✓")


@given(st.integers(0, 60), st.integers(2, 20), st.integers(1, 20))
def test_windows_score_every_token_but_the_first_exactly_once(n, length, stride):
    stride = min(stride, length - 1)
    found = list(sliding_windows(n, length, stride))
    assert [at for w in found for at in range(w.first_scored, w.end)] == list(range(1, n))
    assert all(w.end - w.start <= length and w.start < w.first_scored for w in found)


def test_windows_are_those_of_the_perplexity_guide_of_transformers():
    assert list(sliding_windows(9, 4, 2)) == [
        Window(0, 4, 1),
        Window(2, 6, 4),
        Window(4, 8, 6),
        Window(6, 9, 8),
    ]


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 100))
def test_batches_hold_every_position_once_and_fit(lengths, max_tokens):
    found = list(batch_by_length(lengths, max_tokens))
    assert sorted(at for batch in found for at in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= max_tokens


def test_a_cached_model_is_loaded_once_for_several_calls(bert, load):
    loads = []
    tokenizer, model = load(bert, "AutoModelForMaskedLM")
    measurer = MaskedLM(Expert("a"), lambda: loads.append(1) or (model, tokenizer))
    cached = measurer.with_cached_model()
    texts = [Prompt("the cat sat on the mat"), Prompt("a dog ran and sat")]
    both = [dict(cached.measure([text], Budget()))[0] for text in texts]
    assert len(loads) == 1
    whole = dict(measurer.measure(texts, Budget()))
    assert len(loads) == 2
    assert [one.loss for one in both] == pytest.approx([whole[at].loss for at in (0, 1)], rel=1e-5)


def test_the_error_of_a_model_on_a_batch_names_the_expert(
    bert, transformers, word_tokenizer, measure
):
    model = transformers.AutoModelForMaskedLM.from_pretrained(bert)
    small = transformers.BertConfig(**model.config.to_dict() | {"max_position_embeddings": 4})
    broken = transformers.BertForMaskedLM(small)
    small.max_position_embeddings = 12  # a configuration that promises too much
    measurer = MaskedLM(Expert("odd"), lambda: (broken, word_tokenizer))
    with pytest.raises(MeasurementError, match="odd failed on a batch"):
        measure(measurer, [Prompt("the cat sat on the mat")])


@pytest.fixture
def read():
    def run(model, prompts=PROMPTS, **rest):
        return mean_hidden_states(str(model), prompts, progress=False, **rest)

    return run


def test_a_prompt_becomes_the_mean_hidden_state_of_its_tokens(read, gpt, torch, transformers):
    model = transformers.AutoModel.from_pretrained(gpt).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(gpt)
    rows = read(gpt)
    assert rows.shape == (4, 16)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        ids = torch.tensor([tokenizer(prompt)["input_ids"][:32]])
        if ids.shape[1]:
            with torch.inference_mode():
                states = model(ids).last_hidden_state[0].mean(0).numpy()
            np.testing.assert_allclose(row, states, atol=1e-5)


def test_padding_and_batch_size_change_nothing(read, gpt):
    np.testing.assert_allclose(read(gpt), read(gpt, batch_tokens=1), atol=1e-5)


def test_a_prompt_without_a_token_becomes_zeros(read, gpt):
    assert not read(gpt)[2].any()


def test_only_the_beginning_of_a_long_prompt_is_read(read, gpt):
    window = "abcd" * 8  # all that the model takes
    rows = read(gpt, [window, window + "beyond"])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_masked_model_has_hidden_states_too(read, bert):
    assert read(bert, ["the cat sat", "a dog ran"]).shape == (2, 16)


def test_an_absent_model_and_an_encoder_decoder_are_rejected(read, t5, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match="expected a model without an encoder"):
        read(t5)
