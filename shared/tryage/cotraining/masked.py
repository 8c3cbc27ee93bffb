"""An expert that learns to fill in hidden words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.cotraining.student import Student
from tryage.scoring.likelihood import SKIPPED
from tryage.scoring.masked import MaskedLM

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from tryage.scoring.likelihood import LanguageModel, Model


class MaskedStudent(Student):
    """A BERT that learns to fill in hidden words."""

    measured_by = MaskedLM
    hidden = 0.25  # a share of the words; more than is measured, so that each pass teaches more

    @staticmethod
    def _network(shape: dict[str, Any]) -> Model:
        from transformers import BertConfig, BertForMaskedLM

        still: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return BertForMaskedLM(
            BertConfig(**shape, **still, intermediate_size=4 * shape["hidden_size"])
        )

    def prime(self, texts: Sequence[str], before: Sequence[str] = ()) -> None:
        """Expect each token as often as it is in the texts: spares a fresh student many steps.

        `before` are the texts of a student that has learned already, of which it is to forget the
        frequencies.
        """
        import torch

        shift = self._frequencies(texts) - (self._frequencies(before) if before else 0.0)
        with torch.no_grad():
            self.network.cls.predictions.bias += shift

    def _frequencies(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the log of each token's share, one occurrence added to each, `(n_tokens,)`."""
        import torch

        ids = [at for text in texts for at in self.tokenizer(text)["input_ids"]]
        counts = 1.0 + np.bincount(ids, minlength=len(self.tokenizer))
        return torch.tensor(np.log(counts / counts.sum()), dtype=torch.float32)

    def _reader(self) -> LanguageModel:
        # a short text is measured in several rounds, but learned from in one
        return self.measurer(rate=self.hidden, least=1, seed=self.seed + self.updates + 1)

    def _predict(
        self, read: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scored = labels != SKIPPED  # the rest needs no logits, which are most of the work
        return self.network.cls(self.network.bert(**read)[0][scored]), labels[scored]
