"""How a language model places prompts: the mean of its last hidden states.

What the latent map holds the perception's space against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError, MeasurementError
from tryage.scoring.checkpoints import load
from tryage.scoring.likelihood import Row, inputs, limits
from tryage.scoring.windows import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.scoring.likelihood import Model

LONGEST = 512  # tokens of a prompt that are read


def mean_states(
    source: str, prompts: Sequence[str], *, batch_tokens: int = 2048, progress: bool = True
) -> NDArray[np.float32]:
    """Embed prompts `(n_prompts, hidden)` by a model in a folder, a .gguf file or of a Hub id.

    Of a long prompt the beginning is read; one without a token becomes zeros.

    Raises:
        InputError: there is no such model, or it has no hidden states to average.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        model, tokenizer = load(source, "AutoModel", None)
    except MeasurementError as error:
        raise InputError(str(error)) from error
    if model.config.is_encoder_decoder:
        raise InputError(f"{source} writes from what it has read; expected a model without encoder")
    from tqdm import tqdm

    room = min(LONGEST, *limits(model, tokenizer))
    found = tokenizer(list(prompts), truncation=True, max_length=room)["input_ids"]
    rows = np.zeros((len(found), model.config.hidden_size), np.float32)
    with tqdm(total=len(found), desc="reading", unit="prompt", disable=not progress) as bar:
        for batch in batches([len(ids) for ids in found], batch_tokens):
            some = [at for at in batch if found[at]]
            if some:
                padding = tokenizer.pad_token_id or 0
                rows[some] = _pooled(model, [found[at] for at in some], padding)
            bar.update(len(batch))
    return rows


def _pooled(model: Model, ids: Sequence[list[int]], padding: int) -> NDArray[np.float32]:
    """Average the states of the real tokens, `(batch, hidden)`."""
    import torch

    read = inputs([Row(tokens, []) for tokens in ids], padding, model.device)
    with torch.inference_mode():
        states = model(**read).last_hidden_state.float()
    mask = read["attention_mask"][..., None]
    return np.asarray(((states * mask).sum(1) / mask.sum(1)).cpu().numpy())
