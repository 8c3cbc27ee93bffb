"""Scoring: from experts and prompts to a Q-table of measured losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.scoring.answers import GenerationMeasurer as GenerationMeasurer
    from tryage.scoring.formats import final_answer as final_answer
    from tryage.scoring.formats import json_schema as json_schema
    from tryage.scoring.formats import regular_expression as regular_expression
    from tryage.scoring.losses import CausalLM as CausalLM
    from tryage.scoring.losses import MaskedLM as MaskedLM
    from tryage.scoring.losses import Seq2SeqLM as Seq2SeqLM
    from tryage.scoring.measurement import Budget as Budget
    from tryage.scoring.measurement import Measurement as Measurement
    from tryage.scoring.measurement import Measurer as Measurer
    from tryage.scoring.measurement import MeasurerIdentity as MeasurerIdentity
    from tryage.scoring.measurement import Prompt as Prompt
    from tryage.scoring.qtable import QTable as QTable
    from tryage.scoring.qtable import with_measurements as with_measurements
    from tryage.scoring.ray_engine import Ray as Ray
    from tryage.scoring.replies import Answer as Answer
    from tryage.scoring.run import Report as Report
    from tryage.scoring.run import score as score
    from tryage.scoring.scorers import LLMJudge as LLMJudge
    from tryage.scoring.scorers import PassesTests as PassesTests
    from tryage.scoring.scorers import Scorer as Scorer
    from tryage.scoring.scorers import ScoreResult as ScoreResult
    from tryage.scoring.scorers import exact_match as exact_match
    from tryage.scoring.scorers import format_choices as format_choices
    from tryage.scoring.scorers import multiple_choice as multiple_choice
    from tryage.scoring.scorers import numeric as numeric

_MODULES = {
    "Answer": "tryage.scoring.replies",
    "Budget": "tryage.scoring.measurement",
    "CausalLM": "tryage.scoring.losses",
    "GenerationMeasurer": "tryage.scoring.answers",
    "LLMJudge": "tryage.scoring.scorers",
    "MaskedLM": "tryage.scoring.losses",
    "Measurement": "tryage.scoring.measurement",
    "Measurer": "tryage.scoring.measurement",
    "MeasurerIdentity": "tryage.scoring.measurement",
    "PassesTests": "tryage.scoring.scorers",
    "Prompt": "tryage.scoring.measurement",
    "QTable": "tryage.scoring.qtable",
    "Ray": "tryage.scoring.ray_engine",
    "Report": "tryage.scoring.run",
    "ScoreResult": "tryage.scoring.scorers",
    "Scorer": "tryage.scoring.scorers",
    "Seq2SeqLM": "tryage.scoring.losses",
    "exact_match": "tryage.scoring.scorers",
    "final_answer": "tryage.scoring.formats",
    "format_choices": "tryage.scoring.scorers",
    "json_schema": "tryage.scoring.formats",
    "multiple_choice": "tryage.scoring.scorers",
    "numeric": "tryage.scoring.scorers",
    "regular_expression": "tryage.scoring.formats",
    "score": "tryage.scoring.run",
    "with_measurements": "tryage.scoring.qtable",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
