"""Evaluation: how good a router is on measured outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.evaluation.evaluator import BASELINES as BASELINES
    from tryage.learning.evaluation.evaluator import evaluate as evaluate
    from tryage.learning.evaluation.latent_map import LatentMap as LatentMap
    from tryage.learning.evaluation.latent_map import Separation as Separation
    from tryage.learning.evaluation.latent_map import latent_map as latent_map
    from tryage.learning.evaluation.report import Evaluation as Evaluation
    from tryage.learning.evaluation.report import MethodResult as MethodResult
    from tryage.learning.evaluation.splits import Fold as Fold
    from tryage.learning.evaluation.splits import FoldMethod as FoldMethod
    from tryage.learning.evaluation.splits import Method as Method
    from tryage.learning.evaluation.splits import Predicted as Predicted
    from tryage.learning.evaluation.splits import Settings as Settings

_MODULES = {
    "BASELINES": "tryage.learning.evaluation.evaluator",
    "Evaluation": "tryage.learning.evaluation.report",
    "Fold": "tryage.learning.evaluation.splits",
    "FoldMethod": "tryage.learning.evaluation.splits",
    "LatentMap": "tryage.learning.evaluation.latent_map",
    "Method": "tryage.learning.evaluation.splits",
    "MethodResult": "tryage.learning.evaluation.report",
    "Predicted": "tryage.learning.evaluation.splits",
    "Separation": "tryage.learning.evaluation.latent_map",
    "Settings": "tryage.learning.evaluation.splits",
    "evaluate": "tryage.learning.evaluation.evaluator",
    "latent_map": "tryage.learning.evaluation.latent_map",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
