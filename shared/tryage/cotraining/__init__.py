"""Experts that learn: small language models of one's own, alone or together with their router."""

from __future__ import annotations

from tryage.cotraining.driver import train
from tryage.cotraining.student import CausalStudent, MaskedStudent, Student
from tryage.cotraining.tokenizer import train_tokenizer

__all__ = ["CausalStudent", "MaskedStudent", "Student", "train", "train_tokenizer"]
