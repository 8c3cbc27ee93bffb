"""The built site in a browser, from a disk: it searches, fits a phone, and loads only its own."""

from __future__ import annotations

from pathlib import Path

import pytest

SITE = Path(__file__).parents[1] / ".docs" / "site"

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="the site is not built: make docs")


@pytest.fixture(scope="module")
def address():
    return SITE.as_uri()


@pytest.fixture
def page(browser):
    """A page of 390 x 844 points; what it asks for from outside and its faults are kept."""
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.faults = []
    opened.on("console", lambda message: note_message(message, opened.faults))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("request", lambda request: note_outside(request.url, opened.faults))
    yield opened
    opened.close()


def note_message(message, faults):
    if message.type in ("error", "warning"):
        faults.append(message.text)


def note_outside(url, faults):
    if not url.startswith(("file:", "data:", "blob:")):
        faults.append(url)


def test_search_finds_a_page_by_a_word_of_its_text_without_a_server(page, address):
    page.goto(f"{address}/index.html")
    page.locator("label[for=__search]").click()
    page.keyboard.type("half-open")
    page.get_by_role("option").filter(has_text="Models that fail cool down").click()
    page.wait_for_url(f"{address}/docs/failures.html*")
    assert page.faults == []


@pytest.mark.parametrize("name", ["index", "docs/concepts", "docs/reference/tryage"])
def test_a_page_fits_a_phone_and_loads_nothing_from_outside(page, address, name):
    page.goto(f"{address}/{name}.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.faults == []


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_site_follows_the_colors_of_the_system(page, address, scheme, is_dark):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}/index.html")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.split("(")[1].split(",")[0])
    assert (red < 128) == is_dark


def test_equations_are_shown_as_mathml(page, address):
    page.goto(f"{address}/docs/concepts.html")
    assert page.locator("div.math math").first.bounding_box()["height"] > 20


@pytest.mark.parametrize(
    ("name", "scheme"), [("docs/concepts", "light"), ("docs/reference/tryage_server", "dark")]
)
def test_a_page_has_no_serious_fault_of_accessibility(page, address, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}/{name}.html")
    found = axe.Axe().run(page).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []
