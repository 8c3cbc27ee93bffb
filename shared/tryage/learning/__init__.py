"""What trains and measures: Q-tables, training, scoring, evaluation and co-training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.qtable import QTable as QTable
    from tryage.learning.qtable import with_measurements as with_measurements

_MODULES = {
    "QTable": "tryage.learning.qtable",
    "with_measurements": "tryage.learning.qtable",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
