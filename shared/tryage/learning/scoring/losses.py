"""Masked-LM loss: how well a model fills in words that are hidden."""

from __future__ import annotations

import math
import random
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tryage.core.validation import check_number, require_extra
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring.checkpoints import GGUF
from tryage.learning.scoring.language_model import (
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

    from tryage.learning.scoring.language_model import Model, Tokenizer
    from tryage.learning.scoring.measurement import Budget, Measurement, Prompt

Span: TypeAlias = tuple[int, int]

# A run of letters and digits, or one sign. Scripts without spaces have no words that a rule could
# find: each of their characters is one (CJK ideographs, kana, Hangul).
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s]"
)


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

    auto_class = "AutoModelForMaskedLM"

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
        known = char_positions(place for part in windows for place in part.offsets if place)
        for spans in sample_masks(prompt.text, self.rate, self.seed, self.rounds, self.least):
            hidden = char_positions(spans)
            for part in windows:
                _add_masked_row(tokenizer, prompt.text, part, hidden, text)
            for start, end in spans:
                text.count_text(prompt.text[start:end])
                if known.isdisjoint(range(start, end)):
                    text.tokens += 1
                    text.add_unknown_token(prompt.text[start:end])
        return text

    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of the hidden tokens of each row."""
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, model.device)
        return sum_token_losses(model(**collate(rows, pad_token_id, model.device)).logits, labels)


class _TokenWindow(NamedTuple):
    """Tokens of a window, and where each stands in the text; those put around it nowhere."""

    ids: list[int]
    offsets: list[Span | None]


def _split_into_windows(
    tokenizer: Tokenizer, prompt_text: str, max_length: int
) -> list[_TokenWindow]:
    """Cut a text into windows, with the tokens around each that the model expects."""
    found = tokenizer(
        prompt_text,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    parts = zip(
        found["input_ids"], found["offset_mapping"], found["special_tokens_mask"], strict=True
    )
    return [
        _TokenWindow(
            list(ids), [None if put else place for place, put in zip(places, added, strict=True)]
        )
        for ids, places, added in parts
    ]


def _add_masked_row(
    tokenizer: Tokenizer,
    prompt_text: str,
    window: _TokenWindow,
    hidden: set[int],
    text: TokenizedText,
) -> None:
    """Add a window in which the tokens of some words are hidden."""
    ids, labels = list(window.ids), [IGNORE_INDEX] * len(window.ids)
    for at, place in enumerate(window.offsets):
        if place is None or hidden.isdisjoint(range(*place)):
            continue
        text.tokens += 1
        ids[at] = tokenizer.mask_token_id
        if window.ids[at] == tokenizer.unk_token_id:
            text.add_unknown_token(prompt_text[slice(*place)])
        else:
            labels[at] = window.ids[at]
    if any(label != IGNORE_INDEX for label in labels):
        text.rows.append(TokenRow(ids, labels))


def word_spans(text: str) -> list[Span]:
    """Return where the words of a text are, as `(start, end)` in characters."""
    return [found.span() for found in _WORD.finditer(text)]


def sample_masks(
    text: str, rate: float, seed: int, rounds: int, min_words: int = 1
) -> list[list[Span]]:
    """Return the words that each round hides, no word twice.

    At least one word is hidden in each; there are more rounds than `rounds` until `least` words are
    hidden, and fewer if there are no more words. Seed and text alone decide, so every expert gets
    the same.
    """
    found = word_spans(text)
    size = max(1, round(rate * len(found)))
    digest = blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    random.Random(int.from_bytes(digest, "big")).shuffle(found)  # noqa: S311 - chance, no secret
    needed = max(rounds, math.ceil(min_words / size))
    most = math.ceil(len(found) / size)
    return [sorted(found[i * size : (i + 1) * size]) for i in range(min(needed, most))]


def char_positions(spans: Iterable[Span]) -> set[int]:
    """Return the positions of all characters in some spans."""
    return {at for span in spans for at in range(*span)}


class CausalLM(LanguageModel):
    """The loss of a causal language model (GPT, Llama ...) on a prompt.

    Long prompts are read in windows that move by half, as in the perplexity guide of transformers.
    The first token is predicted from the token that starts a text; a model without one pays for it
    as for any token of its vocabulary. A token that it does not know counts as raw bytes.
    """

    auto_class = "AutoModelForCausalLM"

    @property
    def method(self) -> str:
        """All that changes the numbers, in words."""
        return f"causal-LM loss, window {self.window}"

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Cut the prompt into windows that slide."""
        found = tokenizer(
            prompt.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        text = TokenizedText(tokens=len(found["input_ids"]))
        text.count_text(prompt.text)
        ids, labels = list(found["input_ids"]), list(found["input_ids"])
        for at, place in enumerate(found["offset_mapping"]):
            if ids[at] == tokenizer.unk_token_id:
                text.add_unknown_token(prompt.text[slice(*place)])
                labels[at] = IGNORE_INDEX
        start = tokenizer.bos_token_id
        start = tokenizer.eos_token_id if start is None else start
        if start is not None:
            ids, labels = [start, *ids], [IGNORE_INDEX, *labels]
        elif labels and labels[0] != IGNORE_INDEX:
            text.extra_nats = math.log(len(tokenizer))
        for begin, end, first in sliding_windows(len(ids), max_length, max(1, max_length // 2)):
            skipped = [IGNORE_INDEX] * (first - begin)
            scored = labels[first:end]
            if any(label != IGNORE_INDEX for label in scored):
                text.rows.append(TokenRow(ids[begin:end], [*skipped, *scored]))
        return text

    def sequence_losses(
        self, model: Model, rows: Sequence[TokenRow], pad_token_id: int
    ) -> torch.Tensor:
        """Return the nats of the scored tokens of each row."""
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, model.device)
        logits = model(**collate(rows, pad_token_id, model.device)).logits
        return sum_token_losses(logits[:, :-1], labels[:, 1:])


class Seq2SeqLM(LanguageModel):
    """The loss of an encoder-decoder (T5, BART ...) on the first reference of a prompt.

    The prompt is cut where the model's room ends; a reference that does not fit is an error. The
    end of the reference is predicted too. A token that it does not know counts as raw bytes.
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
            MeasurementError: as for every language model.
        """
        for prompt in prompts:
            if not prompt.references:
                raise InputError(f"seq2seq loss needs a reference; {prompt.text!r:.80} has none.")
        yield from super().measure(prompts, budget)

    def prepare(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int) -> TokenizedText:
        """Pair the prompt with its reference."""
        reference = prompt.references[0]
        source = tokenizer(prompt.text, truncation=True, max_length=max_length)["input_ids"]
        found = tokenizer(text_target=reference, return_offsets_mapping=True, verbose=False)
        target = list(found["input_ids"])
        text, labels = TokenizedText(tokens=len(target)), list(target)
        text.count_text(reference)
        for at, place in enumerate(found["offset_mapping"]):
            if target[at] == tokenizer.unk_token_id:
                text.add_unknown_token(reference[slice(*place)])
                labels[at] = IGNORE_INDEX
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
        """Return the nats of the reference of each row."""
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, model.device)
        targets = pad_sequences([row.target for row in rows], IGNORE_INDEX, model.device)
        before = model.prepare_decoder_input_ids_from_labels(labels=targets)
        logits = model(**collate(rows, pad_token_id, model.device), decoder_input_ids=before).logits
        return sum_token_losses(logits, labels)


def measurer_for(
    source: str, factories: Mapping[str, Callable[[str], LanguageModel]]
) -> LanguageModel:
    """Return the measurer that fits a checkpoint: the first whose word is in its architecture.

    Raises:
        InputError: it has no config.json, or no architecture that has a loss.
    """
    if source.endswith(GGUF):
        return factories["ForCausalLM"](source)
    require_extra("transformers", "train")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} is no model that can be read: {str(error)[:300]}") from error
    names = getattr(config, "architectures", None) or []
    for word, make in factories.items():
        if any(word in name for name in names):
            return make(source)
    raise InputError(
        f"{source} is a {names or 'model of no kind'}; expected one of {[*factories]}."
    )
