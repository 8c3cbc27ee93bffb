"""Draws a chart with matplotlib: for PNG, SVG and PDF, and for the pages of reports."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.charts.chart import Bars, Line, Points, Rule, panel_limits
from tryage.learning.charts.labels import Label, place_labels
from tryage.learning.charts.style import (
    BACKGROUND_COLOR,
    GRID_COLOR,
    SOFT_COLOR,
    TEXT_COLOR,
)
from tryage.learning.charts.ticks import axis_ticks, format_number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.text import Annotation

    from tryage.core.arrays import Float64Array
    from tryage.learning.charts.chart import Axis, Chart, Mark, Panel
    from tryage.learning.charts.style import Style

_DPI = 150

_MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "inverted triangle": "v",
    "plus": "P",
    "cross": "X",
    "star": "*",
    "bar": "|",
}

_DASHES: dict[str, Any] = {
    "solid": "-",
    "dashed": "--",
    "dash-dot": "-.",
    "dotted": ":",
    "long dash": (0, (7, 2)),
    "none": "none",
}

_HATCH_REPEATS = 2  # a denser hatch makes a small bar dark

_BOLD = 1.3  # how much wider the letters of the title are

_PAD = 0.01  # of the picture, around title and note

_LEGEND_MARKER = 6.0  # points: the size of the smallest marker in a legend

_EDGE = 0.7  # points: the width of the dark edge of markers and bars


@dataclass(frozen=True, slots=True)
class Theme:
    """Sizes of the texts in points, and which of them are drawn."""

    font_size: float = 11.0
    has_title: bool = True
    has_names: bool = True


DEFAULT_THEME = Theme()

PAGE_THEME = Theme(font_size=8.0, has_title=False)
"""For a small picture of a page, which has its title beside it."""


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of this size in inches, without pyplot's global state, window or backend.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_extra("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def make_figure(chart: Chart, theme: Theme = DEFAULT_THEME) -> Figure:
    """Draw a chart.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure(*chart.size)
    import matplotlib as mpl

    # A name with two dollar signs is no formula.
    with mpl.rc_context({"text.parse_math": False, "hatch.linewidth": 0.7}):
        grid = figure.subplots(
            chart.rows, chart.columns, squeeze=False, width_ratios=chart.weights or None
        )
        every = grid.ravel().tolist()
        for axes, panel in zip(every, chart.panels, strict=False):
            _draw_panel(axes, panel, theme)
        for axes in every[len(chart.panels) :]:
            axes.set_axis_off()
        _draw_frame(figure, chart, theme)
        figure.draw_without_rendering()  # fixes the layout, which places labels
        for axes, panel in zip(every, chart.panels, strict=False):
            _draw_labels(axes, panel, theme)
    return figure


def _draw_panel(axes: Axes, panel: Panel, theme: Theme) -> None:
    x, y = panel_limits(panel)
    _style_axes(axes, theme)
    _style_axis(axes, "x", panel.x, x, theme)
    _style_axis(axes, "y", panel.y, y, theme)
    if panel.title:
        axes.set_title(panel.title, loc="left", fontsize=theme.font_size, color=TEXT_COLOR)
    for i, mark in enumerate(panel.marks):
        _draw_mark(axes, mark, 2 + 0.1 * i)


def _style_axes(axes: Axes, theme: Theme) -> None:
    axes.grid(color=GRID_COLOR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT_COLOR)
    axes.tick_params(colors=TEXT_COLOR, labelsize=theme.font_size - 1, length=0, pad=6)
    axes.tick_params(axis="x", pad=8)  # apart from the lowest number of the other axis


def _style_axis(
    axes: Axes, which: str, axis: Axis, limits: tuple[float, float], theme: Theme
) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    part = axes.xaxis if which == "x" else axes.yaxis
    if axis.is_log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = limits[::-1] if axis.is_reversed else limits
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    part.set_label_text(axis.label, fontsize=theme.font_size, color=TEXT_COLOR)
    ticks = axis_ticks(axis, limits)
    part.set_minor_locator(NullLocator())
    if ticks is None:
        part.set_major_locator(MaxNLocator(5 if which == "x" else 6))
        part.set_major_formatter(FuncFormatter(lambda value, _: format_number(value, axis.unit)))
        return
    texts = dict(zip(ticks[0], ticks[1], strict=True))
    part.set_major_locator(FixedLocator(list(ticks[0])))
    part.set_major_formatter(FuncFormatter(lambda value, _: texts.get(value, "")))
    if not ticks[0] and which == "x":
        axes.spines["bottom"].set_visible(False)
    if axis.ticks is not None:
        axes.grid(visible=False, axis=which)  # type: ignore[arg-type]  # "x" or "y"


