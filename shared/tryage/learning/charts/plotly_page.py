"""Draws a chart as one interactive HTML page, which loads nothing from elsewhere."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.charts.chart import Bars, Line, Points, Rule, panel_limits
from tryage.learning.charts.labels import Label, place_labels
from tryage.learning.charts.style import BACKGROUND_COLOR, GRID_COLOR, SOFT_COLOR, TEXT_COLOR
from tryage.learning.charts.ticks import axis_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.learning.charts.chart import Axis, Chart, Mark, Panel
    from tryage.learning.charts.style import Style

_PIXELS = 104  # of an inch of the chart

_FONT_SIZE, _LABEL_SIZE = 14, 12  # pixels

_LETTER_WIDTH, _LINE_HEIGHT = 0.6, 1.25  # of the size of a font: a little more than most need

_LEGEND_WIDTH = 250

_POINT_PIXELS = 1.35

_SYMBOLS = {
    "circle": "circle",
    "square": "square",
    "triangle": "triangle-up",
    "diamond": "diamond",
    "inverted triangle": "triangle-down",
    "plus": "cross",
    "cross": "x",
    "star": "star",
    "bar": "line-ns",
}

_DASHES = {
    "solid": "solid",
    "dashed": "dash",
    "dash-dot": "dashdot",
    "dotted": "dot",
    "long dash": "longdash",
}

_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d"],
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ margin: 0; padding: 16px; background: {background}; color: {text};
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
main {{ max-width: {width}px; margin: 0 auto; }}
h1 {{ font-size: 1.25rem; margin: 0 0 4px; }}
p {{ margin: 0 0 8px; color: {soft}; font-size: .95rem; }}
figure {{ margin: 0; }}
.chart {{ overflow-x: auto; }}
.chart > div {{ min-width: {narrowest}px; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{note}</p>
<figure aria-label="{description}">
<div class="chart" tabindex="0">{chart}</div>
<figcaption><p>{description}</p></figcaption>
</figure>
</main>
</body>
</html>
"""


