"""Training: from a Q-table to a perception."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.training.trainer import FitConfig as FitConfig
    from tryage.learning.training.trainer import fit as fit

_MODULES = {
    "FitConfig": "tryage.learning.training.trainer",
    "fit": "tryage.learning.training.trainer",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
