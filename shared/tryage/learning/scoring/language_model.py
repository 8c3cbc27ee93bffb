"""The losses of language models: what masked, causal and sequence-to-sequence models share."""

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
from tryage.learning.scoring.checkpoints import expert_from_checkpoint, load_model_and_tokenizer
from tryage.learning.scoring.measurement import Measurement, MeasurerIdentity, Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from tryage.core.expert import Expert
    from tryage.learning.scoring.measurement import Budget

Model: TypeAlias = Any  # what transformers reads has no useful types

Tokenizer: TypeAlias = Any

IGNORE_INDEX = -100  # the label of a token that is read and not scored, as in torch's cross-entropy

NATS_PER_BYTE = math.log(
    256
)  # nats per byte of what a model cannot write: it would be sent as raw bytes

MAX_PROMPT_TOKENS = 512  # tokens of a prompt that are read


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence for the model, what is scored in it, and what a decoder has to write."""

    ids: list[int]
    labels: list[int]
    target: list[int] = field(default_factory=list)


@dataclass(slots=True)
class TokenizedText:
    """What has to be predicted of one prompt: rows for the model, and what they amount to.

    `raw_bytes` counts the bytes that the tokeniser has no token for, `extra_nats` what is known
    without the model, `tokens` all that is predicted; `chars` and `bytes` are those of the text.
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
        """Count a token that the model does not know, so it cannot predict what stands there."""
        self.raw_bytes += len(text.encode())

    def to_measurement(self, nats: float) -> Measurement:
        """Return the loss per token, character and byte."""
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