def to_html(chart: Chart, *, transparent: bool = False) -> str:
    """Return a chart as one page of about 5 MB, nearly all of it the script of plotly.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figure, width, height = _make_figure(chart)
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=True, config=_CONFIG, default_height=f"{height}px"
    )
    return _PAGE.format(
        title=escape(chart.title),
        note=escape(chart.note),
        description=escape(chart.description, quote=True),
        background="transparent" if transparent else BACKGROUND_COLOR,
        text=TEXT_COLOR,
        soft=SOFT_COLOR,
        width=width,
        narrowest=width if _has_labels(chart) else min(width, 720),
        chart=drawn,
    )


def _has_labels(chart: Chart) -> bool:
    """Return whether a chart has labels, which have their places for its usual width."""
    marks = (mark for panel in chart.panels for mark in panel.marks)
    return any(isinstance(mark, Points) and any(mark.labels) for mark in marks)


def _make_figure(chart: Chart) -> tuple[Any, int, int]:
    """Return the figure of plotly, and the width and the height of its picture in pixels."""
    require_extra("plotly", "plot")
    from plotly.subplots import make_subplots

    width, height = _size(chart)
    figure = make_subplots(
        rows=chart.rows,
        cols=chart.columns,
        column_widths=list(chart.weights) or None,
        horizontal_spacing=0.1 if chart.columns < 3 else 0.07,
        vertical_spacing=min(0.14, 0.6 / chart.rows),
    )
    named: set[str] = set()
    for i, panel in enumerate(chart.panels):
        row, column = i // chart.columns + 1, i % chart.columns + 1
        for mark in panel.marks:
            _add_mark(figure, mark, panel, (row, column), named)
        _style_axes(figure, panel, (row, column))
    figure.update_layout(**_layout(chart, height))
    for i, panel in enumerate(chart.panels):
        _add_texts(figure, panel, i, (width, height), _margins(chart))
    return figure, width, height


def _size(chart: Chart) -> tuple[int, int]:
    width = max(int(chart.size[0] * _PIXELS), 480)
    below = 70 if chart.legend == "below" else 0
    return width, int(chart.size[1] * _PIXELS * 0.94) + below


def _margins(chart: Chart) -> dict[str, int]:
    has_titles = any(panel.title for panel in chart.panels)
    return {
        "l": 76,
        "r": _LEGEND_WIDTH if chart.legend == "right" else 24,
        "t": 66 if has_titles else 34,  # the buttons stand above the titles
        "b": 62 + (70 if chart.legend == "below" else 0),
    }


def _layout(chart: Chart, height: int) -> dict[str, Any]:
    is_below = chart.legend == "below"
    legend = (
        {"orientation": "h", "x": 0, "y": -70 / (height - 196), "yanchor": "top"}
        if is_below
        else {"x": 1.02, "y": 1, "xanchor": "left"}
    )
    return {
        "width": None,
        "height": height,
        "autosize": True,
        "margin": _margins(chart),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": TEXT_COLOR, "size": _FONT_SIZE, "family": "system-ui, sans-serif"},
        "legend": legend | {"font": {"size": _FONT_SIZE - 1}},
        "showlegend": chart.legend != "none",
        "hoverlabel": {"font": {"size": _FONT_SIZE}},
        "barmode": "overlay",
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": SOFT_COLOR, "activecolor": TEXT_COLOR},
    }


def _style_axes(figure: Any, panel: Panel, place: tuple[int, int]) -> None:  # noqa: ANN401 - a figure of plotly, which has no types
    limits = panel_limits(panel)
    for axis, bounds, update in (
        (panel.x, limits[0], figure.update_xaxes),
        (panel.y, limits[1], figure.update_yaxes),
    ):
        update(**_axis(axis, bounds), row=place[0], col=place[1])


def _axis(axis: Axis, limits: tuple[float, float]) -> dict[str, Any]:
    """Return the settings of an axis in the words of plotly."""
    low, high = limits[::-1] if axis.is_reversed else limits
    found: dict[str, Any] = {
        "title": {"text": escape(axis.label), "font": {"size": _FONT_SIZE}},
        "gridcolor": GRID_COLOR,
        "zeroline": False,
        "tickfont": {"size": _FONT_SIZE - 1},
        "range": [np.log10(low), np.log10(high)] if axis.is_log else [low, high],
        "type": "log" if axis.is_log else "linear",
        "automargin": True,
    }
    if axis.unit == "time":
        return found | {"type": "date", "range": [_date(low), _date(high)]}
    if axis.unit == "percent":
        found["tickformat"] = ".0%"
    if axis.unit == "dollars":
        found["tickprefix"] = "$"
    ticks = axis_ticks(axis, limits)
    if ticks is not None:  # these stay where they are when one zooms
        texts = [escape(text) for text in ticks[1]]
        found |= {"tickvals": list(ticks[0]), "ticktext": texts}
    return found | ({} if axis.ticks is None else {"showgrid": False})


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _positions(values: Sequence[float], axis: Axis) -> list[Any]:
    """Return positions as plotly reads them: None where there is none, and times as dates."""
    known = [None if value is None or np.isnan(value) else float(value) for value in values]
    return [None if v is None else _date(v) for v in known] if axis.unit == "time" else known


def _add_mark(
    figure: Any,  # noqa: ANN401 - a figure of plotly, which has no types
    mark: Mark,
    panel: Panel,
    place: tuple[int, int],
    named: set[str],
) -> None:
    row, col = place
    name = mark.name
    common = {
        "name": escape(name),
        "legendgroup": name,
        "showlegend": not name.startswith("_") and name not in named,
    }
    named.add(name)
    for trace in _traces(mark, panel):
        figure.add_trace(common | trace, row=row, col=col)


def _traces(mark: Mark, panel: Panel) -> Iterator[dict[str, Any]]:
    """Yield what plotly draws of a mark; the last has the entry of the legend."""
    if isinstance(mark, Line):
        if mark.low is not None and mark.high is not None:
            yield _band(mark, panel)
        yield _line(mark, panel)
    elif isinstance(mark, Points):
        yield _points(mark, panel)
    elif isinstance(mark, Bars):
        yield _bars(mark, panel)
    else:
        yield from _rule_traces(mark, panel)


def _hover(panel: Panel, *, has_names: bool = False) -> str:
    """Return what is shown when one points at a mark."""
    x, y = (escape(axis.label) or "value" for axis in (panel.x, panel.y))
    head = "<b>%{text}</b><br>" if has_names else ""
    return f"{head}{x}: %{{x}}<br>{y}: %{{y}}"


def _line(line: Line, panel: Panel) -> dict[str, Any]:
    style = line.style
    return {
        "type": "scatter",
        "mode": "lines+markers" if style.marker else "lines",
        "x": _positions(line.x, panel.x),
        "y": _positions(line.y, panel.y),
        "line": {
            "color": style.color,
            "width": style.width * _POINT_PIXELS,
            "dash": _DASHES.get(style.dash, "solid"),
            "shape": "hv" if line.is_step else "linear",
            "simplify": False,
        },
        "marker": _marker(style),
        "hovertemplate": _hover(panel),
    }


def _band(line: Line, panel: Panel) -> dict[str, Any]:
    x = _positions(line.x, panel.x)
    low, high = _positions(line.low or (), panel.y), _positions(line.high or (), panel.y)
    red, green, blue = (int(line.style.color[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x + x[::-1],
        "y": high + low[::-1],
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.16)",
        "line": {"width": 0, "shape": "hv" if line.is_step else "linear"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _marker(style: Style) -> dict[str, Any]:
    symbol = _SYMBOLS[style.marker or "circle"] + ("-open" if style.is_hollow else "")
    is_stroke = style.is_hollow or style.marker == "bar"
    return {
        "symbol": symbol,
        "size": style.size * _POINT_PIXELS,
        "color": style.color,
        "line": {"color": style.color if is_stroke else TEXT_COLOR, "width": 2 if is_stroke else 1},
    }


def _points(points: Points, panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": _positions(points.x, panel.x),
        "y": _positions(points.y, panel.y),
        "marker": _marker(points.style),
        "hovertemplate": _hover(panel, has_names=bool(points.names)),
    }
    if points.names:
        found["text"] = [escape(name) for name in points.names]
    bounds = (
        ("error_y", points.y, points.low, points.high),
        ("error_x", points.x, points.x_low, points.x_high),
    )
    for key, middle, low, high in bounds:
        if low is not None and high is not None:
            center = np.asarray(middle, np.float64)
            found[key] = {
                "type": "data",
                "symmetric": False,
                "array": np.maximum(np.asarray(high) - center, 0).tolist(),
                "arrayminus": np.maximum(center - np.asarray(low), 0).tolist(),
                "color": points.style.color,
                "width": 0,
            }
    return found


def _bars(bars: Bars, panel: Panel) -> dict[str, Any]:
    is_horizontal = bars.is_horizontal
    along, across = ("y", "x") if is_horizontal else ("x", "y")
    axis = panel.y if is_horizontal else panel.x
    in_seconds = 1_000 if axis.unit == "time" else 1  # plotly counts milliseconds
    return {
        "type": "bar",
        along: _positions(bars.x, axis),
        across: [float(value) for value in bars.y],
        "base": [0.0] * len(bars.x) if bars.base is None else [float(one) for one in bars.base],
        "width": bars.width * in_seconds,
        "orientation": "h" if is_horizontal else "v",
        "customdata": [float(value) for value in bars.y],
        "hovertemplate": f"%{{{along}}}: %{{customdata:.3g}}",
        "marker": {
            "color": bars.style.color,
            "line": {"color": TEXT_COLOR, "width": 0.7},
            "pattern": {
                "shape": bars.style.hatch, "fgcolor": TEXT_COLOR, "size": 6, "solidity": 0.15
            },
        },
    }  # fmt: skip


def _rule_traces(rule: Rule, panel: Panel) -> Iterator[dict[str, Any]]:
    """Yield a line across the panel, with a white one below that is as wide as a halo."""
    limits = panel_limits(panel)
    if rule.direction == "diagonal":
        x = y = list(limits[0])
    elif rule.direction == "vertical":
        x, y = [rule.value] * 2, list(limits[1])
    else:
        x, y = list(limits[0]), [rule.value] * 2
    width = rule.style.width * _POINT_PIXELS
    common = {"type": "scatter", "mode": "lines", "hoverinfo": "skip",
              "x": _positions(x, panel.x), "y": _positions(y, panel.y)}  # fmt: skip
    if rule.direction != "diagonal":
        halo = {"color": BACKGROUND_COLOR, "width": width + 3}
        yield common | {"line": halo, "showlegend": False}
    dash = _DASHES.get(rule.style.dash, "solid")
    yield common | {"line": {"color": rule.style.color, "width": width, "dash": dash}}


def _add_texts(
    figure: Any,  # noqa: ANN401 - a figure of plotly, which has no types
    panel: Panel,
    i: int,
    size: tuple[int, int],
    margins: dict[str, int],
) -> None:
    """Write the title of a panel, and labels beside points where there is a free place."""
    number = "" if i == 0 else str(i + 1)
    x_axis, y_axis = figure.layout[f"xaxis{number}"], figure.layout[f"yaxis{number}"]
    if panel.title:
        figure.add_annotation(
            text=escape(panel.title), xref="paper", yref="paper", x=x_axis.domain[0],
            y=y_axis.domain[1], xanchor="left", yanchor="bottom", showarrow=False,
            font={"size": _FONT_SIZE}, yshift=6,
        )  # fmt: skip
    to_pixels = _Pixels(panel, x_axis.domain, y_axis.domain, size, margins)
    for text, point, (dx, dy) in _placed(panel, to_pixels):
        figure.add_annotation(
            text=escape(text), xref=f"x{number}", yref=f"y{number}", x=point[0], y=point[1],
            xanchor="left", yanchor="middle", xshift=dx, yshift=dy, showarrow=False,
            font={"size": _LABEL_SIZE}, borderpad=0,
        )  # fmt: skip


class _Pixels:
    """Turns positions on a panel's axes into pixels of a picture of its usual width."""

    def __init__(
        self,
        panel: Panel,
        x_domain: Sequence[float],
        y_domain: Sequence[float],
        size: tuple[int, int],
        margins: dict[str, int],
    ) -> None:
        width = size[0] - margins["l"] - margins["r"]
        height = size[1] - margins["t"] - margins["b"]
        self.area = (
            x_domain[0] * width, y_domain[0] * height, x_domain[1] * width, y_domain[1] * height
        )  # fmt: skip
        self._axes, self._limits = (panel.x, panel.y), panel_limits(panel)

    def __call__(self, x: Sequence[float], y: Sequence[float]) -> Float64Array:
        """Return pixels `(n, 2)`."""
        columns = []
        for which, values in enumerate((x, y)):
            axis, (low, high) = self._axes[which], self._limits[which]
            numbers = np.array([*values, low, high], np.float64)
            scaled = np.log10(numbers) if axis.is_log else numbers
            shares = (scaled[:-2] - scaled[-2]) / (scaled[-1] - scaled[-2])
            shares = 1 - shares if axis.is_reversed else shares
            start, end = self.area[which], self.area[which + 2]
            columns.append(start + shares * (end - start))
        return np.column_stack(columns)


