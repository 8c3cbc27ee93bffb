"""What matplotlib draws: each mark where it belongs, and no text over another."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.text import Annotation, Text

from tryage.learning.charts.chart import Axis, Chart, Panel, Rule
from tryage.learning.charts.matplotlib_figure import PAGE_THEME, make_figure


def visible_texts(figure):
    """Return all texts with their boxes in pixels, without those of empty ticks."""
    figure.draw_without_rendering()
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
    ticks = {
        label
        for axes in figure.axes
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(low, high) <= tick.get_loc() <= max(low, high) or not label.get_visible()
    }
    return [(one, one.get_window_extent()) for one in texts if one not in ticks]


def overlapping(figure):
    texts = visible_texts(figure)
    return [
        (a.get_text(), b.get_text())
        for (a, one), (b, other) in itertools.combinations(texts, 2)
        if one.overlaps(other) and one.width and other.width
    ]


def test_no_text_overlaps_another_and_all_are_inside(every_mark):
    long = "Eight models on CODE WITH LONG NAMES: routing matches the best single model " * 2
    figure = make_figure(replace(every_mark, title=long, note=long))
    assert overlapping(figure) == []
    box = figure.bbox
    for text, one in visible_texts(figure):
        assert box.x0 - 1 <= one.x0, text
        assert one.x1 <= box.x1 + 1, text
        assert box.y0 - 1 <= one.y0, text
        assert one.y1 <= box.y1 + 1, text


@pytest.mark.parametrize("n", [1, 8, 35, 300])
def test_labels_of_few_and_many_models_do_not_overlap(models, n):
    figure = make_figure(models(n))
    labels = [one for one in figure.axes[0].texts if isinstance(one, Annotation)]
    assert min(n, 8) * 0.8 <= len(labels) <= n if n < 100 else labels
    assert overlapping(figure) == []


def test_marks_are_where_they_belong_and_the_legend_names_each_series_once(every_mark):
    figure = make_figure(every_mark)
    first, second = figure.axes
    assert np.allclose(first.lines[0].get_xydata(), [[1, 0.2], [10, 0.5], [100, 0.6]])
    assert first.get_xscale() == "log"
    assert [bar.get_height() for bar in second.patches] == [0.5, 0.25, 0.5, 0.75]
    assert [bar.get_y() for bar in second.patches] == [0, 0, 0.5, 0.25]
    names = [text.get_text() for text in second.get_legend().get_texts()]
    assert sorted(names) == ["a", "alarm", "b", "model", "routed", "today"]


def test_bars_and_lines_differ_without_color(every_mark):
    _, second = make_figure(every_mark).axes
    assert len({bar.get_hatch() for bar in second.patches}) == 2


def test_a_name_with_dollar_signs_is_no_formula(every_mark):
    texts = {one.get_text(): one for one in make_figure(every_mark).axes[0].texts}
    assert not texts["<a> & $x$"].get_parse_math()


def test_a_picture_of_a_page_has_no_title_and_small_letters(every_mark):
    figure = make_figure(every_mark, PAGE_THEME)
    assert figure.texts == []
    assert figure.axes[0].xaxis.label.get_fontsize() == 8


def test_a_panel_that_is_missing_in_a_row_is_empty():
    panel = Panel(Axis("x"), Axis("y"), (Rule("half", "diagonal"),))
    figure = make_figure(Chart("t", (panel,) * 3, "d", columns=2, legend="below"))
    assert [axes.axison for axes in figure.axes] == [True, True, True, False]
    assert len(figure.legends[0].get_texts()) == 1
