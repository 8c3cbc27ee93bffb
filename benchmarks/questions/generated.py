"""All questions that programs make."""

from __future__ import annotations

from typing import Any

import arithmetic
import logic
import planning
import reading


def make_items() -> list[dict[str, Any]]:
    """Return the items of every generator."""
    modules = (arithmetic, logic, planning, reading)
    return [item for module in modules for item in module.make_items()]
