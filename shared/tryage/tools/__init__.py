"""Which few tools an agent needs for a query, predicted as the router predicts experts."""

from __future__ import annotations

from tryage.tools.ranker import ToolRanker
from tryage.tools.selection import Selection
from tryage.tools.tool import Tool
from tryage.tools.toolbox import Toolbox

__all__ = ["Selection", "Tool", "ToolRanker", "Toolbox"]