class LanguageModel(ABC):
    """A language model whose loss on a text is measured.

    Args:
        expert: Whose losses these are.
        load: Returns the model and its fast tokeniser; called when measuring starts, so that of
            many experts one at a time is in memory.
        window: How many tokens are read at once; less if the model takes less.
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
        **settings: Any,  # noqa: ANN401 - those of the class
    ) -> Self:
        """Return the measurer of a folder with safetensors, a .gguf file or a Hub id.

        Without an `expert`, its name is that of the folder or file. Nothing is loaded yet.
        """
        known = expert_from_checkpoint(str(source)) if expert is None else expert
        return cls(
            known,
            partial(load_model_and_tokenizer, str(source), cls.auto_class, device),
            **settings,
        )

    def with_cached_model(self) -> Self:
        """Return the same with a model that stays in memory, for prompts that come in parts."""
        kept = copy(self)
        kept._load = cache(self._load)  # noqa: SLF001 - its own
        return kept

    @property
    @abstractmethod
    def method(self) -> str:
        """All that changes the numbers, in words."""

    @abstractmethod
    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Cut a prompt into rows of at most `room` tokens."""

    @abstractmethod
    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of what is scored in each row, `(n_rows,)`."""

    def identify(self) -> MeasurerIdentity:
        """Say whose losses these are."""
        return MeasurerIdentity(self.expert, self.method)

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses, short prompts first.

        Raises:
            MeasurementError: the checkpoint cannot be read, or the model fails on a batch, for want
                of memory for example.
        """
        model, tokenizer = self._load()
        max_length = min(self.window, *max_lengths(model, tokenizer))
        padding = tokenizer.pad_token_id or 0
        # Four characters are about a token; what matters is that a batch is of like lengths.
        lengths = [len(prompt.text) // 4 + 1 for prompt in prompts]
        for batch in batch_by_length(lengths, self.batch_tokens):
            if budget.stopped:
                return
            texts = [self.prepare(tokenizer, prompts[at], max_length) for at in batch]
            rows = [row for text in texts for row in text.rows]
            try:
                nats = iter(self._batched_losses(model, rows, padding))
            except (RuntimeError, IndexError) as error:
                raise MeasurementError(f"{self.expert.name} failed on a batch: {error}") from error
            for at, text in zip(batch, texts, strict=True):
                yield at, text.to_measurement(math.fsum(next(nats) for _ in text.rows))

    def _batched_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> list[float]:
        import torch

        nats = [0.0] * len(rows)
        with torch.inference_mode():
            for batch in batch_by_length([len(row.ids) for row in rows], self.batch_tokens):
                found = self.sequence_losses(
                    model, [rows[at] for at in batch], pad_token_id
                ).tolist()
                for at, value in zip(batch, found, strict=True):
                    nats[at] = value
        return nats


def pad_sequences(rows: Sequence[list[int]], fill_value: int, device: torch.device) -> torch.Tensor:
    """Return rows of numbers as one tensor, filled up on the right."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor(
        [[*row, *[fill_value] * (longest - len(row))] for row in rows], device=device
    )


def collate(
    rows: Sequence[TokenRow], pad_token_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return what a model reads: the tokens, and which of them are no padding."""
    return {
        "input_ids": pad_sequences([row.ids for row in rows], pad_token_id, device),
        "attention_mask": pad_sequences([[1] * len(row.ids) for row in rows], 0, device),
    }


def sum_token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the nats of each row's labels under `(batch, length, n_tokens)` logits, `(batch,)`."""
    import torch

    scored = labels != IGNORE_INDEX
    each = torch.nn.functional.cross_entropy(
        logits[scored].float(), labels[scored], reduction="none"
    )
    total = torch.zeros(len(labels), dtype=torch.float64, device=logits.device)
    return total.index_add(0, scored.nonzero()[:, 0], each.double())


def max_lengths(model: Model, tokenizer: Tokenizer) -> Iterator[int]:
    """Yield how many tokens the model and its tokeniser take, where they say so."""
    yield int(min(tokenizer.model_max_length, 1 << 20))
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(limit := getattr(model.config, name, None), int) and limit > 0:
            yield limit


class Window(NamedTuple):
    """Tokens `start` to `end` are read; those from `first` on are scored."""

    start: int
    end: int
    first_scored: int


def sliding_windows(n: int, length: int, stride: int) -> Iterator[Window]:
    """Yield windows that score each of `n` tokens but the first exactly once.

    Every window but the first moves by `stride`, so a token sees at least `length - stride` before
    it if there are so many.
    """
    first = 1
    for start in range(0, n, stride):
        end = min(start + length, n)
        if first < end:
            yield Window(start, end, first)
        first = end
        if end == n:
            return


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield positions, shortest first: each batch padded to its longest fits in `room`.

    One that does not fit is a batch of its own.
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
) -> NDArray[np.float32]:
    """Embed prompts `(n_prompts, hidden)` by a model in a folder, a .gguf file or of a Hub id.

    Of a long prompt the beginning is read; one without a token becomes zeros.

    Raises:
        InputError: there is no such model, or it has no hidden states to average.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        model, tokenizer = load_model_and_tokenizer(source, "AutoModel", None)
    except MeasurementError as error:
        raise InputError(str(error)) from error
    if model.config.is_encoder_decoder:
        raise InputError(f"{source} writes from what it has read; expected a model without encoder")
    from tqdm import tqdm

    max_length = min(MAX_PROMPT_TOKENS, *max_lengths(model, tokenizer))
    found = tokenizer(list(prompts), truncation=True, max_length=max_length)["input_ids"]
    rows = np.zeros((len(found), model.config.hidden_size), np.float32)
    with tqdm(total=len(found), desc="reading", unit="prompt", disable=not progress) as bar:
        for batch in batch_by_length([len(ids) for ids in found], batch_tokens):
            some = [at for at in batch if found[at]]
            if some:
                padding = tokenizer.pad_token_id or 0
                rows[some] = _mean_pool(model, [found[at] for at in some], padding)
            bar.update(len(batch))
    return rows


def _mean_pool(model: Model, ids: Sequence[list[int]], pad_token_id: int) -> NDArray[np.float32]:
    """Average the states of the real tokens, `(batch, hidden)`."""
    import torch

    read = collate([TokenRow(tokens, []) for tokens in ids], pad_token_id, model.device)
    with torch.inference_mode():
        states = model(**read).last_hidden_state.float()
    mask = read["attention_mask"][..., None]
    return np.asarray(((states * mask).sum(1) / mask.sum(1)).cpu().numpy())
