"""Tryage: send every prompt to the right language model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tryage.decision import Decision
    from tryage.experts import Expert, Library
    from tryage.preferences import Preferences
    from tryage.qtable import QTable
    from tryage.router import Router

__version__ = "0.1.0"
__all__ = ["Decision", "Expert", "Library", "Preferences", "QTable", "Router"]

_HOMES = {
    "Decision": "tryage.decision",
    "Expert": "tryage.experts",
    "Library": "tryage.experts",
    "Preferences": "tryage.preferences",
    "QTable": "tryage.qtable",
    "Router": "tryage.router",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of each name is declared above
    """Import a public name when it is first used: `import tryage` stays instant (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tryage' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)
