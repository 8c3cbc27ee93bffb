"""A language model on this machine is asked which expert should read a text, as the paper does."""

from __future__ import annotations

import copy
import json
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

START, END = 1, 2  # <|im_start|> and <|im_end|> of SmolLM2
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
NO_TEXT = "N/A"  # what a model answers to nothing is its bias (Zhao et al., arXiv 2102.09690)
LISTED = "Here are language models and the texts that each was trained on:\n\n{experts}\n\n"
WAYS = (
    "Here is a text:\n\n{text}\n\nWhich of the models was trained on texts like this one? "
    "Answer with its name only.",
    "Choose the best model for the following text. Answer with the name of the model.\n\n"
    "Text: {text}\n\nModel:",
    "Text: {text}\n\nQuestion: Which model knows this kind of text best?\nAnswer with one name "
    "from the list.",
)


class Asked:
    """SmolLM2-135M-Instruct, greedily asked in its own chat format.

    `descriptions` are of the experts, by name; `way` is one of `WAYS`.
    """

    def __init__(self, folder: Path, descriptions: Mapping[str, str], way: str = WAYS[0]) -> None:
        self.folder, self.descriptions, self.way = folder, descriptions, way
        self._read: tuple[tuple[str, ...], Any] = ((), None)

    def likelihoods(self, text: str, order: Sequence[str]) -> list[float]:
        """Return the log-probability of each name as the whole answer, in the given order.

        No answer is unreadable this way: more than the model is given in practice.
        """
        import torch

        names = [[*self._ids(name), END] for name in order]
        longest = max(map(len, names))
        batch = torch.tensor([[*ids, *[END] * (longest - len(ids))] for ids in names])
        with torch.inference_mode():
            cache, first = self._asked(text, order)
            cache.batch_repeat_interleave(len(names))
            rest = self._model(batch[:, :-1], past_key_values=cache).logits
            scores = torch.cat([first.expand(len(names), 1, -1), rest], 1).float().log_softmax(-1)
            each = scores.gather(2, batch[..., None])[..., 0]
        return [float(row[: len(ids)].sum()) for row, ids in zip(each, names, strict=True)]

    def answer(self, text: str, order: Sequence[str], new_tokens: int = 16) -> str:
        """Return what it writes when it is free to write anything."""
        import torch

        made: list[int] = []
        with torch.inference_mode():
            cache, scores = self._asked(text, order)
            while len(made) < new_tokens and (token := int(scores[0, -1].argmax())) != END:
                made.append(token)
                scores = self._model(torch.tensor([[token]]), past_key_values=cache).logits
        answer: str = self._tokenizer.decode(made)
        return answer.strip()

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 - of tokenizers
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 - of transformers
        import torch
        from transformers import LlamaForCausalLM, logging

        logging.disable_progress_bar()
        return LlamaForCausalLM.from_pretrained(self.folder, dtype=torch.bfloat16).eval()

    def _asked(self, text: str, order: Sequence[str]) -> tuple[Any, Any]:
        """Return the states after the question, and the scores of the answer's first token."""
        ids = [*self._ids(self.way.format(text=text)), END, *self._ids("\n")]
        return self._go_on([*ids, START, *self._ids("assistant\n")], self._listed(order))

    def _listed(self, order: Sequence[str]) -> Any:  # noqa: ANN401 - of transformers
        """Read the list of experts, unless it was read last."""
        from transformers import DynamicCache

        if tuple(order) != self._read[0]:
            told = "\n".join(f"- {name}: {self.descriptions[name]}" for name in order)
            system = [START, *self._ids(f"system\n{SYSTEM}"), END, *self._ids("\n")]
            ids = [*system, START, *self._ids("user\n" + LISTED.format(experts=told))]
            self._read = tuple(order), self._go_on(ids, DynamicCache(config=self._model.config))[0]
        return copy.deepcopy(self._read[1])

    def _go_on(self, ids: list[int], cache: Any) -> tuple[Any, Any]:  # noqa: ANN401 - as above
        import torch

        out = self._model(torch.tensor([ids]), past_key_values=cache, logits_to_keep=1)
        return cache, out.logits

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


class Notes:
    """Answers that were given before, kept in a file: a run that was stopped goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").split("\n") if path.exists() else [""]
        if lines[-1]:  # left half written
            path.write_text("\n".join([*lines[:-1], ""]), "utf-8")
        self._known = {row["asked"]: row["answer"] for row in map(json.loads, lines[:-1])}

    def recall(self, asked: Sequence[Any], answer: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a question, JSON-safe both; it is worked out once."""
        key = json.dumps(asked)
        if key not in self._known:
            self._known[key] = answer()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"asked": key, "answer": self._known[key]}) + "\n")
        return self._known[key]


def ask(
    model: Asked, texts: Sequence[str], seed: int, notes: Notes
) -> tuple[np.ndarray, np.ndarray]:
    """Ask about every text, the experts listed in an order drawn by the seed.

    Returns the log-probability of every name `(n_texts, n_experts)`, in the order of the
    descriptions, and the same when there is no text, `(n_experts,)`.
    """
    order, rows = drawn_order(model, seed), []
    for text in tqdm([NO_TEXT, *texts], desc="asking the language model", unit="text"):
        asked = [model.way, list(model.descriptions.items()), order, text]
        rows.append(notes.recall(asked, partial(model.likelihoods, text, order)))
    back = [order.index(name) for name in model.descriptions]
    found = np.array(rows)[:, back]
    return found[1:], found[0]


def ask_freely(model: Asked, texts: Sequence[str], notes: Notes) -> list[str | None]:
    """Return the expert that each free answer names, or None if it names none or several."""
    order = drawn_order(model, 0)
    asked = [["free", model.way, list(model.descriptions.items()), order, text] for text in texts]
    answers = [
        notes.recall(question, partial(model.answer, text, order))
        for question, text in zip(asked, texts, strict=True)
    ]
    return [named(answer, order) for answer in answers]


def drawn_order(model: Asked, seed: int) -> list[str]:
    """Return the experts in an order drawn by a seed: a place in a list is no merit."""
    experts = list(model.descriptions)
    return [experts[i] for i in np.random.default_rng(seed).permutation(len(experts))]


def named(answer: str, experts: Sequence[str]) -> str | None:
    """Return the one expert that an answer names, or None if it names none or several."""
    said = [name for name in experts if name.lower() in answer.lower()]
    longest = [name for name in said if not any(name != other and name in other for other in said)]
    return longest[0] if len(longest) == 1 else None
