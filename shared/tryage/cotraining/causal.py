"""An expert that learns to go on with a text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tryage.cotraining.student import Student
from tryage.scoring.causal import CausalLM
from tryage.scoring.likelihood import SKIPPED

if TYPE_CHECKING:
    import torch

    from tryage.scoring.likelihood import LanguageModel, Model


class CausalStudent(Student):
    """A Llama that learns to go on."""

    measured_by = CausalLM

    @staticmethod
    def _network(shape: dict[str, Any]) -> Model:
        from transformers import LlamaConfig, LlamaForCausalLM

        inner = 32 * math.ceil(8 * shape["hidden_size"] / 3 / 32)  # gated: as many weights as BERT
        return LlamaForCausalLM(LlamaConfig(**shape, intermediate_size=inner))

    def _reader(self) -> LanguageModel:
        return self.measurer()

    def _predict(
        self, read: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scored = labels[:, 1:] != SKIPPED
        seen = self.network.model(**read, use_cache=False)[0][:, :-1]
        return self.network.lm_head(seen[scored]), labels[:, 1:][scored]
