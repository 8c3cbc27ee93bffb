"""Where language models place prompts: the mean of their last hidden states, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.scoring.language_model import mean_hidden_states

PROMPTS = ("a longer prompt that is read", "short", "", "ünïcode ✓")


@pytest.fixture
def read():
    def run(model, prompts=PROMPTS, **rest):
        return mean_hidden_states(str(model), prompts, progress=False, **rest)

    return run


def test_a_row_is_the_mean_over_the_tokens_of_the_model_itself(read, gpt, torch, transformers):
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


def test_padding_and_batches_change_nothing(read, gpt):
    np.testing.assert_allclose(read(gpt), read(gpt, batch_tokens=1), atol=1e-5)


def test_a_prompt_without_a_token_becomes_zeros(read, gpt):
    assert not read(gpt)[2].any()


def test_of_a_long_prompt_the_beginning_is_read(read, gpt):
    window = "abcd" * 8  # all that the model takes
    rows = read(gpt, [window, window + "beyond"])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_masked_model_is_read_too(read, bert):
    assert read(bert, ["the cat sat", "a dog ran"]).shape == (2, 16)


def test_a_model_that_is_not_there_or_translates_is_refused(read, t5, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match="expected a model without encoder"):
        read(t5)
