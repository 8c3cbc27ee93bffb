"""Simulation: what policies would cost and bring on measured prompts or logged traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.simulation.recorded_perception import RecordedPerception as RecordedPerception
    from tryage.simulation.result import RunSummary as RunSummary
    from tryage.simulation.result import SettingPoint as SettingPoint
    from tryage.simulation.result import Simulation as Simulation

_MODULES = {
    "RecordedPerception": "tryage.simulation.recorded_perception",
    "RunSummary": "tryage.simulation.result",
    "SettingPoint": "tryage.simulation.result",
    "Simulation": "tryage.simulation.result",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
