"""Evaluation: how good a router is on measured outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.evaluation.evaluator import BASELINES as BASELINES
    from tryage.learning.evaluation.evaluator import evaluate as evaluate
    from tryage.learning.evaluation.latent_space import ClusterScores as ClusterScores
    from tryage.learning.evaluation.latent_space import LatentMap as LatentMap
    from tryage.learning.evaluation.latent_space import latent_map as latent_map
    from tryage.learning.evaluation.report import Evaluation as Evaluation
    from tryage.learning.evaluation.report import MethodResult as MethodResult
    from tryage.learning.evaluation.splits import EvaluationConfig as EvaluationConfig
    from tryage.learning.evaluation.splits import Fold as Fold
    from tryage.learning.evaluation.splits import FoldMethod as FoldMethod
    from tryage.learning.evaluation.splits import MethodPrediction as MethodPrediction
    from tryage.learning.evaluation.splits import RoutingMethod as RoutingMethod

_MODULES = {
    "BASELINES": "tryage.learning.evaluation.evaluator",
    "ClusterScores": "tryage.learning.evaluation.latent_space",
    "Evaluation": "tryage.learning.evaluation.report",
    "EvaluationConfig": "tryage.learning.evaluation.splits",
    "Fold": "tryage.learning.evaluation.splits",
    "FoldMethod": "tryage.learning.evaluation.splits",
    "LatentMap": "tryage.learning.evaluation.latent_space",
    "MethodPrediction": "tryage.learning.evaluation.splits",
    "MethodResult": "tryage.learning.evaluation.report",
    "RoutingMethod": "tryage.learning.evaluation.splits",
    "evaluate": "tryage.learning.evaluation.evaluator",
    "latent_map": "tryage.learning.evaluation.latent_space",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
