"""What is remembered of calls and what came of them: the health of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.traffic.health import HealthRegistry as HealthRegistry
    from tryage.traffic.health import process_health as process_health

_MODULES = {
    "HealthRegistry": "tryage.traffic.health",
    "process_health": "tryage.traffic.health",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
