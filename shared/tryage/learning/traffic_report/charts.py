"""Pictures of traffic as SVG for a page: they take the page's colors, light or dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.learning.charts.chart import Axis, Bars, Chart, Line, Panel, Points, Rule
from tryage.learning.charts.pictures import to_page_svg
from tryage.learning.charts.style import (
    ACCENT_COLOR,
    MAX_SERIES,
    OTHERS_COLOR,
    PALETTE,
    TEXT_COLOR,
    Style,
    fill_style,
)

if TYPE_CHECKING:
    from tryage.learning.charts.chart import Mark, Side
    from tryage.learning.traffic_report.summary import Front, TrafficReport

_SIZE = 4.0, 2.5  # inches; a phone shows it at its full width

_PER = 1_000  # answers of which the cost is shown


def expert_colors(report: TrafficReport) -> dict[str, str]:
    """Return the color of each expert, the six most used first; the others share one."""
    return {
        use.name: PALETTE[i] if i < MAX_SERIES else "var(--muted)"
        for i, use in enumerate(report.experts)
    }


def draw_share(report: TrafficReport) -> str:
    """Return a picture of which share of the answers each expert gave over time."""
    named = [use.name for use in report.experts[:MAX_SERIES]]
    buckets = [one for one in report.buckets if one.answers]
    totals = np.array([sum(one.answers.values()) for one in buckets])
    counts = np.array([[one.answers.get(name, 0) for one in buckets] for name in named])
    rest = totals - counts.sum(axis=0)
    styles = [*map(fill_style, range(len(named))), Style(OTHERS_COLOR)]
    middles = [one.time + one.seconds / 2 for one in buckets]
    marks: list[Mark] = []
    low = np.zeros(len(buckets))
    for name, row, style in zip([*named, "others"], [*counts, rest], styles, strict=True):
        share = row / totals
        if row.any():
            width = 0.92 * buckets[0].seconds
            marks.append(Bars(name, middles, share.tolist(), style, low.tolist(), width))
        low = low + share
    y = Axis(unit="percent", limits=(0.0, 1.0))
    return _draw(report, marks, y, "Share of the answers of each model over time")


def draw_spending(report: TrafficReport) -> str:
    """Return a picture of the spending so far, against the best single model and the dearest."""
    times = [report.buckets[0].time] + [one.time + one.seconds for one in report.buckets]
    lines = (
        ("the dearest model", [one.dearest for one in report.buckets], OTHERS_COLOR, "dotted"),
        (
            "the best single model",
            [one.best_single for one in report.buckets],
            TEXT_COLOR,
            "dashed",
        ),
        ("spent", [one.spending for one in report.buckets], ACCENT_COLOR, "solid"),
    )
    marks: list[Mark] = []
    for name, values, color, dash in lines:
        if any(value is not None for value in values):
            total = np.cumsum([0.0, *(value or 0.0 for value in values)]).tolist()
            marks.append(Line(name, times, total, Style(color, dash=dash)))
    description = "Spending so far, against the best single model and the dearest"
    return _draw(report, marks, Axis(unit="dollars"), description, legend="inside")


def draw_quality(report: TrafficReport) -> str:
    """Return a picture of the mean rating over time with 95% intervals, and of alarms."""
    rated = [(one, one.quality) for one in report.buckets if one.quality is not None]
    times = [one.time + one.seconds / 2 for one, _ in rated]
    values, low, high = (
        [getattr(quality, name) for _, quality in rated] for name in ("value", "low", "high")
    )
    alarms = [alarm.time for alarm in report.alarms if report.start <= alarm.time <= report.end]
    style = Style(PALETTE[1], dash="dashed", width=1.2)
    marks: list[Mark] = [Rule("alarm", "vertical", time, style) for time in alarms]
    marks += [
        Line("rating", times, values, Style(ACCENT_COLOR, width=1.5)),
        Points(
            "rating", times, values, Style(ACCENT_COLOR, "circle", size=4.5), low=low, high=high
        ),
    ]
    description = "Mean rating over time with 95% intervals; dashed lines are alarms"
    return _draw(report, marks, Axis(limits=(0.0, 1.02)), description)


def draw_front(report: TrafficReport, front: Front) -> str:
    """Return a picture of predicted loss against cost: the front, single experts, and today."""
    points = sorted((point.cost * _PER, point.loss) for point in front.points)
    x, y = zip(*points, strict=True)
    colors = expert_colors(report)
    marks: list[Mark] = [Line("best possible", x, y, Style(TEXT_COLOR, width=1.5))]
    for one in front.experts[: 2 * MAX_SERIES]:
        color = colors.get(one.name, OTHERS_COLOR).replace("var(--muted)", OTHERS_COLOR)
        style = Style(color, "square", size=6)
        at = (one.cost * _PER,), (one.loss,)
        marks.append(Points(one.name, *at, style, names=(one.name,), labels=(one.name,)))
    star = Style(ACCENT_COLOR, "star", size=14)
    present = (front.present.cost * _PER,), (front.present.loss,)
    marks.append(Points("now", *present, star, names=("now",)))
    panel = Panel(Axis("USD of 1,000 answers", "dollars"), Axis("predicted loss"), tuple(marks))
    title = "Predicted loss against cost; the star is today"
    return to_page_svg(Chart(title, (panel,), title, size=_SIZE, legend="none"))


def _draw(
    report: TrafficReport, marks: list[Mark], y: Axis, description: str, legend: Side = "none"
) -> str:
    """Return a picture over the time of the report."""
    start, end = report.buckets[0].time, report.buckets[-1].time + report.buckets[-1].seconds
    panel = Panel(Axis(unit="time", limits=(start, end)), y, tuple(marks))
    return to_page_svg(Chart(description, (panel,), description, size=_SIZE, legend=legend))
