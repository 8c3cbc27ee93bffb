"""Deciding: experts, preferences, constraints and decisions. No network, disk, clock or torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.core.constraints import DEFAULT_CONSTRAINTS as DEFAULT_CONSTRAINTS
    from tryage.core.constraints import Constraint as Constraint
    from tryage.core.constraints import StaticConstraint as StaticConstraint
    from tryage.core.costs import expected_cost as expected_cost
    from tryage.core.costs import expected_costs as expected_costs
    from tryage.core.decision import Decision as Decision
    from tryage.core.expert import Expert as Expert
    from tryage.core.exploration import Exploration as Exploration
    from tryage.core.flags import FlagExtraction as FlagExtraction
    from tryage.core.flags import extract_flags as extract_flags
    from tryage.core.library import Library as Library
    from tryage.core.objective import compute_routing_loss as compute_routing_loss
    from tryage.core.pareto import ChoiceChange as ChoiceChange
    from tryage.core.pareto import FrontPoint as FrontPoint
    from tryage.core.pareto import ParetoFront as ParetoFront
    from tryage.core.perception import Perception as Perception
    from tryage.core.perception import Prediction as Prediction
    from tryage.core.preferences import Preferences as Preferences
    from tryage.core.preferences import Requirement as Requirement
    from tryage.core.request_batch import RequestBatch as RequestBatch

_MODULES = {
    "ChoiceChange": "tryage.core.pareto",
    "Constraint": "tryage.core.constraints",
    "DEFAULT_CONSTRAINTS": "tryage.core.constraints",
    "Decision": "tryage.core.decision",
    "Expert": "tryage.core.expert",
    "Exploration": "tryage.core.exploration",
    "FlagExtraction": "tryage.core.flags",
    "FrontPoint": "tryage.core.pareto",
    "Library": "tryage.core.library",
    "ParetoFront": "tryage.core.pareto",
    "Perception": "tryage.core.perception",
    "Prediction": "tryage.core.perception",
    "Preferences": "tryage.core.preferences",
    "RequestBatch": "tryage.core.request_batch",
    "Requirement": "tryage.core.preferences",
    "StaticConstraint": "tryage.core.constraints",
    "compute_routing_loss": "tryage.core.objective",
    "expected_cost": "tryage.core.costs",
    "expected_costs": "tryage.core.costs",
    "extract_flags": "tryage.core.flags",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
