"""Sequence-to-sequence loss: how well a model predicts the reference from the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.errors import InputError
from tryage.scoring.likelihood import SKIPPED, LanguageModel, Row, Text, inputs, padded, surprise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from tryage.scoring.budget import Budget
    from tryage.scoring.likelihood import Model, Tokenizer
    from tryage.scoring.measurement import Measurement, Prompt


class Seq2SeqLM(LanguageModel):
    """The loss of an encoder-decoder (T5, BART ...) on the first reference of a prompt.

    The prompt is cut where the model's room ends; a reference that does not fit is an error. The
    end of the reference is predicted too. A token that it does not know counts as raw bytes.
    """

    network = "AutoModelForSeq2SeqLM"

    @property
    def method(self) -> str:
        """All that changes the numbers, in words."""
        return f"seq2seq loss, window {self.window}"

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses of the references, short prompts first.

        Raises:
            InputError: a prompt has no reference.
            MeasurementError: as for every language model.
        """
        for prompt in prompts:
            if not prompt.references:
                raise InputError(f"seq2seq loss needs a reference; {prompt.text!r:.80} has none.")
        yield from super().measure(prompts, budget)

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, room: int) -> Text:
        """Pair the prompt with its reference."""
        reference = prompt.references[0]
        source = tokenizer(prompt.text, truncation=True, max_length=room)["input_ids"]
        found = tokenizer(text_target=reference, return_offsets_mapping=True, verbose=False)
        target = list(found["input_ids"])
        text, labels = Text(tokens=len(target)), list(target)
        text.cover(reference)
        for at, place in enumerate(found["offset_mapping"]):
            if target[at] == tokenizer.unk_token_id:
                text.charge_raw(reference[slice(*place)])
                labels[at] = SKIPPED
        if len(labels) > room:
            text.error = f"the reference has {len(labels)} tokens, the model has room for {room}"
        else:
            text.rows.append(Row(source, labels, target))
        return text

    def score(self, model: Model, rows: Sequence[Row], padding: int) -> torch.Tensor:
        """Return the nats of the reference of each row."""
        labels = padded([row.labels for row in rows], SKIPPED, model.device)
        targets = padded([row.target for row in rows], SKIPPED, model.device)
        before = model.prepare_decoder_input_ids_from_labels(labels=targets)
        logits = model(**inputs(rows, padding, model.device), decoder_input_ids=before).logits
        return surprise(logits, labels)
