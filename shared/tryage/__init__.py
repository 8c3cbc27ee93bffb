"""Tryage: send every prompt to the right language model. The public names of the package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tryage.chat.like import like
    from tryage.core.decision import Decision
    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.core.preferences import Preferences
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

__version__ = "0.1.0"
__all__ = ["Decision", "Expert", "Library", "Preferences", "QTable", "Router", "like"]

_LAZY_IMPORTS = {
    "Decision": "tryage.core.decision",
    "Expert": "tryage.core.expert",
    "Library": "tryage.core.library",
    "Preferences": "tryage.core.preferences",
    "QTable": "tryage.scoring.qtable",
    "Router": "tryage.router",
    "like": "tryage.chat.like",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of each name is declared above
    """Import a public name when it is first used, so that `import tryage` is fast (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'tryage' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_LAZY_IMPORTS[name]), name)
