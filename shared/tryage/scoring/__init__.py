"""Measuring experts: experts and prompts in, a Q-table of real losses out."""

from __future__ import annotations

from tryage.scoring.answers import Answers
from tryage.scoring.budget import Budget
from tryage.scoring.causal import CausalLM
from tryage.scoring.facts import with_measurements
from tryage.scoring.judge import Judge
from tryage.scoring.masked import MaskedLM
from tryage.scoring.measurement import Identity, Measurement, Measurer, Prompt
from tryage.scoring.ray import Ray
from tryage.scoring.replies import Answer
from tryage.scoring.running import Report, score
from tryage.scoring.sandbox import PassesTests
from tryage.scoring.scorers import (
    Scorer,
    Verdict,
    exact_match,
    multiple_choice,
    numeric,
    with_choices,
)
from tryage.scoring.seq2seq import Seq2SeqLM

__all__ = [
    "Answer",
    "Answers",
    "Budget",
    "CausalLM",
    "Identity",
    "Judge",
    "MaskedLM",
    "Measurement",
    "Measurer",
    "PassesTests",
    "Prompt",
    "Ray",
    "Report",
    "Scorer",
    "Seq2SeqLM",
    "Verdict",
    "exact_match",
    "multiple_choice",
    "numeric",
    "score",
    "with_choices",
    "with_measurements",
]
