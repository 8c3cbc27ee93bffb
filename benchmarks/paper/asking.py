"""A local language model chooses which expert should read a text, as in the paper."""

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
NO_TEXT = "N/A"  # the answer without a text is the model's bias (Zhao et al., arXiv 2102.09690)
EXPERT_LIST = "Here are language models and the texts that each was trained on:\n\n{experts}\n\n"
QUESTIONS = (
    "Here is a text:\n\n{text}\n\nWhich of the models was trained on texts like this one? "
    "Answer with its name only.",
    "Choose the best model for the following text. Answer with the name of the model.\n\n"
    "Text: {text}\n\nModel:",
    "Text: {text}\n\nQuestion: Which model knows this kind of text best?\nAnswer with one name "
    "from the list.",
)


class ChoosingLM:
    """SmolLM2-135M-Instruct in its own chat format, with greedy decoding.

    `descriptions` are those of the experts by name; `question` is one of `QUESTIONS`.
    """

    def __init__(
        self, folder: Path, descriptions: Mapping[str, str], question: str = QUESTIONS[0]
    ) -> None:
        self.folder, self.descriptions, self.question = folder, descriptions, question
        self._read: tuple[tuple[str, ...], Any] = ((), None)

    def likelihoods(self, text: str, order: Sequence[str]) -> list[float]:
        """Return the log-probability of each name as the whole answer, in the given order.

        In this way every answer is valid, which is better than in practice.
        """
        import torch

        names = [[*self._ids(name), END] for name in order]
        length = max(map(len, names))
        batch = torch.tensor([[*ids, *[END] * (length - len(ids))] for ids in names])
        with torch.inference_mode():
            cache, first = self._read_question(text, order)
            cache.batch_repeat_interleave(len(names))
            rest = self._model(batch[:, :-1], past_key_values=cache).logits
            scores = torch.cat([first.expand(len(names), 1, -1), rest], 1).float().log_softmax(-1)
            tokens = scores.gather(2, batch[..., None])[..., 0]
        return [float(row[: len(ids)].sum()) for row, ids in zip(tokens, names, strict=True)]

    def answer(self, text: str, order: Sequence[str], new_tokens: int = 16) -> str:
        """Return a free answer."""
        import torch

        generated: list[int] = []
        with torch.inference_mode():
            cache, scores = self._read_question(text, order)
            while len(generated) < new_tokens and (token := int(scores[0, -1].argmax())) != END:
                generated.append(token)
                scores = self._model(torch.tensor([[token]]), past_key_values=cache).logits
        answer: str = self._tokenizer.decode(generated)
        return answer.strip()

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 - a tokenizer of tokenizers
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 - an object of transformers
        import torch
        from transformers import LlamaForCausalLM, logging

        logging.disable_progress_bar()
        return LlamaForCausalLM.from_pretrained(self.folder, dtype=torch.bfloat16).eval()

    def _read_question(self, text: str, order: Sequence[str]) -> tuple[Any, Any]:
        """Return the states after the question, and the scores of the answer's first token."""
        ids = [*self._ids(self.question.format(text=text)), END, *self._ids("\n")]
        return self._continue([*ids, START, *self._ids("assistant\n")], self._read_list(order))

    def _read_list(self, order: Sequence[str]) -> Any:  # noqa: ANN401 - an object of transformers
        """Return the states after the list of experts; the last list is not read again."""
        from transformers import DynamicCache

        if tuple(order) != self._read[0]:
            lines = "\n".join(f"- {name}: {self.descriptions[name]}" for name in order)
            system = [START, *self._ids(f"system\n{SYSTEM}"), END, *self._ids("\n")]
            ids = [*system, START, *self._ids("user\n" + EXPERT_LIST.format(experts=lines))]
            self._read = (
                tuple(order),
                self._continue(ids, DynamicCache(config=self._model.config))[0],
            )
        return copy.deepcopy(self._read[1])

    def _continue(self, ids: list[int], cache: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a cache of transformers
        import torch

        out = self._model(torch.tensor([ids]), past_key_values=cache, logits_to_keep=1)
        return cache, out.logits

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


class AnswerCache:
    """Answers of earlier runs, kept in a file, so that a stopped run resumes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").split("\n") if path.exists() else [""]
        if lines[-1]:  # a half-written line
            path.write_text("\n".join([*lines[:-1], ""]), "utf-8")
        self._known = {row["asked"]: row["answer"] for row in map(json.loads, lines[:-1])}

    def recall(self, question: Sequence[Any], answer: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a question, both JSON-safe; `answer` is called once per question."""
        key = json.dumps(question)
        if key not in self._known:
            self._known[key] = answer()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"asked": key, "answer": self._known[key]}) + "\n")
        return self._known[key]


def ask(
    model: ChoosingLM, texts: Sequence[str], seed: int, cache: AnswerCache
) -> tuple[np.ndarray, np.ndarray]:
    """Ask about every text, with the experts listed in an order drawn by the seed.

    Returns the log-probability of every name `(n_texts, n_experts)`, in the order of the
    descriptions, and the same without a text, `(n_experts,)`.
    """
    order, rows = random_order(model, seed), []
    for text in tqdm([NO_TEXT, *texts], desc="asking the language model", unit="text"):
        question = [model.question, list(model.descriptions.items()), order, text]
        rows.append(cache.recall(question, partial(model.likelihoods, text, order)))
    columns = [order.index(name) for name in model.descriptions]
    found = np.array(rows)[:, columns]
    return found[1:], found[0]


def ask_freely(model: ChoosingLM, texts: Sequence[str], cache: AnswerCache) -> list[str | None]:
    """Return the expert that each free answer names, or None if it names none or several."""
    order = random_order(model, 0)
    described = list(model.descriptions.items())
    questions = [["free", model.question, described, order, text] for text in texts]
    answers = [
        cache.recall(question, partial(model.answer, text, order))
        for question, text in zip(questions, texts, strict=True)
    ]
    return [parse_choice(answer, order) for answer in answers]


def random_order(model: ChoosingLM, seed: int) -> list[str]:
    """Return the experts in an order drawn by a seed, so that no expert is always first."""
    experts = list(model.descriptions)
    return [experts[i] for i in np.random.default_rng(seed).permutation(len(experts))]


def parse_choice(answer: str, experts: Sequence[str]) -> str | None:
    """Return the one expert that an answer names, or None if it names none or several."""
    found = [name for name in experts if name.lower() in answer.lower()]
    longest = [name for name in found if not any(name != one and name in one for one in found)]
    return longest[0] if len(longest) == 1 else None
