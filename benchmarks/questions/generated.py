"""All questions that programs make."""

from __future__ import annotations

from typing import Any

import arithmetic
import logic


def make_items() -> list[dict[str, Any]]:
    """Return the items of every generator."""
    return [*arithmetic.make_items(), *logic.make_items()]