def _placed(
    panel: Panel, to_pixels: _Pixels
) -> Iterator[tuple[str, tuple[Any, Any], tuple[float, float]]]:
    """Yield the text, the point and the shift of each label with a free place."""
    found: dict[int, tuple[float, float]] = {}
    labels, boxes, lines = [], [], []
    for mark in panel.marks:
        if isinstance(mark, Line):
            lines.append(to_pixels(mark.x, mark.y))
        if isinstance(mark, Rule) and mark.direction == "vertical":
            lines.append(to_pixels([mark.value] * 2, panel_limits(panel)[1]))
        if isinstance(mark, Points):
            radius = mark.style.size * _POINT_PIXELS / 2
            places = to_pixels(mark.x, mark.y)
            boxes += [(x - radius, y - radius, x + radius, y + radius) for x, y in places.tolist()]
            for text, place, x, y in zip(
                mark.labels, places.tolist(), mark.x, mark.y, strict=False
            ):
                if text:
                    width = _LETTER_WIDTH * _LABEL_SIZE * len(text)
                    labels.append(
                        Label(text, place[0], place[1], width, _LINE_HEIGHT * _LABEL_SIZE)
                    )
                    found[id(labels[-1])] = (x, y)
    for one in place_labels(labels, to_pixels.area, boxes, lines):
        x, y = found[id(one.label)]
        point = (np.log10(x) if panel.x.is_log else x, np.log10(y) if panel.y.is_log else y)
        yield one.label.text, point, (one.dx, one.dy)
