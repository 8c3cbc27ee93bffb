"""Masked-LM loss: how well a model fills in words that are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.errors import MeasurementError
from tryage.experts.values import number
from tryage.scoring.likelihood import SKIPPED, LanguageModel, Row, Text, inputs, padded, surprise
from tryage.scoring.masks import Span, characters, masks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from tryage.scoring.likelihood import Model, Tokenizer
    from tryage.scoring.measurement import Prompt


class MaskedLM(LanguageModel):
    """The loss of a masked language model (BERT and its kin) on hidden words.

    Whole words are hidden, a share `rate` of them in each of `rounds` passes, no word twice. A
    short text is read in more passes until `least` words were hidden: a loss on two of them says
    more of the words than of the expert. `seed` and text decide which, so all experts fill the
    same gaps. Every token of a hidden word counts; one that the model does not know counts as raw
    bytes, and so does a word without a token.
    Masked and causal losses do not compare: one sees both sides of what it predicts.

    Raises:
        InputError: `rate` is not in (0, 1], or `rounds` or `least` is not at least 1.
    """

    network = "AutoModelForMaskedLM"

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - those of LanguageModel
        rate: float = 0.15,
        rounds: int = 1,
        least: int = 20,
        seed: int = 0,
        **settings: Any,  # noqa: ANN401 - those of LanguageModel
    ) -> None:
        super().__init__(*args, **settings)
        self.rate = number("rate", rate, 1e-6, 1.0)
        self.rounds, self.seed = int(number("rounds", rounds, 1)), seed
        self.least = int(number("least", least, 1))

    @property
    def method(self) -> str:
        """All that changes the numbers, in words."""
        return (
            f"masked-LM loss, {self.rate:g} of the words, {self.rounds} rounds, "
            f"at least {self.least} words, seed {self.seed}, window {self.window}"
        )

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, room: int) -> Text:
        """Cut the prompt into windows, and hide words in them, once for each round."""
        if tokenizer.mask_token_id is None:
            raise MeasurementError(f"{self.expert.name} has no mask token, so no masked-LM loss.")
        text, parts = Text(), _cut(tokenizer, prompt.text, room)
        known = characters(place for part in parts for place in part.places if place)
        for spans in masks(prompt.text, self.rate, self.seed, self.rounds, self.least):
            hidden = characters(spans)
            for part in parts:
                _hide(tokenizer, prompt.text, part, hidden, text)
            for start, end in spans:
                text.cover(prompt.text[start:end])
                if known.isdisjoint(range(start, end)):
                    text.tokens += 1
                    text.charge_raw(prompt.text[start:end])
        return text

    def score(self, model: Model, rows: Sequence[Row], padding: int) -> torch.Tensor:
        """Return the nats of the hidden tokens of each row."""
        labels = padded([row.labels for row in rows], SKIPPED, model.device)
        return surprise(model(**inputs(rows, padding, model.device)).logits, labels)


class _Part(NamedTuple):
    """Tokens of a window, and where each stands in the text; those put around it nowhere."""

    ids: list[int]
    places: list[Span | None]


def _cut(tokenizer: Tokenizer, given: str, room: int) -> list[_Part]:
    """Cut a text into windows, with the tokens around each that the model expects."""
    found = tokenizer(
        given,
        truncation=True,
        max_length=room,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    parts = zip(
        found["input_ids"], found["offset_mapping"], found["special_tokens_mask"], strict=True
    )
    return [
        _Part(list(ids), [None if put else place for place, put in zip(places, added, strict=True)])
        for ids, places, added in parts
    ]


def _hide(tokenizer: Tokenizer, given: str, part: _Part, hidden: set[int], text: Text) -> None:
    """Add a window in which the tokens of some words are hidden."""
    ids, labels = list(part.ids), [SKIPPED] * len(part.ids)
    for at, place in enumerate(part.places):
        if place is None or hidden.isdisjoint(range(*place)):
            continue
        text.tokens += 1
        ids[at] = tokenizer.mask_token_id
        if part.ids[at] == tokenizer.unk_token_id:
            text.charge_raw(given[slice(*place)])
        else:
            labels[at] = part.ids[at]
    if any(label != SKIPPED for label in labels):
        text.rows.append(Row(ids, labels))
