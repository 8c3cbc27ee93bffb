"""The losses of masked, causal and sequence-to-sequence language models."""

from __future__ import annotations

import math
import random
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tryage.core.validation import check_number, require_extra
from tryage.errors import InputError, MeasurementError
from tryage.scoring.checkpoints import GGUF_SUFFIX
from tryage.scoring.language_model import (
    IGNORE_INDEX,
    LanguageModel,
    TokenizedText,
    TokenRow,
    collate,
    pad_sequences,
    sliding_windows,
    sum_token_losses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import torch

    from tryage.scoring.language_model import Model, Tokenizer
    from tryage.scoring.measurement import Budget, Measurement, Prompt

Span: TypeAlias = tuple[int, int]

# A run of letters and digits, or one sign. In scripts without spaces no rule finds the words, so
# each of their characters is a word (CJK ideographs, kana, Hangul).
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s]"
)


class MaskedLM(LanguageModel):
    """The loss of a masked language model (BERT and similar) on hidden words.

    Whole words are hidden: a fraction `rate` of them in each of `rounds` passes, no word twice. A
    short text is read in more passes until `least` words were hidden, because a loss on two words
    depends more on the words than on the expert. Seed and text alone decide which words are hidden,
    so all experts predict the same ones. Every token of a hidden word counts; a token that the
    model does not know counts as raw bytes, and so does a word without a token.

    Masked and causal losses cannot be compared: a masked model sees both sides of what it predicts.

    Raises:
        InputError: `rate` is not in (0, 1], or `rounds` or `least` is not at least 1.
    """

    auto_class = "AutoModelForMaskedLM"

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - the arguments of LanguageModel
        rate: float = 0.15,
        rounds: int = 1,
        least: int = 20,
        seed: int = 0,
        **settings: Any,  # noqa: ANN401 - the keywords of LanguageModel
    ) -> None:
        super().__init__(*args, **settings)
        self.rate = check_number("rate", rate, 1e-6, 1.0)
        self.rounds, self.seed = int(check_number("rounds", rounds, 1)), seed
        self.least = int(check_number("least", least, 1))

    @property
    def method(self) -> str:
        """All that changes the numbers, in words."""
        return (
            f"masked-LM loss, {self.rate:g} of the words, {self.rounds} rounds, "
            f"at least {self.least} words, seed {self.seed}, window {self.window}"
        )

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Cut the prompt into windows, and hide words in them, once for each round."""
        if tokenizer.mask_token_id is None:
            raise MeasurementError(f"{self.expert.name} has no mask token, so no masked-LM loss.")
        text, windows = TokenizedText(), _split_into_windows(tokenizer, prompt.text, max_length)
        covered_chars = char_positions(
            span for window in windows for span in window.offsets if span
        )
        for spans in sample_masks(prompt.text, self.rate, self.seed, self.rounds, self.least):
            hidden_chars = char_positions(spans)
            for window in windows:
                _add_masked_row(tokenizer, prompt.text, window, hidden_chars, text)
            for start, end in spans:
                text.count_text(prompt.text[start:end])
                if covered_chars.isdisjoint(range(start, end)):
                    text.tokens += 1
                    text.add_unknown_token(prompt.text[start:end])
        return text

    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of the hidden tokens of each row, `(n_rows,)`."""
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, model.device)
        return sum_token_losses(model(**collate(rows, pad_token_id, model.device)).logits, labels)


class CausalLM(LanguageModel):
    """The loss of a causal language model (GPT, Llama ...) on a prompt.

    Long prompts are read in windows that move by half their length, as in the perplexity guide of
    transformers. The first token is predicted from the token that starts a text; for a model
    without such a token it costs as much as any token of the vocabulary. A token that the model
    does not know counts as raw bytes.
    """

    auto_class = "AutoModelForCausalLM"

    @property
    def method(self) -> str:
        """All that changes the numbers, in words."""
        return f"causal-LM loss, window {self.window}"

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Cut the prompt into sliding windows."""
        encoding = tokenizer(
            prompt.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ids = list(encoding["input_ids"])
        text = TokenizedText(tokens=len(ids))
        text.count_text(prompt.text)
        labels = _label_tokens(tokenizer, ids, encoding["offset_mapping"], prompt.text, text)
        start_token = tokenizer.bos_token_id
        start_token = tokenizer.eos_token_id if start_token is None else start_token
        if start_token is not None:
            ids, labels = [start_token, *ids], [IGNORE_INDEX, *labels]
        elif labels and labels[0] != IGNORE_INDEX:
            text.extra_nats = math.log(len(tokenizer))
        for start, end, first_scored in sliding_windows(
            len(ids), max_length, max(1, max_length // 2)
        ):
            scored_labels = labels[first_scored:end]
            if any(label != IGNORE_INDEX for label in scored_labels):
                ignored_labels = [IGNORE_INDEX] * (first_scored - start)
                text.rows.append(TokenRow(ids[start:end], [*ignored_labels, *scored_labels]))
        return text

    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of the scored tokens of each row, `(n_rows,)`."""
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, model.device)
        logits = model(**collate(rows, pad_token_id, model.device)).logits
        return sum_token_losses(logits[:, :-1], labels[:, 1:])


