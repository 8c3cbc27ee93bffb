"""How good a router is on measured outcomes: metrics, baselines, reports, plots."""

from __future__ import annotations

from tryage.evaluation.baselines import Fold, FoldMethod, Method, Predicted
from tryage.evaluation.harness import BASELINES, evaluate
from tryage.evaluation.report import Evaluation, MethodResult
from tryage.evaluation.splits import Settings

__all__ = [
    "BASELINES",
    "Evaluation",
    "Fold",
    "FoldMethod",
    "Method",
    "MethodResult",
    "Predicted",
    "Settings",
    "evaluate",
]
