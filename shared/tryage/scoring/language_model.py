"""What all language models share: loading, windows, batches, token losses and hidden states."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from typing_extensions import Self

from tryage.errors import InputError, MeasurementError
from tryage.scoring.checkpoints import expert_from_checkpoint, load_model_and_tokenizer
from tryage.scoring.measurement import Measurement, MeasurerIdentity, Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import torch

    from tryage.core.arrays import Float32Array
    from tryage.core.expert import Expert
    from tryage.scoring.measurement import Budget

Model: TypeAlias = Any  # the models of transformers have no useful types

Tokenizer: TypeAlias = Any

IGNORE_INDEX = -100  # the label of a token that is read but not scored, as in torch's cross-entropy

# Nats per byte of a text that the model has no token for: it would be sent as raw bytes.
NATS_PER_BYTE = math.log(256)

MAX_PROMPT_TOKENS = 512  # tokens of a prompt that are read for its hidden states


class LanguageModel(ABC):
    """A language model that is measured by its loss on a text.

    Args:
        expert: The expert that is measured.
        load: Returns the model and its fast tokenizer. It is called when measuring starts, so that
            only one of many experts is in memory at a time.
        window: How many tokens are read at once; fewer if the model takes fewer.
        batch_tokens: How many tokens, padding included, are in one batch.
    """

    auto_class: ClassVar[str]  # the Auto class of transformers that reads it

    def __init__(
        self,
        expert: Expert,
        load: Callable[[], tuple[Model, Tokenizer]],
        *,
        window: int = 512,
        batch_tokens: int = 2048,
    ) -> None:
        self.expert, self._load = expert, load
        self.window, self.batch_tokens = window, batch_tokens

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        expert: Expert | None = None,
        device: str | None = None,
        **settings: Any,  # noqa: ANN401 - the keywords of the class
    ) -> Self:
        """Return the measurer of a folder with safetensors, a .gguf file or a Hub id.

        Without an `expert`, the name of the folder or file is its name. Nothing is loaded yet.
        """
        if expert is None:
            expert = expert_from_checkpoint(str(source))
        load = partial(load_model_and_tokenizer, str(source), cls.auto_class, device)
        return cls(expert, load, **settings)

    def with_cached_model(self) -> Self:
        """Return a copy that keeps the model in memory, for prompts that come in several calls."""
        measurer = copy(self)
        measurer._load = cache(self._load)  # noqa: SLF001 - a copy of this object
        return measurer

    @property
    @abstractmethod
    def method(self) -> str:
        """All that changes the numbers, in words."""

    @abstractmethod
    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Cut a prompt into rows of at most `max_length` tokens."""

    @abstractmethod
    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of the scored tokens of each row, `(n_rows,)`."""

    def identify(self) -> MeasurerIdentity:
        """Return the expert and the method."""
        return MeasurerIdentity(self.expert, self.method)

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses, short prompts first.

        Raises:
            MeasurementError: the checkpoint cannot be read, or the model fails on a batch, for
                example because memory is too small.
        """
        model, tokenizer = self._load()
        max_length = min(self.window, *max_lengths(model, tokenizer))
        pad_token_id = tokenizer.pad_token_id or 0
        # About four characters are a token; it only matters that a batch has similar lengths.
        lengths = [len(prompt.text) // 4 + 1 for prompt in prompts]
        for batch in batch_by_length(lengths, self.batch_tokens):
            if budget.stopped:
                return
            texts = [self.prepare(tokenizer, prompts[position], max_length) for position in batch]
            rows = [row for text in texts for row in text.rows]
            try:
                nats = iter(self._batched_losses(model, rows, pad_token_id))
            except (RuntimeError, IndexError) as error:
                raise MeasurementError(f"{self.expert.name} failed on a batch: {error}") from error
            for position, text in zip(batch, texts, strict=True):
                yield position, text.to_measurement(math.fsum(next(nats) for _ in text.rows))

    def _batched_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> list[float]:
        import torch

        nats = [0.0] * len(rows)
        with torch.inference_mode():
            for batch in batch_by_length([len(row.ids) for row in rows], self.batch_tokens):
                losses = self.sequence_losses(
                    model, [rows[position] for position in batch], pad_token_id
                )
                for position, loss in zip(batch, losses.tolist(), strict=True):
                    nats[position] = loss
        return nats


@dataclass(slots=True)
class TokenizedText:
    """What is predicted of one prompt: rows for the model, and the counts for the loss.

    `tokens` counts all that is predicted, `chars` and `bytes` the text of it. `raw_bytes` counts
    the bytes that the tokenizer has no token for; `extra_nats` is the part of the loss that is
    known without the model.
    """

    rows: list[TokenRow] = field(default_factory=list)
    chars: int = 0
    bytes: int = 0
    tokens: int = 0
    raw_bytes: int = 0
    extra_nats: float = 0.0
    error: str | None = None

    def count_text(self, text: str) -> None:
        """Count a text that is to be predicted."""
        self.chars += len(text)
        self.bytes += len(text.encode())

    def add_unknown_token(self, text: str) -> None:
        """Count the text of a token that the model does not know, so it cannot predict it."""
        self.raw_bytes += len(text.encode())

    def to_measurement(self, nats: float) -> Measurement:
        """Return the loss per token, character and byte from the nats of the rows."""
        total = nats + self.extra_nats + NATS_PER_BYTE * self.raw_bytes
        if self.error is not None or not self.tokens or not self.chars:
            return Measurement(error=self.error or "there is nothing to predict in the prompt")
        if not math.isfinite(total):
            return Measurement(error=f"the loss is {total}")
        return Measurement(
            loss=total / self.tokens,
            loss_per_char=total / self.chars,
            bits_per_byte=total / math.log(2) / self.bytes,
        )


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence for the model.

    `labels` are the tokens that are scored, IGNORE_INDEX elsewhere; `target` is the text that a
    decoder has to write.
    """

    ids: list[int]
    labels: list[int]
    target: list[int] = field(default_factory=list)


def pad_sequences(rows: Sequence[list[int]], fill_value: int, device: torch.device) -> torch.Tensor:
    """Return rows of numbers as one tensor, padded on the right."""
    import torch

    max_length = max(map(len, rows))
    return torch.tensor(
        [[*row, *[fill_value] * (max_length - len(row))] for row in rows], device=device
    )


def collate(
    rows: Sequence[TokenRow], pad_token_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the input of a model: the tokens, and a mask that is 0 at padding."""
    return {
        "input_ids": pad_sequences([row.ids for row in rows], pad_token_id, device),
        "attention_mask": pad_sequences([[1] * len(row.ids) for row in rows], 0, device),
    }


def sum_token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the nats of each row's labels under `(batch, length, n_tokens)` logits, `(batch,)`."""
    import torch

    is_scored = labels != IGNORE_INDEX
    losses = torch.nn.functional.cross_entropy(
        logits[is_scored].float(), labels[is_scored], reduction="none"
    )
    total = torch.zeros(len(labels), dtype=torch.float64, device=logits.device)
    return total.index_add(0, is_scored.nonzero()[:, 0], losses.double())


def max_lengths(model: Model, tokenizer: Tokenizer) -> Iterator[int]:
    """Yield how many tokens the model and its tokenizer take, where they declare it."""
    yield int(min(tokenizer.model_max_length, 1 << 20))
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(limit := getattr(model.config, name, None), int) and limit > 0:
            yield limit


class Window(NamedTuple):
    """Tokens `start` to `end` are read; the tokens from `first_scored` on are scored."""

    start: int
    end: int
    first_scored: int


def sliding_windows(n: int, length: int, stride: int) -> Iterator[Window]:
    """Yield windows that score each of `n` tokens, except the first, exactly once.

    Windows start `stride` tokens apart, so a scored token sees at least `length - stride` tokens
    before it, if there are so many.
    """
    first_scored = 1
    for start in range(0, n, stride):
        end = min(start + length, n)
        if first_scored < end:
            yield Window(start, end, first_scored)
        first_scored = end
        if end == n:
            return


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield batches of positions, shortest first: each, padded to its longest, fits `max_tokens`.

    A sequence that does not fit is a batch of its own.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[position] > max_tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def mean_hidden_states(
    source: str, prompts: Sequence[str], *, batch_tokens: int = 2048, progress: bool = True
) -> Float32Array:
    """Embed prompts `(n_prompts, hidden)` with a model: a folder, a .gguf file or a Hub id.

    Only the beginning of a long prompt is read; a prompt without a token becomes zeros.

    Raises:
        InputError: there is no such model, or it has no hidden states to average.
        MissingExtraError: torch or transformers is not installed.
    """
    from tqdm import tqdm

    try:
        model, tokenizer = load_model_and_tokenizer(source, "AutoModel", None)
    except MeasurementError as error:
        raise InputError(str(error)) from error
    if model.config.is_encoder_decoder:
        raise InputError(f"{source} is an encoder-decoder; expected a model without an encoder")
    max_length = min(MAX_PROMPT_TOKENS, *max_lengths(model, tokenizer))
    tokens = tokenizer(list(prompts), truncation=True, max_length=max_length)["input_ids"]
    states = np.zeros((len(tokens), model.config.hidden_size), np.float32)
    with tqdm(total=len(tokens), desc="reading", unit="prompt", disable=not progress) as bar:
        for batch in batch_by_length([len(ids) for ids in tokens], batch_tokens):
            non_empty = [position for position in batch if tokens[position]]
            if non_empty:
                pad_token_id = tokenizer.pad_token_id or 0
                states[non_empty] = _mean_pool(
                    model, [tokens[position] for position in non_empty], pad_token_id
                )
            bar.update(len(batch))
    return states


def _mean_pool(model: Model, tokens: Sequence[list[int]], pad_token_id: int) -> Float32Array:
    """Average the last hidden states of the tokens that are not padding, `(batch, hidden)`."""
    import torch

    batch = collate([TokenRow(ids, []) for ids in tokens], pad_token_id, model.device)
    with torch.inference_mode():
        states = model(**batch).last_hidden_state.float()
    mask = batch["attention_mask"][..., None]
    return np.asarray(((states * mask).sum(1) / mask.sum(1)).cpu().numpy())
