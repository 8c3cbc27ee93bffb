"""An expert that learns: a small language model in the form of `transformers`, of either kind."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import Self

from tryage.core.expert import Expert
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.learning.checkpoint import load_student_state, save_student_state
from tryage.learning.scoring.checkpoints import load_model_and_tokenizer
from tryage.learning.scoring.language_model import (
    IGNORE_INDEX,
    batch_by_length,
    collate,
    pad_sequences,
)
from tryage.learning.scoring.losses import CausalLM, MaskedLM
from tryage.learning.scoring.measurement import Budget, Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.learning.scoring.language_model import LanguageModel, Model, Tokenizer, TokenRow

_COUNTERS = ("tokens_seen", "steps", "updates")

WARMUP_STEPS = 20  # steps until Adam's averages mean something

TIED_EMBEDDINGS = {
    "tie_word_embeddings": True
}  # the table of tokens is most of a small model: have it once


class Student(ABC):
    """A language model that learns from texts, and tells its loss on texts.

    Deterministic: the same seed, texts and order of calls give the same weights on one machine.

    Args:
        name: Its name in the library.
        network: A model of `transformers`.
        tokenizer: Its fast tokeniser; see `train_tokenizer`.
        seed: Decides the order of the texts and, of a masked student, the words hidden.
        learning_rate: That of AdamW, after the warm-up.
        batch_tokens: How many tokens, padding included, are in one step.
        bf16: Whether to learn in bfloat16 (weights and losses stay in float32): faster where the
            processor has instructions for it.
    """

    measurer_class: ClassVar[type[LanguageModel]]

    def __init__(  # noqa: PLR0913 - each is one thing about learning
        self,
        name: str,
        network: Model,
        tokenizer: Tokenizer,
        *,
        seed: int = 0,
        learning_rate: float = 1e-3,
        batch_tokens: int = 2048,
        bf16: bool = False,
    ) -> None:
        import torch

        self.name, self.network, self.tokenizer = name, network, tokenizer
        self.seed, self.learning_rate = seed, learning_rate
        self.batch_tokens, self.bf16 = batch_tokens, bf16
        self.tokens_seen = self.steps = self.updates = 0
        self._optimizer = torch.optim.AdamW(network.parameters(), learning_rate, betas=(0.9, 0.98))

    @classmethod
    def new(  # noqa: PLR0913 - each is one measure of the network
        cls,
        name: str,
        tokenizer: Tokenizer,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 2,
        length: int = 256,
        seed: int = 0,
        **settings: Any,  # noqa: ANN401 - those of the class
    ) -> Self:
        """Return an untrained student that reads `length` tokens at once.

        Raises:
            InputError: a size that is not at least 1, or `width` is no multiple of `2 * heads`.
            MissingExtraError: torch or transformers is not installed.
        """
        config = config_kwargs(tokenizer, width=width, layers=layers, heads=heads, length=length)
        network = random_init(cls._build_network, config, seed)
        return cls(name, network, tokenizer, seed=seed, **settings)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        name: str | None = None,
        **settings: Any,  # noqa: ANN401 - those of the class
    ) -> Self:
        """Return the student that `save_pretrained` wrote; its optimiser starts anew.

        Without a `name` it is called like the folder.

        Raises:
            MeasurementError: the folder holds no such model.
        """
        network, tokenizer = load_model_and_tokenizer(
            str(folder), cls.measurer_class.auto_class, None
        )
        return cls(name or Path(folder).resolve().name, network, tokenizer, **settings)

    @property
    def parameters(self) -> int:
        """How many weights it has, each counted once."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def length(self) -> int:
        """How many tokens it reads at once."""
        return int(self.network.config.max_position_embeddings)

    @property
    def expert(self) -> Expert:
        """What is known of it."""
        return Expert(self.name, parameters=self.parameters, context_length=self.length)

    def measurer(self, **settings: Any) -> LanguageModel:  # noqa: ANN401 - those of the measurer
        """Return the measurer (`MaskedLM`, `CausalLM`) of the student as it is when asked."""
        return self.measurer_class(
            self.expert, lambda: (self.network.eval(), self.tokenizer), **settings
        )

    def losses(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the loss on each text, `(n_texts,)` nats per character, NaN if there is none.

        It is what `tryage.learning.scoring.run.score` measures on the saved student.
        """
        found = np.full(len(texts), np.nan)
        prompts = [Prompt(text) for text in texts]
        for at, measurement in self.measurer().measure(prompts, Budget()):
            if measurement.loss_per_char is not None:
                found[at] = measurement.loss_per_char
        return found

    def update(
        self, texts: Sequence[str], tokens: int | None = None, *, lr_scale: float = 1.0
    ) -> float:
        """Learn from the texts, in one or more steps; return the mean loss before each.

        It is in nats per token, NaN if there was nothing to predict, and of what is hidden for
        learning, so compare `losses` instead.

        Args:
            texts: Each is read once.
            tokens: Stop earlier, when so many have been read.
            pace: What the learning rate is multiplied by.

        Raises:
            InputError: a text is no string, or not Unicode.
        """
        nats, scored, start = 0.0, 0, self.tokens_seen
        batched = self._batches(texts)
        self.updates += 1
        for rows in batched:
            if tokens is None or self.tokens_seen - start < tokens:
                mean, count = self._train_step(rows, lr_scale)
                nats, scored = nats + mean * count, scored + count
        return nats / scored if scored else math.nan

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what `transformers`, `tryage score` and `from_pretrained` read."""
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def save_state(self, folder: str | Path) -> None:
        """Write all that learning goes on from, the optimiser's averages too; whole or not."""
        counts = {name: getattr(self, name) for name in _COUNTERS}
        save_student_state(folder, self.network, self._optimizer, counts | {"name": self.name})

    def load_state(self, folder: str | Path) -> None:
        """Go on from what `save_state` wrote of a student of the same shape.

        Raises:
            PersistenceError: there is none, or it is damaged or of another student.
        """
        counts = load_student_state(folder, self.network, self._optimizer, self.name)
        for name in _COUNTERS:
            setattr(self, name, counts[name])

    @staticmethod
    @abstractmethod
    def _build_network(config: dict[str, Any]) -> Model:
        """Return a network with fresh weights."""

    @abstractmethod
    def _training_measurer(self) -> LanguageModel:
        """Return what cuts texts into rows for learning."""

    @abstractmethod
    def _predict(
        self, batch: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of all that is scored, `(n_scored, n_tokens)`, and their labels."""

    def _batches(self, texts: Sequence[str]) -> list[list[TokenRow]]:
        """Cut texts into rows, and put rows of like length together, in an order by chance."""
        measurer = self._training_measurer()
        texts_cut = [measurer.prepare(self.tokenizer, Prompt(text), self.length) for text in texts]
        rows = [row for text in texts_cut for row in text.rows]
        found = list(batch_by_length([len(row.ids) for row in rows], self.batch_tokens))
        order = np.random.default_rng([self.seed, self.updates]).permutation(len(found))
        return [[rows[at] for at in found[place]] for place in order]

    def _train_step(self, rows: Sequence[TokenRow], lr_scale: float) -> tuple[float, int]:
        """Take one step; return the mean nats before it, and of how many tokens."""
        import torch

        device = self.network.device
        batch = collate(rows, self.tokenizer.pad_token_id, device)
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, device)
        self.network.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            logits, targets = self._predict(batch, labels)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.steps += 1
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * lr_scale * min(1.0, self.steps / WARMUP_STEPS)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.tokens_seen += sum(len(row.ids) for row in rows)
        return float(loss.detach()), len(targets)


class MaskedStudent(Student):
    """A BERT that learns to fill in hidden words."""

    measurer_class = MaskedLM
    mask_rate = 0.25  # a share of the words; more than is measured, so that each pass teaches more

    @staticmethod
    def _build_network(config: dict[str, Any]) -> Model:
        from transformers import BertConfig, BertForMaskedLM

        still: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return BertForMaskedLM(
            BertConfig(**config, **still, intermediate_size=4 * config["hidden_size"])
        )

    def init_output_bias(self, texts: Sequence[str], previous_texts: Sequence[str] = ()) -> None:
        """Expect each token as often as it is in the texts: spares a fresh student many steps.

        `before` are the texts of a student that has learned already, of which it is to forget the
        frequencies.
        """
        import torch

        shift = self._log_token_frequencies(texts) - (
            self._log_token_frequencies(previous_texts) if previous_texts else 0.0
        )
        with torch.no_grad():
            self.network.cls.predictions.bias += shift

    def _log_token_frequencies(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the log of each token's share, one occurrence added to each, `(n_tokens,)`."""
        import torch

        ids = [at for text in texts for at in self.tokenizer(text)["input_ids"]]
        counts = 1.0 + np.bincount(ids, minlength=len(self.tokenizer))
        return torch.tensor(np.log(counts / counts.sum()), dtype=torch.float32)

    def _training_measurer(self) -> LanguageModel:
        # a short text is measured in several rounds, but learned from in one
        return self.measurer(rate=self.mask_rate, least=1, seed=self.seed + self.updates + 1)

    def _predict(
        self, batch: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scored = labels != IGNORE_INDEX  # the rest needs no logits, which are most of the work
        return self.network.cls(self.network.bert(**batch)[0][scored]), labels[scored]


class CausalStudent(Student):
    """A Llama that learns to go on."""

    measurer_class = CausalLM

    @staticmethod
    def _build_network(config: dict[str, Any]) -> Model:
        from transformers import LlamaConfig, LlamaForCausalLM

        ffn_size = 32 * math.ceil(
            8 * config["hidden_size"] / 3 / 32
        )  # gated: as many weights as BERT
        return LlamaForCausalLM(LlamaConfig(**config, intermediate_size=ffn_size))

    def _training_measurer(self) -> LanguageModel:
        return self.measurer()

    def _predict(
        self, batch: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scored = labels[:, 1:] != IGNORE_INDEX
        seen = self.network.model(**batch, use_cache=False)[0][:, :-1]
        return self.network.lm_head(seen[scored]), labels[:, 1:][scored]


def config_kwargs(tokenizer: Tokenizer, **sizes: int) -> dict[str, Any]:
    """Return `width`, `layers`, `heads`, `length` and what the tokeniser settles for a config.

    Raises:
        InputError: a size that is not at least 1, or `width` is no multiple of `2 * heads`.
    """
    if min(sizes.values()) < 1 or sizes["width"] % (2 * sizes["heads"]):
        raise InputError(f"{sizes}: expected at least 1 each, width a multiple of 2 * heads.")
    return TIED_EMBEDDINGS | {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "max_position_embeddings": sizes["length"],
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def random_init(
    build: Callable[[dict[str, Any]], Model], config: dict[str, Any], seed: int
) -> Model:
    """Return the network of a shape with the weights of a seed; other chance goes on as it was.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    for package in ("torch", "transformers"):
        require_extra(package, "train")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)
