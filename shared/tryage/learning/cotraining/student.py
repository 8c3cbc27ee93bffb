"""Experts that learn: small masked and causal language models of `transformers`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import Self

from tryage.checkpoint import load_student_state, save_student_state
from tryage.core.expert import Expert
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.scoring.checkpoints import load_model_and_tokenizer
from tryage.scoring.language_model import (
    IGNORE_INDEX,
    batch_by_length,
    collate,
    pad_sequences,
)
from tryage.scoring.losses import CausalLM, MaskedLM
from tryage.scoring.measurement import Budget, Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from tryage.scoring.language_model import LanguageModel, Model, Tokenizer, TokenRow

WARMUP_STEPS = 20  # until Adam's averages are reliable

# The embedding table is most of a small model, so input and output share it.
TIED_EMBEDDINGS = {"tie_word_embeddings": True}

_COUNTERS = ("tokens_seen", "steps", "updates")  # attributes that are saved with the state


class Student(ABC):
    """A language model that learns from texts, and measures its loss on texts.

    It is deterministic: the same seed, texts and order of calls give the same weights on the same
    machine.

    Args:
        name: The student's name in the library.
        network: A model of `transformers`.
        tokenizer: The fast tokenizer of the model; see `train_tokenizer`.
        seed: Decides the order of the texts and, for a masked student, which words are hidden.
        learning_rate: The learning rate of AdamW after the warm-up.
        batch_tokens: The number of tokens in one step, with padding.
        bf16: Whether to train in bfloat16 (weights and losses stay in float32). That is faster if
            the processor has instructions for it.
    """

    measurer_class: ClassVar[type[LanguageModel]]

    def __init__(  # noqa: PLR0913 - name, model and tokenizer; the rest has defaults
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
    def new(  # noqa: PLR0913 - name and tokenizer; the sizes have defaults
        cls,
        name: str,
        tokenizer: Tokenizer,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 2,
        length: int = 256,
        seed: int = 0,
        **settings: Any,  # noqa: ANN401 - arguments of the class
    ) -> Self:
        """Return an untrained student with a context of `length` tokens.

        Raises:
            InputError: a size is less than 1, or `width` is not a multiple of `2 * heads`.
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
        **settings: Any,  # noqa: ANN401 - arguments of the class
    ) -> Self:
        """Return the student that `save_pretrained` wrote, with a new optimizer.

        Without a `name` it gets the name of the folder.

        Raises:
            MeasurementError: the folder holds no such model.
        """
        network, tokenizer = load_model_and_tokenizer(
            str(folder), cls.measurer_class.auto_class, None
        )
        return cls(name or Path(folder).resolve().name, network, tokenizer, **settings)

    @property
    def parameters(self) -> int:
        """The number of weights, each counted once."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def length(self) -> int:
        """The context length in tokens."""
        return int(self.network.config.max_position_embeddings)

    @property
    def expert(self) -> Expert:
        """The student as an expert of a library."""
        return Expert(self.name, parameters=self.parameters, context_length=self.length)

    def measurer(self, **settings: Any) -> LanguageModel:  # noqa: ANN401 - arguments of the measurer
        """Return a measurer (`MaskedLM`, `CausalLM`) of the student's current weights."""
        return self.measurer_class(
            self.expert, lambda: (self.network.eval(), self.tokenizer), **settings
        )

    def losses(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the loss on each text, `(n_texts,)` nats per character, NaN if there is none.

        It is what `tryage.scoring.run.score` measures on the saved student.
        """
        losses = np.full(len(texts), np.nan)
        prompts = [Prompt(text) for text in texts]
        for i, measurement in self.measurer().measure(prompts, Budget()):
            if measurement.loss_per_char is not None:
                losses[i] = measurement.loss_per_char
        return losses

    def update(
        self, texts: Sequence[str], tokens: int | None = None, *, lr_scale: float = 1.0
    ) -> float:
        """Learn from the texts, in one or more steps; return the mean loss before each step.

        The loss is in nats per token, NaN if there was nothing to predict. It is the loss on words
        that are hidden in training: to compare students, use `losses`.

        Args:
            texts: Each is read once.
            tokens: Stop after this number of tokens.
            lr_scale: A factor for the learning rate.

        Raises:
            InputError: a text is not a string, or not Unicode.
        """
        total_nats, n_scored, first_token = 0.0, 0, self.tokens_seen
        batches = self._batches(texts)
        self.updates += 1
        for rows in batches:
            if tokens is None or self.tokens_seen - first_token < tokens:
                mean_nats, n_tokens = self._train_step(rows, lr_scale)
                total_nats, n_scored = total_nats + mean_nats * n_tokens, n_scored + n_tokens
        return total_nats / n_scored if n_scored else math.nan

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `transformers`, `tryage score` and `from_pretrained` read."""
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def save_state(self, folder: str | Path) -> None:
        """Write the whole state, with the optimizer's averages, or nothing if the process dies."""
        counts = {name: getattr(self, name) for name in _COUNTERS}
        save_student_state(folder, self.network, self._optimizer, counts | {"name": self.name})

    def load_state(self, folder: str | Path) -> None:
        """Restore what `save_state` wrote for a student of the same name and shape.

        Raises:
            PersistenceError: the state is missing or damaged, or of another student.
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
        """Return the measurer that splits texts into rows for training."""

    @abstractmethod
    def _predict(
        self, batch: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the scored tokens, `(n_scored, n_tokens)`, and their labels."""

    def _batches(self, texts: Sequence[str]) -> list[list[TokenRow]]:
        """Split texts into rows, and batch rows of similar length, in random order."""
        measurer = self._training_measurer()
        prepared_texts = [
            measurer.prepare(self.tokenizer, Prompt(text), self.length) for text in texts
        ]
        rows = [row for text in prepared_texts for row in text.rows]
        batches = list(batch_by_length([len(row.ids) for row in rows], self.batch_tokens))
        order = np.random.default_rng([self.seed, self.updates]).permutation(len(batches))
        return [[rows[i] for i in batches[batch_index]] for batch_index in order]

    def _train_step(self, rows: Sequence[TokenRow], lr_scale: float) -> tuple[float, int]:
        """Take one step; return the mean nats before it, and the number of scored tokens."""
        import torch

        device = self.network.device
        batch = collate(rows, self.tokenizer.pad_token_id, device)
        labels = pad_sequences([row.labels for row in rows], IGNORE_INDEX, device)
        self.network.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            logits, targets = self._predict(batch, labels)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.steps += 1
        for parameter_group in self._optimizer.param_groups:
            parameter_group["lr"] = (
                self.learning_rate * lr_scale * min(1.0, self.steps / WARMUP_STEPS)
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.tokens_seen += sum(len(row.ids) for row in rows)
        return float(loss.detach()), len(targets)


class MaskedStudent(Student):
    """A BERT that learns to predict hidden words."""

    measurer_class = MaskedLM
    mask_rate = 0.25  # of the words: more than a measurement hides, so that each pass teaches more

    @staticmethod
    def _build_network(config: dict[str, Any]) -> Model:
        from transformers import BertConfig, BertForMaskedLM

        dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return BertForMaskedLM(
            BertConfig(**config, **dropout, intermediate_size=4 * config["hidden_size"])
        )

    def init_output_bias(self, texts: Sequence[str], previous_texts: Sequence[str] = ()) -> None:
        """Set the output bias to the token frequencies of the texts, which saves many steps.

        For a student that has learned already, `previous_texts` are the texts whose frequencies are
        replaced.
        """
        import torch

        shift = self._log_token_frequencies(texts) - (
            self._log_token_frequencies(previous_texts) if previous_texts else 0.0
        )
        with torch.no_grad():
            self.network.cls.predictions.bias += shift

    def _log_token_frequencies(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the log of each token's share, with one more occurrence of each, `(n_tokens,)`."""
        import torch

        ids = [token_id for text in texts for token_id in self.tokenizer(text)["input_ids"]]
        counts = 1.0 + np.bincount(ids, minlength=len(self.tokenizer))
        return torch.tensor(np.log(counts / counts.sum()), dtype=torch.float32)

    def _training_measurer(self) -> LanguageModel:
        # a short text is measured in several rounds, but trained on in one
        return self.measurer(rate=self.mask_rate, least=1, seed=self.seed + self.updates + 1)

    def _predict(
        self, batch: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        is_scored = labels != IGNORE_INDEX  # logits are most of the work, so compute no others
        return self.network.cls(self.network.bert(**batch)[0][is_scored]), labels[is_scored]


class CausalStudent(Student):
    """A Llama that learns to predict the next token."""

    measurer_class = CausalLM

    @staticmethod
    def _build_network(config: dict[str, Any]) -> Model:
        from transformers import LlamaConfig, LlamaForCausalLM

        # a gated layer of this size has as many weights as BERT's
        ffn_size = 32 * math.ceil(8 * config["hidden_size"] / 3 / 32)
        return LlamaForCausalLM(LlamaConfig(**config, intermediate_size=ffn_size))

    def _training_measurer(self) -> LanguageModel:
        return self.measurer()

    def _predict(
        self, batch: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        is_scored = labels[:, 1:] != IGNORE_INDEX
        hidden_states = self.network.model(**batch, use_cache=False)[0][:, :-1]
        return self.network.lm_head(hidden_states[is_scored]), labels[:, 1:][is_scored]


def config_kwargs(tokenizer: Tokenizer, **sizes: int) -> dict[str, Any]:
    """Return the arguments of a model config from `width`, `layers`, `heads` and `length`.

    Vocabulary and special tokens are those of the tokenizer.

    Raises:
        InputError: a size is less than 1, or `width` is not a multiple of `2 * heads`.
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
    """Return a network with weights drawn from a seed; the global random state stays as it was.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    for package in ("torch", "transformers"):
        require_extra(package, "train")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)
