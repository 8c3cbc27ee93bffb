"""Causal-LM loss: how well a model predicts each token from those before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tryage.scoring.likelihood import SKIPPED, LanguageModel, Row, Text, inputs, padded, surprise
from tryage.scoring.windows import windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from tryage.scoring.likelihood import Model, Tokenizer
    from tryage.scoring.measurement import Prompt


class CausalLM(LanguageModel):
    """The loss of a causal language model (GPT, Llama ...) on a prompt.

    Long prompts are read in windows that move by half, as in the perplexity guide of transformers.
    The first token is predicted from the token that starts a text; a model without one pays for it
    as for any token of its vocabulary. A token that it does not know counts as raw bytes.
    """

    network = "AutoModelForCausalLM"

    @property
    def method(self) -> str:
        """All that changes the numbers, in words."""
        return f"causal-LM loss, window {self.window}"

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, room: int) -> Text:
        """Cut the prompt into windows that slide."""
        found = tokenizer(
            prompt.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        text = Text(tokens=len(found["input_ids"]))
        text.cover(prompt.text)
        ids, labels = list(found["input_ids"]), list(found["input_ids"])
        for at, place in enumerate(found["offset_mapping"]):
            if ids[at] == tokenizer.unk_token_id:
                text.charge_raw(prompt.text[slice(*place)])
                labels[at] = SKIPPED
        start = tokenizer.bos_token_id
        start = tokenizer.eos_token_id if start is None else start
        if start is not None:
            ids, labels = [start, *ids], [SKIPPED, *labels]
        elif labels and labels[0] != SKIPPED:
            text.extra_nats = math.log(len(tokenizer))
        for begin, end, first in windows(len(ids), room, max(1, room // 2)):
            skipped = [SKIPPED] * (first - begin)
            scored = labels[first:end]
            if any(label != SKIPPED for label in scored):
                text.rows.append(Row(ids[begin:end], [*skipped, *scored]))
        return text

    def score(self, model: Model, rows: Sequence[Row], padding: int) -> torch.Tensor:
        """Return the nats of the scored tokens of each row."""
        labels = padded([row.labels for row in rows], SKIPPED, model.device)
        logits = model(**inputs(rows, padding, model.device)).logits
        return surprise(logits[:, :-1], labels[:, 1:])
