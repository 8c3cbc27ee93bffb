"""Scoring: from experts and prompts to a Q-table of measured losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.scoring.answers import GenerationMeasurer as GenerationMeasurer
    from tryage.learning.scoring.losses import CausalLM as CausalLM
    from tryage.learning.scoring.losses import MaskedLM as MaskedLM
    from tryage.learning.scoring.losses import Seq2SeqLM as Seq2SeqLM
    from tryage.learning.scoring.measurement import Budget as Budget
    from tryage.learning.scoring.measurement import Measurement as Measurement
    from tryage.learning.scoring.measurement import Measurer as Measurer
    from tryage.learning.scoring.measurement import MeasurerIdentity as MeasurerIdentity
    from tryage.learning.scoring.measurement import Prompt as Prompt
    from tryage.learning.scoring.ray_engine import Ray as Ray
    from tryage.learning.scoring.replies import Answer as Answer
    from tryage.learning.scoring.run import Report as Report
    from tryage.learning.scoring.run import score as score
    from tryage.learning.scoring.scorers import LLMJudge as LLMJudge
    from tryage.learning.scoring.scorers import PassesTests as PassesTests
    from tryage.learning.scoring.scorers import Scorer as Scorer
    from tryage.learning.scoring.scorers import ScoreResult as ScoreResult
    from tryage.learning.scoring.scorers import exact_match as exact_match
    from tryage.learning.scoring.scorers import format_choices as format_choices
    from tryage.learning.scoring.scorers import multiple_choice as multiple_choice
    from tryage.learning.scoring.scorers import numeric as numeric

_MODULES = {
    "Answer": "tryage.learning.scoring.replies",
    "Budget": "tryage.learning.scoring.measurement",
    "CausalLM": "tryage.learning.scoring.losses",
    "GenerationMeasurer": "tryage.learning.scoring.answers",
    "LLMJudge": "tryage.learning.scoring.scorers",
    "MaskedLM": "tryage.learning.scoring.losses",
    "Measurement": "tryage.learning.scoring.measurement",
    "Measurer": "tryage.learning.scoring.measurement",
    "MeasurerIdentity": "tryage.learning.scoring.measurement",
    "PassesTests": "tryage.learning.scoring.scorers",
    "Prompt": "tryage.learning.scoring.measurement",
    "Ray": "tryage.learning.scoring.ray_engine",
    "Report": "tryage.learning.scoring.run",
    "ScoreResult": "tryage.learning.scoring.scorers",
    "Scorer": "tryage.learning.scoring.scorers",
    "Seq2SeqLM": "tryage.learning.scoring.losses",
    "exact_match": "tryage.learning.scoring.scorers",
    "format_choices": "tryage.learning.scoring.scorers",
    "multiple_choice": "tryage.learning.scoring.scorers",
    "numeric": "tryage.learning.scoring.scorers",
    "score": "tryage.learning.scoring.run",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
