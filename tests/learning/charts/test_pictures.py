"""Files of pictures: each format is what it says, with a title and a description in it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from xml.etree import ElementTree as ET

import pytest

from tryage.errors import InputError, MissingExtraError
from tryage.learning.charts.pictures import check_picture_path, save_chart, to_page_svg, to_svg

pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"


def test_a_png_decodes_and_says_what_it_shows(every_mark, tmp_path):
    image = pytest.importorskip("PIL.Image")
    save_chart(every_mark, tmp_path / "new" / "a.png")
    with image.open(tmp_path / "new" / "a.png") as picture:
        picture.load()
        assert picture.size == (1650, 750)
        assert picture.info["Title"] == "It costs <half>"
        assert picture.info["Description"] == 'Half & "half".'
        assert picture.convert("RGBA").getpixel((2, 740))[3] == 255


def test_a_transparent_png_has_no_background(every_mark, tmp_path):
    image = pytest.importorskip("PIL.Image")
    save_chart(every_mark, tmp_path / "a.png", transparent=True)
    with image.open(tmp_path / "a.png") as picture:
        assert picture.convert("RGBA").getpixel((2, 740))[3] == 0


def test_an_svg_has_a_title_a_description_and_texts_that_stay_texts(every_mark, tmp_path):
    save_chart(every_mark, tmp_path / "a.svg")
    root = ET.parse(tmp_path / "a.svg").getroot()  # noqa: S314 - made by the test itself
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title desc"
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "It costs <half>"
    assert root[1].text == 'Half & "half".'
    texts = {"".join(one.itertext()).strip() for one in root.iter(f"{SVG}text")}
    assert {"<a> & $x$", "routed", "cost, USD"} <= texts


def test_a_pdf_begins_as_one(every_mark, tmp_path):
    save_chart(every_mark, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF-")


def test_the_same_chart_gives_the_same_svg(every_mark):
    assert to_svg(every_mark) == to_svg(every_mark)


def test_a_picture_of_a_page_takes_the_colors_of_the_page(every_mark):
    svg = to_page_svg(every_mark)
    root = ET.fromstring(svg)  # noqa: S314 - made by the test itself
    assert root.get("width") is None
    assert root.get("aria-label") == 'Half & "half".'
    assert "var(--text)" in svg
    assert not re.search("#333333|#ffffff", svg, re.IGNORECASE)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.jpg"])
def test_another_format_is_refused_before_anything_is_drawn(name, tmp_path):
    with pytest.raises(InputError, match=r"expected \.png, \.svg, \.pdf or \.html"):
        check_picture_path(tmp_path / name)


@pytest.mark.parametrize(("suffix", "package"), [("png", "matplotlib"), ("html", "plotly")])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, suffix, package):
    monkeypatch.setattr(
        "tryage.core.validation.find_spec",
        lambda name: None if name == package else find_spec(name),
    )
    with pytest.raises(MissingExtraError, match=r"tryage\[plot\]"):
        check_picture_path(tmp_path / f"a.{suffix}")
