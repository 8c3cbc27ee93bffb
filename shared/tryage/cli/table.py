"""Tables for people: cells as they write them, columns aligned."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def count(value: float | None) -> str:
    """Write a count as people do: 7B, 1.2M, 32k."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= size:
            return f"{value / size:.3g}{suffix}"
    return plain(value)


def plain(value: object) -> str:
    """Write a value; - is unknown."""
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Align the first `left` columns left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= left else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
