"""An expert that learns: a small language model in the form of `transformers`, of either kind."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import Self

from tryage.cotraining import keeping
from tryage.cotraining.shape import by_chance, shaped
from tryage.experts import Expert
from tryage.scoring.budget import Budget
from tryage.scoring.checkpoints import load
from tryage.scoring.likelihood import SKIPPED, inputs, padded
from tryage.scoring.measurement import Prompt
from tryage.scoring.windows import batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from tryage.scoring.likelihood import LanguageModel, Model, Row, Tokenizer

WARM_UP = 20  # steps until Adam's averages mean something


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

    measured_by: ClassVar[type[LanguageModel]]

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
        self._optimiser = torch.optim.AdamW(network.parameters(), learning_rate, betas=(0.9, 0.98))

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
        shape = shaped(tokenizer, width=width, layers=layers, heads=heads, length=length)
        network = by_chance(cls._network, shape, seed)
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
        network, tokenizer = load(str(folder), cls.measured_by.network, None)
        return cls(name or keeping.called(folder), network, tokenizer, **settings)

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
        return self.measured_by(
            self.expert, lambda: (self.network.eval(), self.tokenizer), **settings
        )

    def losses(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the loss on each text, `(n_texts,)` nats per character, NaN if there is none.

        It is what `tryage.scoring.score` measures on the saved student.
        """
        found = np.full(len(texts), np.nan)
        prompts = [Prompt(text) for text in texts]
        for at, measurement in self.measurer().measure(prompts, Budget()):
            if measurement.loss_per_char is not None:
                found[at] = measurement.loss_per_char
        return found

    def update(
        self, texts: Sequence[str], tokens: int | None = None, *, pace: float = 1.0
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
                mean, count = self._step(rows, pace)
                nats, scored = nats + mean * count, scored + count
        return nats / scored if scored else math.nan

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what `transformers`, `tryage score` and `from_pretrained` read."""
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def save_state(self, folder: str | Path) -> None:
        """Write all that learning goes on from, the optimiser's averages too; whole or not."""
        counts = {name: getattr(self, name) for name in keeping.COUNTS}
        keeping.write(folder, self.network, self._optimiser, counts | {"name": self.name})

    def load_state(self, folder: str | Path) -> None:
        """Go on from what `save_state` wrote of a student of the same shape.

        Raises:
            PersistenceError: there is none, or it is damaged or of another student.
        """
        counts = keeping.read(folder, self.network, self._optimiser, self.name)
        for name in keeping.COUNTS:
            setattr(self, name, counts[name])

    @staticmethod
    @abstractmethod
    def _network(shape: dict[str, Any]) -> Model:
        """Return a network with fresh weights."""

    @abstractmethod
    def _reader(self) -> LanguageModel:
        """Return what cuts texts into rows for learning."""

    @abstractmethod
    def _predict(
        self, read: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of all that is scored, `(n_scored, n_tokens)`, and their labels."""

    def _batches(self, texts: Sequence[str]) -> list[list[Row]]:
        """Cut texts into rows, and put rows of like length together, in an order by chance."""
        reader = self._reader()
        texts_cut = [reader.prepare(self.tokenizer, Prompt(text), self.length) for text in texts]
        rows = [row for text in texts_cut for row in text.rows]
        found = list(batches([len(row.ids) for row in rows], self.batch_tokens))
        order = np.random.default_rng([self.seed, self.updates]).permutation(len(found))
        return [[rows[at] for at in found[place]] for place in order]

    def _step(self, rows: Sequence[Row], pace: float) -> tuple[float, int]:
        """Take one step; return the mean nats before it, and of how many tokens."""
        import torch

        device = self.network.device
        read = inputs(rows, self.tokenizer.pad_token_id, device)
        labels = padded([row.labels for row in rows], SKIPPED, device)
        self.network.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            logits, targets = self._predict(read, labels)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.steps += 1
        for group in self._optimiser.param_groups:
            group["lr"] = self.learning_rate * pace * min(1.0, self.steps / WARM_UP)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.tokens_seen += sum(len(row.ids) for row in rows)
        return float(loss.detach()), len(targets)
