"""Masked-LM loss: how well a model fills in words that are hidden."""

from __future__ import annotations

import math
import random
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tryage.core.validation import number, require
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring.checkpoints import GGUF
from tryage.learning.scoring.language_model import (
    SKIPPED,
    LanguageModel,
    Row,
    Text,
    inputs,
    padded,
    surprise,
    windows,
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


def words(text: str) -> list[Span]:
    """Return where the words of a text are, as `(start, end)` in characters."""
    return [found.span() for found in _WORD.finditer(text)]


def masks(text: str, rate: float, seed: int, rounds: int, least: int = 1) -> list[list[Span]]:
    """Return the words that each round hides, no word twice.

    At least one word is hidden in each; there are more rounds than `rounds` until `least` words are
    hidden, and fewer if there are no more words. Seed and text alone decide, so every expert gets
    the same.
    """
    found = words(text)
    size = max(1, round(rate * len(found)))
    digest = blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    random.Random(int.from_bytes(digest, "big")).shuffle(found)  # noqa: S311 - chance, no secret
    needed = max(rounds, math.ceil(least / size))
    most = math.ceil(len(found) / size)
    return [sorted(found[i * size : (i + 1) * size]) for i in range(min(needed, most))]


def characters(spans: Iterable[Span]) -> set[int]:
    """Return the positions of all characters in some spans."""
    return {at for span in spans for at in range(*span)}


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


def measurer_at(
    source: str, choices: Mapping[str, Callable[[str], LanguageModel]]
) -> LanguageModel:
    """Return the measurer that fits a checkpoint: the first whose word is in its architecture.

    Raises:
        InputError: it has no config.json, or no architecture that has a loss.
    """
    if source.endswith(GGUF):
        return choices["ForCausalLM"](source)
    require("transformers", "train")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} is no model that can be read: {str(error)[:300]}") from error
    names = getattr(config, "architectures", None) or []
    for word, make in choices.items():
        if any(word in name for name in names):
            return make(source)
    raise InputError(f"{source} is a {names or 'model of no kind'}; expected one of {[*choices]}.")
