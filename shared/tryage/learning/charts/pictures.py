"""Writes charts to files: PNG, SVG and PDF by matplotlib, interactive HTML by plotly."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.files import replace_file, write_text
from tryage.learning.charts.matplotlib_figure import DEFAULT_THEME, PAGE_THEME, Theme, make_figure
from tryage.learning.charts.style import (
    ACCENT_COLOR,
    BACKGROUND_COLOR,
    GRID_COLOR,
    OTHERS_COLOR,
    SOFT_COLOR,
    TEXT_COLOR,
)

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from tryage.learning.charts.chart import Chart

SUFFIXES = (".png", ".svg", ".pdf", ".html")

# What a page calls the colors of a chart.
_PAGE_COLORS = {
    TEXT_COLOR: "var(--text)",
    GRID_COLOR: "var(--line)",
    BACKGROUND_COLOR: "var(--card)",
    OTHERS_COLOR: "var(--muted)",
    SOFT_COLOR: "var(--soft)",
    ACCENT_COLOR: "var(--accent)",
}

_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)


def check_picture_path(path: Path) -> Path:
    """Return the path of a picture that can be drawn, before anything is computed.

    Raises:
        InputError: the suffix is not that of a picture.
        MissingExtraError: the package that draws it is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path} is not a picture that can be drawn; expected .png, .svg, .pdf or .html"
        )
    require_extra("plotly" if suffix == ".html" else "matplotlib", "plot")
    return path


def save_chart(chart: Chart, path: Path, *, transparent: bool = False) -> None:
    """Draw a chart to a file in the format of its suffix; a stop leaves the old or the new one.

    Args:
        chart: What to draw.
        path: A name with .png, .svg, .pdf or .html.
        transparent: Whether there is no background, for a light page of any color.

    Raises:
        InputError: the suffix is not that of a picture.
        MissingExtraError: matplotlib or plotly is not installed.
    """
    suffix = check_picture_path(path).suffix.lower()
    if suffix == ".html":
        from tryage.learning.charts.plotly_page import to_html

        write_text(path, to_html(chart, transparent=transparent))
    elif suffix == ".svg":
        write_text(path, to_svg(chart, transparent=transparent))
    else:
        save_figure(make_figure(chart), path, _metadata(chart, suffix), transparent=transparent)


def save_figure(
    figure: Figure,
    path: Path,
    metadata: dict[str, str] | None = None,
    *,
    transparent: bool = False,
) -> None:
    """Write a figure of matplotlib in the format of the suffix."""
    with replace_file(path) as partial_path:
        figure.savefig(
            partial_path,
            format=path.suffix[1:].lower() or None,
            metadata=metadata,
            transparent=transparent,
        )


def _metadata(chart: Chart, suffix: str) -> dict[str, str]:
    """Return what a file says about itself, in the words of its format."""
    about = "Subject" if suffix == ".pdf" else "Description"
    return {"Title": chart.title, about: chart.description}


def to_svg(chart: Chart, *, transparent: bool = False) -> str:
    """Return a chart as an SVG document with a title and a description for screen readers.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    svg = _draw_svg(chart, DEFAULT_THEME, transparent=transparent)
    words = (
        f'<title id="title">{escape(chart.title)}</title>\n'
        f'<desc id="desc">{escape(chart.description)}</desc>\n'
    )
    opened = re.sub(r"<svg", '<svg role="img" aria-labelledby="title desc"', svg, count=1)
    return re.sub(r"(<svg[^>]*>)", lambda found: f"{found[1]}\n {words}", opened, count=1)


def to_page_svg(chart: Chart) -> str:
    """Return a small chart as an SVG element for a page, as wide as its place.

    It has the colors of the page, light or dark: its variables `--text`, `--soft`, `--line`,
    `--card`, `--muted` and `--accent`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    element = _PROLOG.sub("", _draw_svg(chart, PAGE_THEME, transparent=True), count=1)
    for size in ("width", "height"):
        element = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", element, count=1)
    used = set(re.findall(r"#([^\s\")]+)[\")]", element))
    element = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", element)
    for color, name in _PAGE_COLORS.items():
        element = re.sub(color, name, element, flags=re.IGNORECASE)
    label = escape(chart.description, quote=True)
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _draw_svg(chart: Chart, theme: Theme, *, transparent: bool) -> str:
    """Return the drawing of matplotlib, with texts as texts, the same in each run."""
    figure, file = make_figure(chart, theme), io.StringIO()
    import matplotlib as mpl

    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    # With its own salt, no two pictures of a page have parts of the same id.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.description}):
        figure.savefig(file, format="svg", metadata=nothing, transparent=transparent)
    return file.getvalue()
