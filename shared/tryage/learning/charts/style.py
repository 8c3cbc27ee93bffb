"""The house style of all pictures: colors, markers, dashes and hatches that any eye can tell apart.

Series differ by color and by shape: by the marker, the dash or the hatch. So a picture can be read
with any kind of color vision, and printed in gray.
"""

from __future__ import annotations

from dataclasses import dataclass

# Okabe and Ito (2008), the dark ones first: each has a contrast of at least 3 with white, as WCAG
# 2.2 asks of graphics. The last three have less, so fills and markers have a dark edge.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")

N_LINE_COLORS = 4  # of the palette: a line has no edge

TEXT_COLOR, SOFT_COLOR, GRID_COLOR, OTHERS_COLOR = "#333333", "#666666", "#E6E6E6", "#8C8C8C"

# One step from the first color, so that a page can put its own accent there and nowhere else.
ACCENT_COLOR = "#0073B2"

BACKGROUND_COLOR = "#FFFFFF"

MARKERS = ("circle", "square", "triangle", "diamond", "inverted triangle", "plus", "cross")

DASHES = ("solid", "dashed", "dash-dot", "dotted", "long dash")

HATCHES = ("", "/", ".", "x", "\\", "+", "-")

MAX_SERIES = 6  # with a color of their own; more names cannot be told apart or read


@dataclass(frozen=True, slots=True)
class Style:
    """How a series looks; `size` and `width` are in points."""

    color: str = PALETTE[0]
    marker: str | None = None
    dash: str = "solid"
    hatch: str = ""
    size: float = 7.0
    width: float = 2.0
    is_hollow: bool = False


def line_style(i: int, width: float = 2.0) -> Style:
    """Return the style of line number `i`."""
    return Style(PALETTE[i % N_LINE_COLORS], dash=DASHES[i % len(DASHES)], width=width)


def point_style(i: int, size: float = 9.0) -> Style:
    """Return the style of the points of series number `i`."""
    return Style(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], size=size)


def fill_style(i: int) -> Style:
    """Return the style of the bars of series number `i`."""
    return Style(PALETTE[i % len(PALETTE)], hatch=HATCHES[i % len(HATCHES)])


OTHERS_STYLE = Style(OTHERS_COLOR, "circle", size=6.0)

REFERENCE_STYLE = Style(SOFT_COLOR, dash="dotted", width=1.2)


def contrast_ratio(color: str, background: str = BACKGROUND_COLOR) -> float:
    """Return the contrast of two colors "#RRGGBB", from 1 to 21 (WCAG 2.2, relative luminance)."""
    high, low = sorted((_luminance(color), _luminance(background)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def short_name(name: str) -> str:
    """Return a model's name without its owner, cut to what fits beside a point."""
    return shorten(name.rsplit("/", maxsplit=1)[-1] or name)


def shorten(text: str, length: int = 26) -> str:
    """Return a text cut to `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
