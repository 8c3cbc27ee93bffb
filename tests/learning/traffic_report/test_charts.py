"""Pictures of a report: SVG elements with readable text, in the colors of the page."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from tryage.learning.charts.style import PALETTE
from tryage.learning.traffic_report import charts
from tryage.learning.traffic_report.summary import make_report


@pytest.fixture(scope="module")
def report(simulate_traffic):
    return make_report(*simulate_traffic(300))


@pytest.mark.parametrize("draw", [charts.draw_share, charts.draw_spending, charts.draw_quality])
def test_a_picture_is_one_element_with_a_description_and_text(report, draw):
    svg = draw(report)
    root = ET.fromstring(svg)  # noqa: S314 - made by the test itself
    assert root.tag.endswith("svg")
    assert root.get("aria-label")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "06:00" in svg  # text stays text


def test_the_front_names_each_model_and_marks_today(report):
    svg = charts.draw_front(report, report.front)
    for name in ("small", "medium", "large"):
        assert f">{name}</text>" in re.sub(r"\s+", " ", svg)
    assert "var(--accent)" in svg


def test_a_name_with_markup_does_not_break_a_picture(report):
    point = replace(report.front.experts[0], name="<b>&$x$")
    svg = charts.draw_front(report, replace(report.front, experts=(point,)))
    assert ET.fromstring(svg) is not None  # noqa: S314 - made by the test itself
    assert "&lt;b&gt;" in svg


def test_six_models_have_colors_of_their_own(report):
    uses = tuple(replace(report.experts[0], name=f"m{i}") for i in range(8))
    colors = charts.expert_colors(replace(report, experts=uses))
    assert [colors[f"m{i}"] for i in range(6)] == [*PALETTE[:6]]
    assert {colors["m6"], colors["m7"]} == {"var(--muted)"}


def test_an_alarm_is_a_line_in_the_picture_of_ratings(report):
    assert PALETTE[1].lower() in charts.draw_quality(report)
    assert PALETTE[1].lower() not in charts.draw_quality(replace(report, alarms=()))


def test_a_log_of_minutes_shows_seconds_and_one_of_weeks_dates(simulate_traffic):
    rows, _ = simulate_traffic(60)
    start = rows[0][0].time

    def stretched(factor):
        return [(replace(r, time=start + (r.time - start) * factor), o, g) for r, o, g in rows]

    assert re.search(r">00:1\d:\d\d</text>", charts.draw_share(make_report(stretched(0.005))))
    assert re.search(r">\d\d Nov</text>", charts.draw_share(make_report(stretched(10))))
