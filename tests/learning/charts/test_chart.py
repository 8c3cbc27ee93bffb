"""The range of axes against cases worked by hand."""

from __future__ import annotations

import math

import pytest

from tryage.learning.charts.chart import Axis, Bars, Chart, Line, Panel, Points, Rule, panel_limits
from tryage.learning.charts.style import Style

STYLE = Style()


def limits(*marks, x=None, y=None):
    return panel_limits(Panel(x or Axis(), y or Axis(), marks))


def test_marks_have_a_margin_of_six_percent():
    x, y = limits(Line("a", (0, 100), (1, 3), STYLE))
    assert x == pytest.approx((-6, 106))
    assert y == pytest.approx((0.88, 3.12))


def test_intervals_bands_and_bars_count_but_reference_lines_do_not():
    marks = (
        Points("a", (1,), (2,), STYLE, low=(0,), high=(10,)),
        Bars("b", (5,), (4,), STYLE, base=(8,), width=2),
        Rule("c", "vertical", 1_000),
    )
    x, y = limits(*marks)
    assert x == pytest.approx((1 - 0.3, 6 + 0.3))
    assert y == pytest.approx((-0.72, 12.72))


def test_horizontal_bars_exchange_the_axes():
    x, y = limits(Bars("a", (0, 1), (3, 5), STYLE, width=1, is_horizontal=True))
    assert x == pytest.approx((-0.3, 5.3))
    assert y == pytest.approx((-0.62, 1.62))


def test_a_logarithmic_axis_has_its_margin_in_decades_and_leaves_out_zero():
    (low, high), _ = limits(Line("a", (0, 1, 100), (1, 1, 1), STYLE), x=Axis(is_log=True))
    assert (low, high) == pytest.approx((10**-0.12, 10**2.12))


def test_amounts_of_money_begin_at_zero():
    _, (low, _) = limits(Line("a", (0, 1), (0, 8), STYLE), y=Axis(unit="dollars"))
    assert low == 0


@pytest.mark.parametrize("values", [(), (math.nan,)])
def test_without_any_number_there_is_still_a_range(values):
    assert limits(Points("a", values, values, STYLE)) == ((0.0, 1.0), (0.0, 1.0))
    assert limits(Points("a", values, values, STYLE), x=Axis(is_log=True))[0] == (1.0, 10.0)


def test_one_point_has_room_around_it():
    (low, high), _ = limits(Points("a", (5,), (5,), STYLE))
    assert low < 5 < high


def test_panels_fill_rows():
    panel = Panel(Axis(), Axis(), ())
    assert Chart("", (panel,) * 5, "", columns=3).rows == 2
