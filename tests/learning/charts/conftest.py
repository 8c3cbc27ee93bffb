"""Charts with each kind of mark, for the tests of what draws them."""

from __future__ import annotations

import pytest

from tryage.learning.charts.chart import Axis, Bars, Chart, Line, Panel, Points, Rule
from tryage.learning.charts.style import Style, fill_style, line_style, point_style


@pytest.fixture
def every_mark() -> Chart:
    """Two panels with lines, a band, points with intervals and names, bars and rules."""
    names = ("<a> & $x$", "two")
    first = Panel(
        Axis("cost, USD", "dollars", is_log=True),
        Axis("score"),
        (
            Line("routed", (1, 10, 100), (0.2, 0.5, 0.6), line_style(0),
                 low=(0.1, 0.4, 0.5), high=(0.3, 0.6, 0.7)),
            Points("model", (2, 50), (0.4, 0.1), point_style(1), low=(0.3, 0.0), high=(0.5, 0.2),
                   names=names, labels=names),
            Rule("today", "horizontal", 0.3),
        ),
        "front",
    )  # fmt: skip
    second = Panel(
        Axis(unit="time", limits=(0.0, 86_400.0)),
        Axis("share", "percent", limits=(0.0, 1.0)),
        (
            Bars("a", (21_600, 64_800), (0.5, 0.25), fill_style(0), width=40_000),
            Bars("b", (21_600, 64_800), (0.5, 0.75), fill_style(1), (0.5, 0.25), 40_000),
            Rule("alarm", "vertical", 50_000.0, Style(dash="dashed")),
        ),
        "shares",
    )
    return Chart("It costs <half>", (first, second), 'Half & "half".', "200 prompts.", (11, 5), 2)


def scatter(n: int) -> Chart:
    """Return a chart of `n` models with a label each, close together as real ones are."""
    x = [10 ** (((i * 7919) % 997) / 400) for i in range(n)]
    y = [0.5 + 0.3 * (((i * 104_729) % 991) / 991) for i in range(n)]
    names = [f"vendor/model-{i}-large-2026" for i in range(n)]
    line = Line("routed", (1, 300), (0.6, 0.8), line_style(0))
    points = Points("a model", x, y, point_style(1), names=names, labels=[n[7:] for n in names])
    panel = Panel(Axis("cost, USD", "dollars", is_log=True), Axis("score"), (line, points))
    return Chart(f"{n} models", (panel,), f"{n} models.")


@pytest.fixture
def models():
    """Return a function that makes a chart of so many models."""
    return scatter