class Seq2SeqLM(LanguageModel):
    """The loss of an encoder-decoder (T5, BART ...) on the first reference of a prompt.

    A prompt that is longer than the model takes is cut; a reference that does not fit is an error.
    The end of the reference is predicted, too. A token that the model does not know counts as raw
    bytes.
    """

    auto_class = "AutoModelForSeq2SeqLM"

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
            MeasurementError: the checkpoint cannot be read, or the model fails on a batch.
        """
        for prompt in prompts:
            if not prompt.references:
                raise InputError(f"seq2seq loss needs a reference; {prompt.text!r:.80} has none.")
        yield from super().measure(prompts, budget)

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Pair the prompt with its reference."""
        reference = prompt.references[0]
        source = tokenizer(prompt.text, truncation=True, max_length=max_length)["input_ids"]
        encoding = tokenizer(text_target=reference, return_offsets_mapping=True, verbose=False)
        target = list(encoding["input_ids"])
        text = TokenizedText(tokens=len(target))
        text.count_text(reference)
        labels = _label_tokens(tokenizer, target, encoding["offset_mapping"], reference, text)
        if len(labels) > max_length:
            text.error = (
                f"the reference has {len(labels)} tokens, the model has room for {max_length}"
            )
        else:
            text.rows.append(TokenRow(source, labels, target))
        return text

    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of the reference of each row, `(n_rows,)`."""
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, model.device)
        targets = pad_sequences([row.target for row in rows], IGNORE_INDEX, model.device)
        decoder_ids = model.prepare_decoder_input_ids_from_labels(labels=targets)
        batch = collate(rows, pad_token_id, model.device)
        return sum_token_losses(model(**batch, decoder_input_ids=decoder_ids).logits, labels)


def measurer_for(
    source: str, factories: Mapping[str, Callable[[str], LanguageModel]]
) -> LanguageModel:
    """Return the measurer of a checkpoint: of the first factory with a key in its architecture.

    Raises:
        InputError: the checkpoint has no config.json, or an architecture that no factory measures.
    """
    if source.endswith(GGUF_SUFFIX):
        return factories["ForCausalLM"](source)
    require_extra("transformers", "train")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} is not a readable model: {str(error)[:300]}") from error
    architectures = getattr(config, "architectures", None) or []
    for key, factory in factories.items():
        if any(key in name for name in architectures):
            return factory(source)
    raise InputError(
        f"{source} has the architecture {architectures or 'unknown'}; expected one of "
        f"{[*factories]}."
    )


def sample_masks(
    text: str, rate: float, seed: int, rounds: int, min_words: int = 1
) -> list[list[Span]]:
    """Return the words that each round hides, no word twice.

    At least one word is hidden in each round. There are more rounds than `rounds` until `min_words`
    words are hidden, and fewer if there are no more words. Seed and text alone decide, so every
    expert gets the same masks.
    """
    words = word_spans(text)
    size = max(1, round(rate * len(words)))
    digest = blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    random.Random(int.from_bytes(digest, "big")).shuffle(words)  # noqa: S311 - no secret depends on it
    n_rounds = max(rounds, math.ceil(min_words / size))
    max_rounds = math.ceil(len(words) / size)
    return [sorted(words[i * size : (i + 1) * size]) for i in range(min(n_rounds, max_rounds))]


def word_spans(text: str) -> list[Span]:
    """Return where the words of a text are, as `(start, end)` in characters."""
    return [match.span() for match in _WORD.finditer(text)]


def char_positions(spans: Iterable[Span]) -> set[int]:
    """Return the positions of all characters in some spans."""
    return {position for span in spans for position in range(*span)}


class _TokenWindow(NamedTuple):
    """The tokens of a window with their spans in the text; None for the model's special tokens."""

    ids: list[int]
    offsets: list[Span | None]


def _split_into_windows(
    tokenizer: Tokenizer, prompt_text: str, max_length: int
) -> list[_TokenWindow]:
    """Cut a text into windows, each with the special tokens that the model expects around it."""
    encoding = tokenizer(
        prompt_text,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    names = ("input_ids", "offset_mapping", "special_tokens_mask")
    return [
        _TokenWindow(
            list(ids),
            [
                None if is_special else span
                for span, is_special in zip(spans, special_mask, strict=True)
            ],
        )
        for ids, spans, special_mask in zip(*(encoding[name] for name in names), strict=True)
    ]


def _add_masked_row(
    tokenizer: Tokenizer,
    prompt_text: str,
    window: _TokenWindow,
    hidden_chars: set[int],
    text: TokenizedText,
) -> None:
    """Add a window in which the tokens of the characters at `hidden_chars` are masked."""
    ids, labels = list(window.ids), [IGNORE_INDEX] * len(window.ids)
    for position, span in enumerate(window.offsets):
        if span is None or hidden_chars.isdisjoint(range(*span)):
            continue
        text.tokens += 1
        ids[position] = tokenizer.mask_token_id
        if window.ids[position] == tokenizer.unk_token_id:
            text.add_unknown_token(prompt_text[slice(*span)])
        else:
            labels[position] = window.ids[position]
    if any(label != IGNORE_INDEX for label in labels):
        text.rows.append(TokenRow(ids, labels))


def _label_tokens(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    offsets: Sequence[Span],
    source: str,
    text: TokenizedText,
) -> list[int]:
    """Return the tokens as labels; those that the model does not know count as raw bytes."""
    labels = list(ids)
    for position, span in enumerate(offsets):
        if ids[position] == tokenizer.unk_token_id:
            text.add_unknown_token(source[slice(*span)])
            labels[position] = IGNORE_INDEX
    return labels
