"""What every plot offers."""

from __future__ import annotations

import pytest

from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Chart, Panel
from tryage.learning.plots import Plot

pytest.importorskip("matplotlib")


class EmptyPlot(Plot):
    def chart(self):
        return Chart("nothing", (Panel(Axis("x"), Axis("y"), ()),), "Nothing.")

    def to_dict(self):
        return {}


def test_a_plot_is_written_in_the_format_of_the_suffix(tmp_path):
    EmptyPlot().save(str(tmp_path / "a.SVG"))
    assert "<title" in (tmp_path / "a.SVG").read_text()


def test_a_notebook_shows_it():
    assert EmptyPlot()._repr_svg_().startswith("<?xml")


@pytest.mark.parametrize("path", [None, 3, "a.xls"])
def test_anything_else_is_refused(path):
    with pytest.raises(InputError, match="expected"):
        EmptyPlot().save(path)
