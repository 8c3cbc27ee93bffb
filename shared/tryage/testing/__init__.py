"""For tests of code that uses Tryage: perceptions, a library, a local Hub, telemetry in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.testing.fakes import FailingPerception as FailingPerception
    from tryage.testing.fakes import FixedPerception as FixedPerception
    from tryage.testing.fakes import FixedPolicy as FixedPolicy
    from tryage.testing.fakes import FunctionPerception as FunctionPerception
    from tryage.testing.fakes import LearningPerception as LearningPerception
    from tryage.testing.fakes import demo_library as demo_library
    from tryage.testing.fakes import demo_perception as demo_perception
    from tryage.testing.hub.local import LocalHub as LocalHub
    from tryage.testing.telemetry import MemoryTelemetry as MemoryTelemetry

_MODULES = {
    "FailingPerception": "tryage.testing.fakes",
    "FixedPerception": "tryage.testing.fakes",
    "FixedPolicy": "tryage.testing.fakes",
    "FunctionPerception": "tryage.testing.fakes",
    "LearningPerception": "tryage.testing.fakes",
    "LocalHub": "tryage.testing.hub.local",
    "MemoryTelemetry": "tryage.testing.telemetry",
    "demo_library": "tryage.testing.fakes",
    "demo_perception": "tryage.testing.fakes",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
