"""The report as Markdown and as one page: whole, self-contained, and safe with hostile names."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tryage.errors import MissingExtraError
from tryage.learning.traffic_report.documents import to_html, to_markdown
from tryage.learning.traffic_report.summary import make_report

HOSTILE = "</style><script>alert(1)</script>|[x](http://evil.example)`*"


@pytest.fixture(scope="module")
def report(simulate_traffic):
    return make_report(*simulate_traffic(500))


@pytest.fixture(scope="module")
def page(report):
    return to_html(report)


class _Checker(HTMLParser):
    """Collects the elements and attributes of a page, and whether each element is closed."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *one) for one in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *one) for one in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    checker = _Checker()
    checker.feed(page)
    assert not checker.open
    return checker


def test_the_page_is_well_formed_and_has_every_section(page):
    checker = parsed(page)
    assert checker.tags.count("svg") == 4
    for title in (
        "In short",
        "Who got what",
        "Which router is better",
        "Alarms and events",
        "Surprises",
    ):
        assert f"<h2>{title}</h2>" in page


def test_the_page_loads_nothing_from_elsewhere(page):
    checker = parsed(page)
    loaded = {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "base"}
    assert not loaded & set(checker.tags)
    addresses = [
        value for _, name, value in checker.attributes if name in ("src", "href", "xlink:href")
    ]
    assert all(value.startswith("#") for value in addresses)
    assert not re.search(r"@import|url\((?!#)", page)


def test_the_page_fits_a_phone_and_both_color_schemes(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "var(--text)" in page
    assert "#0102" not in page  # every color of a picture is one of the page or of the palette
    assert not re.search(r'<svg[^>]* (width|height)="', page)


def test_no_two_parts_of_the_page_have_the_same_id(page):
    ids = [value for _, name, value in parsed(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_hostile_names_and_prompts_are_shown_as_text(report):
    use = replace(report.experts[0], name=HOSTILE)
    surprise = replace(report.surprises[0], prompt=HOSTILE, expert=HOSTILE)
    alarm = replace(report.alarms[0], text=HOSTILE)
    front = replace(report.front, experts=(replace(report.front.experts[0], name=HOSTILE),))
    hostile = replace(
        report,
        experts=(use, *report.experts[1:]),
        surprises=(surprise,),
        alarms=(alarm,),
        front=front,
    )
    checker = parsed(to_html(hostile))
    assert "script" not in checker.tags
    markdown = to_markdown(hostile)
    assert "<script>" not in markdown.replace(r"\<script>", "")
    assert not re.search(r"(?<!\\)\](?=\()", markdown)  # no link


def test_every_row_of_a_markdown_table_has_the_cells_of_its_header(report):
    hostile = replace(report, surprises=(replace(report.surprises[0], prompt="a | b\n| c"),))
    blocks = [block for block in to_markdown(hostile).split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 6
    for block in blocks:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1


def test_the_same_log_gives_the_same_page(report, page):
    assert to_html(report) == page


def test_a_log_without_costs_ratings_and_rivals_has_a_page_too(simulate_traffic):
    rows = [
        (replace(r, costs=(None,) * 3, arm=None, shadow_choices={}, frozen_choice=None), None, [])
        for r, _, _ in simulate_traffic(3)[0]
    ]
    page = to_html(make_report(rows))
    assert parsed(page).tags.count("svg") == 1
    assert "no ratings" in page
    assert "Which router is better" not in page


def test_without_its_library_the_page_says_what_to_install(report, monkeypatch):
    monkeypatch.setattr("tryage.core.validation.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tryage\[report\]'"):
        to_html(report)