def _draw_mark(axes: Axes, mark: Mark, zorder: float) -> None:
    if isinstance(mark, Line):
        _draw_line(axes, mark, zorder)
    elif isinstance(mark, Points):
        _draw_points(axes, mark, zorder)
    elif isinstance(mark, Bars):
        _draw_bars(axes, mark, zorder)
    else:
        _draw_rule(axes, mark, zorder)


def _draw_line(axes: Axes, line: Line, zorder: float) -> None:
    style = line.style
    step = "steps-post" if line.is_step else "default"
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=style.color, alpha=0.16, linewidth=0,
                          zorder=zorder, step="post" if line.is_step else None)  # fmt: skip
    axes.plot(
        line.x, line.y, color=style.color, linewidth=style.width, linestyle=_DASHES[style.dash],
        marker=None if style.marker is None else _MARKERS[style.marker], markersize=style.size,
        markeredgecolor=BACKGROUND_COLOR, markeredgewidth=_EDGE, drawstyle=step, zorder=zorder,
        label=line.name,
    )  # fmt: skip


def _draw_points(axes: Axes, points: Points, zorder: float) -> None:
    style = points.style
    errors = [
        _errors(points.y, points.low, points.high),
        _errors(points.x, points.x_low, points.x_high),
    ]
    marker = _MARKERS[style.marker or "circle"]
    is_stroke = marker == "|"
    axes.errorbar(
        points.x, points.y, yerr=errors[0], xerr=errors[1], linestyle="none", marker=marker,
        markersize=style.size, color=BACKGROUND_COLOR if style.is_hollow else style.color,
        ecolor=style.color, elinewidth=1.3, capsize=0,
        markeredgecolor=style.color if style.is_hollow or is_stroke else TEXT_COLOR,
        markeredgewidth=1.8 if style.is_hollow or is_stroke else min(_EDGE, 0.08 * style.size),
        zorder=zorder,
        label=points.name,
    )  # fmt: skip


def _errors(middle: Any, low: Any, high: Any) -> Float64Array | None:  # noqa: ANN401 - sequences or None
    """Return how far bounds are from the middle, `(2, n)`."""
    if low is None or high is None:
        return None
    center = np.asarray(middle, np.float64)
    return np.maximum([center - np.asarray(low), np.asarray(high) - center], 0.0)


def _draw_bars(axes: Axes, bars: Bars, zorder: float) -> None:
    style = bars.style
    base = np.zeros(len(bars.x)) if bars.base is None else np.asarray(bars.base, np.float64)
    look: dict[str, Any] = {
        "color": style.color,
        "edgecolor": TEXT_COLOR,
        "linewidth": 0.5,
        "hatch": style.hatch * _HATCH_REPEATS,
        "label": bars.name,
        "zorder": zorder,
    }
    if bars.is_horizontal:
        axes.barh(bars.x, bars.y, bars.width, left=base, **look)
    else:
        axes.bar(bars.x, bars.y, bars.width, base, **look)


def _draw_rule(axes: Axes, rule: Rule, zorder: float) -> None:
    """Draw a straight line, with a wider one in white below that tells it from bars."""
    style = rule.style
    halo: dict[str, Any] = {
        "color": BACKGROUND_COLOR,
        "linewidth": style.width + 1.6,
        "zorder": zorder,
    }
    look: dict[str, Any] = {
        "color": style.color,
        "linewidth": style.width,
        "linestyle": _DASHES[style.dash],
        "label": rule.name,
        "zorder": zorder + 0.01,
    }
    if rule.direction == "diagonal":
        axes.axline((0, 0), slope=1, **look)
        return
    draw = axes.axvline if rule.direction == "vertical" else axes.axhline
    draw(rule.value, **halo)
    draw(rule.value, **look)


def _draw_frame(figure: Figure, chart: Chart, theme: Theme) -> None:
    """Write the title above, and legend and note below; the panels get the rest."""
    top, bottom = 1.0, 0.0
    if theme.has_title:
        letters = chart.size[0] * 72 / theme.font_size / 0.56
        heading = fill(chart.title, int(letters / _BOLD))
        title = figure.text(_PAD, 1 - _PAD, heading, va="top", color=TEXT_COLOR,
                            fontsize=theme.font_size + 2, fontweight="bold")  # fmt: skip
        top = _bounds(figure, title)[0] - _PAD
        if chart.note:
            note = figure.text(_PAD, _PAD, fill(chart.note, int(letters * 1.15)), va="bottom",
                               color=SOFT_COLOR, fontsize=theme.font_size - 1.5)  # fmt: skip
            bottom = _bounds(figure, note)[1] + _PAD
    legend = _draw_legend(figure, chart, theme, bottom)
    if legend is not None:
        bottom = _bounds(figure, legend)[1]
    figure.set_layout_engine("constrained", rect=(0.0, bottom, 1.0, top - bottom))


