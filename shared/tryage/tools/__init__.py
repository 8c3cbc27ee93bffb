"""Which few tools an agent needs for a query, predicted as the router predicts experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.tools.matching import Toolbox as Toolbox
    from tryage.tools.ranker import Selection as Selection
    from tryage.tools.ranker import ToolRanker as ToolRanker
    from tryage.tools.tool import Tool as Tool

_MODULES = {
    "Selection": "tryage.tools.ranker",
    "Tool": "tryage.tools.tool",
    "ToolRanker": "tryage.tools.ranker",
    "Toolbox": "tryage.tools.matching",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
