"""Spans and metrics of decisions and calls, for any collector of OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.telemetry.instrumentor import TryageInstrumentor as TryageInstrumentor
    from tryage.telemetry.instrumentor import instrument as instrument
    from tryage.telemetry.instrumentor import uninstrument as uninstrument

_MODULES = {
    "TryageInstrumentor": "tryage.telemetry.instrumentor",
    "instrument": "tryage.telemetry.instrumentor",
    "uninstrument": "tryage.telemetry.instrumentor",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