def _bounds(figure: Figure, artist: Artist) -> tuple[float, float]:
    """Return the lower and the upper end of something drawn, as shares of the picture's height."""
    box = artist.get_window_extent()
    return box.y0 / figure.bbox.height, box.y1 / figure.bbox.height


def _draw_legend(figure: Figure, chart: Chart, theme: Theme, bottom: float) -> Legend | None:
    """Name each series once; return the legend if it is below the panels, above `bottom`."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    named = {name: handle for name, handle in found.items() if not name.startswith("_")}
    if not named or chart.legend == "none":
        return None
    look: dict[str, Any] = {
        "fontsize": theme.font_size - 1,
        "frameon": False,
        "labelcolor": TEXT_COLOR,
        "markerscale": _legend_scale(chart),
    }
    handles, names = list(named.values()), [fill(one, 30, break_on_hyphens=False) for one in named]
    if chart.legend == "below":
        widest = max(len(line) for name in names for line in name.splitlines())
        columns = max(1, min(len(names), int(chart.size[0] * 11 / (widest + 6))))
        return figure.legend(handles, names, loc="lower center", ncols=columns,
                             bbox_to_anchor=(0.5, bottom), **look)  # fmt: skip
    axes = figure.axes[min(chart.columns, len(chart.panels)) - 1]
    if chart.legend == "inside":
        axes.legend(handles, names, loc="best", **look)
    else:
        axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.01, 1.0), **look)
    return None


def _legend_scale(chart: Chart) -> float:
    """Return how much larger markers are in the legend, so that small ones can be told apart."""
    sizes = [
        mark.style.size for one in chart.panels for mark in one.marks if isinstance(mark, Points)
    ]
    return max(1.0, _LEGEND_MARKER / min(sizes)) if sizes and max(sizes) < _LEGEND_MARKER else 1.0


def _draw_labels(axes: Axes, panel: Panel, theme: Theme) -> None:
    """Write labels beside points where there is a free place."""
    texts: list[tuple[Annotation, Label]] = []
    for points in panel.marks:
        if isinstance(points, Points):
            places = axes.transData.transform(np.column_stack([points.x, points.y]))
            for text, (x, y) in zip(points.labels, places.tolist(), strict=False):
                if text:
                    texts.append(_measured(axes, text, (x, y), theme))
    area = axes.get_window_extent()
    scale = axes.figure.dpi / 72
    placed = place_labels(
        [label for _, label in texts],
        (area.x0, area.y0, area.x1, area.y1),
        _obstacles(axes, panel, scale),
        _paths(axes, panel),
    )
    found = {id(one.label): one for one in placed}
    for written, label in texts:
        place = found.get(id(label))
        if place is None:
            written.remove()
        else:
            written.set_position((place.dx / scale, place.dy / scale))


def _measured(
    axes: Axes, text: str, place: tuple[float, float], theme: Theme
) -> tuple[Annotation, Label]:
    """Write a text, and measure it."""
    x, y = axes.transData.inverted().transform(place)
    written = axes.annotate(
        text, (x, y), (0, 0), textcoords="offset points", fontsize=theme.font_size - 2,
        color=TEXT_COLOR, va="center", ha="left", zorder=10, annotation_clip=False,
    )  # fmt: skip
    box = written.get_window_extent()
    return written, Label(text, *place, box.width, box.height)


def _obstacles(axes: Axes, panel: Panel, scale: float) -> list[tuple[float, float, float, float]]:
    """Return the boxes of all markers, and of the legend if it is inside."""
    boxes = []
    for mark in panel.marks:
        style: Style = mark.style
        if isinstance(mark, Points) or (isinstance(mark, Line) and style.marker):
            radius = style.size * scale / 2
            for x, y in axes.transData.transform(np.column_stack([mark.x, mark.y])).tolist():
                boxes.append((x - radius, y - radius, x + radius, y + radius))
    legend = axes.get_legend()
    if legend is not None:
        box = legend.get_window_extent()
        boxes.append((box.x0, box.y0, box.x1, box.y1))
    return boxes


def _paths(axes: Axes, panel: Panel) -> list[Float64Array]:
    """Return the lines and the intervals of a panel in pixels, which no label should hide."""
    paths = []
    for mark in panel.marks:
        if isinstance(mark, Line):
            paths.append(np.column_stack([mark.x, mark.y]))
        elif isinstance(mark, Rule) and mark.direction == "vertical":
            paths.append(np.array([[mark.value, y] for y in axes.get_ylim()]))
        elif isinstance(mark, Points) and mark.low is not None and mark.high is not None:
            paths += [
                np.array([[x, low], [x, high]])
                for x, low, high in zip(mark.x, mark.low, mark.high, strict=True)
            ]
    return [axes.transData.transform(one) for one in paths]
