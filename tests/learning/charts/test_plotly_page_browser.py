"""An interactive page in a real browser: it draws, without complaint and without any request."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("plotly")

from tryage.learning.charts.pictures import save_chart


@pytest.fixture
def open_chart(browser, tmp_path):
    """Draw a chart to a page and open it; complaints and requests fail the test."""
    contexts, faults = [], []

    def open_it(chart, width=1200):
        save_chart(chart, tmp_path / "chart.html")
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda said: said.type in ("error", "warning") and faults.append(said.text)
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda one: one.url.startswith(("file:", "data:")) or faults.append(one.url)
        )
        page.goto((tmp_path / "chart.html").as_uri())
        page.wait_for_selector(".main-svg .cartesianlayer")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not faults


def boxes(page, selector):
    return [
        one for one in (found.bounding_box() for found in page.query_selector_all(selector)) if one
    ]


def overlap(a, b):
    return (
        a["x"] < b["x"] + b["width"]
        and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"]
        and b["y"] < a["y"] + a["height"]
    )


def test_every_mark_is_drawn_and_names_with_markup_are_texts(open_chart, every_mark):
    page = open_chart(every_mark)
    assert page.title() == "It costs <half>"
    assert page.locator(".bars .point").count() == 4
    texts = page.locator(".annotation-text-g").all_text_contents()
    assert any("<a> & $x$" in text for text in texts)


def test_no_two_labels_of_many_models_overlap(open_chart, models):
    page = open_chart(models(35))
    found = boxes(page, ".annotation-text-g text")
    assert len(found) > 4
    assert not [1 for a, b in itertools.combinations(found, 2) if overlap(a, b)]


def test_on_a_phone_the_picture_scrolls_and_the_page_does_not(open_chart, models):
    page = open_chart(models(8), width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('.chart').scrollWidth") > 390
