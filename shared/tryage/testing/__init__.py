"""What we ship for your tests: perceptions, a small library, and a Hub on the loopback device."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tryage.testing.fakes import (
        FailingPerception,
        FixedPerception,
        FunctionPerception,
        LearningPerception,
        demo_library,
        demo_perception,
    )
    from tryage.testing.hub import LocalHub

__all__ = [
    "FailingPerception",
    "FixedPerception",
    "FunctionPerception",
    "LearningPerception",
    "LocalHub",
    "demo_library",
    "demo_perception",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of each name is declared above
    """Import a name when it is first used: the fakes need no server, the Hub no numpy."""
    if name not in __all__:
        raise AttributeError(f"module 'tryage.testing' has no attribute {name!r}; it has {__all__}")
    home = "tryage.testing.hub" if name == "LocalHub" else "tryage.testing.fakes"
    return getattr(import_module(home), name)
