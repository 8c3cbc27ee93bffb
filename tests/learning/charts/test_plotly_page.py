"""Interactive pages: one file, nothing from elsewhere, the same marks as the picture."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("plotly")

from tryage.learning.charts.plotly_page import _make_figure, to_html


class Addresses(HTMLParser):
    """Collects what a page would load, and its title."""

    def __init__(self):
        super().__init__()
        self.addresses, self.title, self._in_title = [], "", False

    def handle_starttag(self, tag, attrs):
        self._in_title = tag == "title"
        values = dict(attrs)
        self.addresses += [values[key] for key in ("src", "href") if values.get(key)]

    def handle_data(self, data):
        self.title += data if self._in_title else ""
        self._in_title = False


def traces(chart):
    figure = _make_figure(chart)[0]
    return json.loads(figure.to_json())["data"], json.loads(figure.to_json())["layout"]


def test_a_page_is_one_file_that_loads_nothing_and_says_what_it_shows(every_mark):
    page = to_html(every_mark)
    parser = Addresses()
    parser.feed(page)
    assert parser.addresses == ["data:,"]
    assert parser.title == "It costs <half>"
    assert 'aria-label="Half &amp; &quot;half&quot;."' in page
    assert 3e6 < len(page) < 8e6


def test_names_with_markup_are_texts(every_mark):
    data, layout = traces(every_mark)
    named = next(one for one in data if one.get("text"))
    assert named["text"][0] == "&lt;a&gt; &amp; $x$"
    assert "&lt;a&gt; &amp; $x$" in {one["text"] for one in layout["annotations"]}


def test_every_mark_is_there_and_each_series_once_in_the_legend(every_mark):
    data, layout = traces(every_mark)
    shown = [one["name"] for one in data if one["showlegend"]]
    assert sorted(shown) == ["a", "alarm", "b", "model", "routed", "today"]
    bars = [one for one in data if one["type"] == "bar"]
    assert [bar["marker"]["pattern"]["shape"] for bar in bars] == ["", "/"]
    assert [bar["width"] for bar in bars] == [40_000_000] * 2  # milliseconds
    assert layout["xaxis"]["type"] == "log"
    assert layout["xaxis2"]["type"] == "date"
    assert layout["xaxis2"]["range"] == ["1970-01-01 00:00:00", "1970-01-02 00:00:00"]
    band = next(one for one in data if one.get("fill") == "toself")
    assert band["y"] == [0.3, 0.6, 0.7, 0.5, 0.4, 0.1]


@pytest.mark.parametrize("n", [1, 8, 35, 300])
def test_few_and_many_models_have_labels(models, n):
    _, layout = traces(models(n))
    labels = [one for one in layout["annotations"] if re.match("model-", one["text"])]
    assert min(n, 8) * 0.6 <= len(labels) <= n if n < 100 else labels


def test_a_transparent_page_has_no_background(every_mark):
    assert "background: transparent" in to_html(every_mark, transparent=True)
