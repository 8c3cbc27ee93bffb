"""What decides: experts, preferences, constraints, decisions; no network, disk, clock or torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.core.constraints import DEFAULT_CONSTRAINTS as DEFAULT_CONSTRAINTS
    from tryage.core.constraints import Constraint as Constraint
    from tryage.core.constraints import PerLibrary as PerLibrary
    from tryage.core.constraints import Request as Request
    from tryage.core.constraints import expected_cost as expected_cost
    from tryage.core.decision import Decision as Decision
    from tryage.core.expert import Expert as Expert
    from tryage.core.flags import Extracted as Extracted
    from tryage.core.flags import extract as extract
    from tryage.core.library import Library as Library
    from tryage.core.objective import Prediction as Prediction
    from tryage.core.objective import score as score
    from tryage.core.pareto import Change as Change
    from tryage.core.pareto import Front as Front
    from tryage.core.pareto import FrontPoint as FrontPoint
    from tryage.core.preferences import Preferences as Preferences
    from tryage.core.preferences import Requirement as Requirement

_MODULES = {
    "Change": "tryage.core.pareto",
    "Constraint": "tryage.core.constraints",
    "DEFAULT_CONSTRAINTS": "tryage.core.constraints",
    "Decision": "tryage.core.decision",
    "Expert": "tryage.core.expert",
    "Extracted": "tryage.core.flags",
    "Front": "tryage.core.pareto",
    "FrontPoint": "tryage.core.pareto",
    "Library": "tryage.core.library",
    "PerLibrary": "tryage.core.constraints",
    "Prediction": "tryage.core.objective",
    "Preferences": "tryage.core.preferences",
    "Request": "tryage.core.constraints",
    "Requirement": "tryage.core.preferences",
    "expected_cost": "tryage.core.constraints",
    "extract": "tryage.core.flags",
    "score": "tryage.core.objective",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
