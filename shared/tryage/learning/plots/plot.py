"""What every plot offers: its chart, its numbers, and how it is written to a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.learning.charts.chart import Chart


class Plot(ABC):
    """The numbers of one picture."""

    @abstractmethod
    def chart(self) -> Chart:
        """Return what the picture shows."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON."""

    def save(self, path: str | Path, *, transparent: bool = False) -> None:
        """Draw to a file: .png, .svg and .pdf, or .html for an interactive page.

        Args:
            path: The file; its suffix says which format.
            transparent: Whether there is no background, for a light page of any color.

        Raises:
            InputError: the suffix is not that of a picture, or there is nothing to draw.
            MissingExtraError: matplotlib or plotly is not installed.
        """
        from tryage.learning.charts.pictures import save_chart

        if not isinstance(path, (str, Path)):
            raise InputError(f"path is a {type(path).__name__}; expected the name of a file.")
        save_chart(self.chart(), Path(path), transparent=transparent)

    def _repr_svg_(self) -> str:
        """Show the picture in a notebook."""
        from tryage.learning.charts.pictures import to_svg

        return to_svg(self.chart())


def count_text(number: int, noun: str) -> str:
    """Return a number with its noun: 1 prompt, 2,000 prompts."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
