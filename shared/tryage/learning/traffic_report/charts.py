"""Pictures of traffic as SVG for a page: they take the page's colors, light or dark."""

from __future__ import annotations

import io
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.evaluation.report import PALETTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from tryage.learning.traffic_report.summary import Front, TrafficReport

_SIZE = 4.0, 2.5  # inches; a phone shows it at its full width
_MAX_NAMED = 6
_SHORT_PERIOD, _LONG_PERIOD = 600.0, 2 * 86_400.0  # seconds; below the one seconds, above it dates

# Colors of the picture that stand for those of the page. No picture uses them otherwise.
_TEXT, _GRID, _BACKGROUND, _OTHERS, _PRESENT = (
    "#010203",
    "#010204",
    "#010205",
    "#010206",
    "#010207",
)
_PAGE_COLORS = {
    _TEXT: "var(--text)",
    _GRID: "var(--line)",
    _BACKGROUND: "var(--card)",
    _OTHERS: "var(--muted)",
    _PRESENT: "var(--accent)",
}
_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)


def expert_colors(report: TrafficReport) -> dict[str, str]:
    """Return the color of each expert, the six most used first; the others share one."""
    return {
        use.name: PALETTE[i] if i < _MAX_NAMED else "var(--muted)"
        for i, use in enumerate(report.experts)
    }


def draw_share(report: TrafficReport) -> str:
    """Return a picture of which share of the answers each expert gave over time."""

    def draw(axes: Axes) -> None:
        named = [use.name for use in report.experts[:_MAX_NAMED]]
        buckets = [one for one in report.buckets if one.answers]
        totals = np.array([sum(one.answers.values()) for one in buckets])
        counts = np.array([[one.answers.get(name, 0) for one in buckets] for name in named])
        rest = totals - counts.sum(axis=0)
        colors = [*PALETTE[: len(named)], _OTHERS]
        edges = np.array([one.time for one in buckets])
        low = np.zeros(len(buckets))
        for name, row, color in zip([*named, "others"], [*counts, rest], colors, strict=True):
            if row.any():
                width = [one.seconds * 0.92 for one in buckets]
                axes.bar(edges, row / totals, width, low, align="edge", color=color, label=name)
            low += row / totals
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        _format_times(axes, report)

    return _draw(draw, "Share of the answers of each model over time")


def draw_spending(report: TrafficReport) -> str:
    """Return a picture of the spending so far, against the best single model and the dearest."""

    def draw(axes: Axes) -> None:
        times = [report.buckets[0].time] + [one.time + one.seconds for one in report.buckets]
        lines = (
            ("the dearest model", [one.dearest for one in report.buckets], _OTHERS, ":"),
            ("the best single model", [one.best_single for one in report.buckets], _TEXT, "--"),
            ("spent", [one.spending for one in report.buckets], _PRESENT, "-"),
        )
        for name, values, color, style in lines:
            if any(value is not None for value in values):
                total = np.cumsum([0.0, *(value or 0.0 for value in values)])
                axes.plot(times, total, color=color, linestyle=style, linewidth=2, label=name)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: _dollar_tick(value))
        axes.legend(frameon=False, fontsize=8, labelcolor=_TEXT, loc="upper left")
        _format_times(axes, report)

    return _draw(draw, "Spending so far, against the best single model and the dearest")


def draw_quality(report: TrafficReport) -> str:
    """Return a picture of the mean rating over time with 95% intervals, and of alarms."""

    def draw(axes: Axes) -> None:
        rated = [(one, one.quality) for one in report.buckets if one.quality is not None]
        times = [one.time + one.seconds / 2 for one, _ in rated]
        values = np.array([quality.value for _, quality in rated])
        bounds = np.array([[q.value - q.low, q.high - q.value] for _, q in rated]).T
        axes.errorbar(
            times, values, bounds, color=_PRESENT, ecolor=_OTHERS, marker="o", markersize=4
        )
        for alarm in report.alarms:
            if report.start <= alarm.time <= report.end:
                axes.axvline(alarm.time, color=PALETTE[1], linewidth=1, linestyle="--")
        axes.set_ylim(0, 1.02)
        _format_times(axes, report)

    return _draw(draw, "Mean rating over time with 95% intervals; dashed lines are alarms")


def draw_front(report: TrafficReport, front: Front) -> str:
    """Return a picture of predicted loss against cost: the front, single experts, and today."""

    def draw(axes: Axes) -> None:
        scale = 1_000
        points = sorted((point.cost * scale, point.loss) for point in front.points)
        axes.plot(*zip(*points, strict=True), color=_TEXT, linewidth=1.5, label="best possible")
        colors = expert_colors(report)
        for one in front.experts[: 2 * _MAX_NAMED]:
            color = colors.get(one.name, _OTHERS).replace("var(--muted)", _OTHERS)
            axes.plot(one.cost * scale, one.loss, "s", color=color, markersize=6)
            axes.annotate(
                one.name,
                (one.cost * scale, one.loss),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=_TEXT,
            )
        present = front.present
        axes.plot(present.cost * scale, present.loss, "*", color=_PRESENT, markersize=15)
        axes.margins(0.18, 0.2)
        axes.xaxis.set_major_formatter(lambda value, _: _dollar_tick(value))
        axes.set_xlabel("USD of 1,000 answers", fontsize=8, color=_TEXT)
        axes.set_ylabel("predicted loss", fontsize=8, color=_TEXT)

    return _draw(draw, "Predicted loss against cost; the star is today")


def _draw(draw: Callable[[Axes], None], description: str) -> str:
    """Return what `draw` draws as an SVG element for a page."""
    require_extra("matplotlib", "report")
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    # With its own salt, no two pictures of a page have parts of the same id.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure = Figure(figsize=_SIZE, layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        _style(axes)
        draw(axes)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)  # type: ignore[no-untyped-call]  # of matplotlib
    return _for_page(file.getvalue(), description)


def _style(axes: Axes) -> None:
    axes.tick_params(colors=_TEXT, labelsize=8, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_GRID)


def _for_page(svg: str, description: str) -> str:
    """Return the element alone, as wide as its place, in the colors of the page."""
    element = _PROLOG.sub("", svg, count=1)
    for size in ("width", "height"):
        element = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", element, count=1)
    used = set(re.findall(r"#([^\s\")]+)[\")]", element))
    element = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", element)
    for color, name in _PAGE_COLORS.items():
        element = element.replace(color, name)
    return element.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _format_times(axes: Axes, report: TrafficReport) -> None:
    """Write times of the day or dates (UTC) below the picture, whichever the period needs."""
    buckets = report.buckets
    start, end = buckets[0].time, buckets[-1].time + buckets[-1].seconds
    axes.set_xlim(start, end)
    axes.set_xticks(np.linspace(start, end, 5)[:-1] if len(buckets) > 1 else [start])
    pattern = "%H:%M" if end - start <= _LONG_PERIOD else "%d %b"
    pattern = "%H:%M:%S" if end - start <= _SHORT_PERIOD else pattern
    axes.xaxis.set_major_formatter(
        lambda value, _: datetime.fromtimestamp(value, timezone.utc).strftime(pattern)
    )


def _dollar_tick(value: float) -> str:
    return f"${value:,.3g}"
