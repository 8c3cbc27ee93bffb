"""Policies that change decisions, and routers that are made of routers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.policies.answer_cache import AnswerCache as AnswerCache
    from tryage.policies.assignment import Assignment as Assignment
    from tryage.policies.assignment import assign as assign
    from tryage.policies.assignment_pareto import AssignmentFront as AssignmentFront
    from tryage.policies.assignment_pareto import assignment_front as assignment_front
    from tryage.policies.budget import Budget as Budget
    from tryage.policies.budget import BudgetStatus as BudgetStatus
    from tryage.policies.cascade import Cascade as Cascade
    from tryage.policies.cascade_calibration import LabelledAnswer as LabelledAnswer
    from tryage.policies.cascade_steps import Ensemble as Ensemble
    from tryage.policies.composite import CompositeRouter as CompositeRouter
    from tryage.policies.erase_and_check import EraseAndCheck as EraseAndCheck
    from tryage.policies.evidence import Agreement as Agreement
    from tryage.policies.evidence import AnswerEvidence as AnswerEvidence
    from tryage.policies.evidence import AnswerTest as AnswerTest
    from tryage.policies.evidence import FormatCheck as FormatCheck
    from tryage.policies.evidence import Judge as Judge
    from tryage.policies.evidence import LogProbability as LogProbability
    from tryage.policies.evidence import Verifier as Verifier
    from tryage.policies.guarantee import Guarantee as Guarantee
    from tryage.policies.guarantee import GuaranteeStatus as GuaranteeStatus
    from tryage.policies.guarantee_calibration import GuaranteeCalibration as GuaranteeCalibration
    from tryage.policies.hedge import Hedge as Hedge
    from tryage.policies.likelihood import Likelihood as Likelihood
    from tryage.policies.quality_gap import QualityGap as QualityGap
    from tryage.policies.rule import Rule as Rule
    from tryage.policies.rules import Rules as Rules
    from tryage.policies.shadow import Shadow as Shadow
    from tryage.policies.similar_requests import SimilarRequests as SimilarRequests
    from tryage.policies.split import Split as Split
    from tryage.policies.threshold import Threshold as Threshold

_MODULES = {
    "Agreement": "tryage.policies.evidence",
    "AnswerCache": "tryage.policies.answer_cache",
    "AnswerEvidence": "tryage.policies.evidence",
    "AnswerTest": "tryage.policies.evidence",
    "Assignment": "tryage.policies.assignment",
    "AssignmentFront": "tryage.policies.assignment_pareto",
    "Budget": "tryage.policies.budget",
    "BudgetStatus": "tryage.policies.budget",
    "Cascade": "tryage.policies.cascade",
    "CompositeRouter": "tryage.policies.composite",
    "Ensemble": "tryage.policies.cascade_steps",
    "EraseAndCheck": "tryage.policies.erase_and_check",
    "FormatCheck": "tryage.policies.evidence",
    "Guarantee": "tryage.policies.guarantee",
    "GuaranteeCalibration": "tryage.policies.guarantee_calibration",
    "GuaranteeStatus": "tryage.policies.guarantee",
    "Judge": "tryage.policies.evidence",
    "LabelledAnswer": "tryage.policies.cascade_calibration",
    "Likelihood": "tryage.policies.likelihood",
    "LogProbability": "tryage.policies.evidence",
    "QualityGap": "tryage.policies.quality_gap",
    "Rule": "tryage.policies.rule",
    "Rules": "tryage.policies.rules",
    "Hedge": "tryage.policies.hedge",
    "Shadow": "tryage.policies.shadow",
    "SimilarRequests": "tryage.policies.similar_requests",
    "Split": "tryage.policies.split",
    "Threshold": "tryage.policies.threshold",
    "Verifier": "tryage.policies.evidence",
    "assign": "tryage.policies.assignment",
    "assignment_front": "tryage.policies.assignment_pareto",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
