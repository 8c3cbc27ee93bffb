"""The page in a real browser: live, by keyboard, on a phone, for all eyes, and without scripts.

With TRYAGE_PICTURES=1 the pictures of docs/playground.md are made anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
TALL = {"width": 1200, "height": 1180}
PROMPT = "Prove that there are infinitely many primes of the form 4k + 3."

TABLE = "prompt,expert,loss\n" + "".join(
    f"Question {i},{name},{int(i % share == 0)}\n"
    for i in range(24)
    for name, share in (("gpt-5.4-nano", 2), ("gpt-5.4", 6))
)


@pytest.fixture
def open_page(browser, address):
    """Open the page as a device does; what the browser complains of fails the test."""
    contexts, faults = [], []

    def open_it(path="/", viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and faults.append(said.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda one: faults.append(f"{one.url}: {one.failure}"))
        page.on("request", lambda one: one.url.startswith(address) or faults.append(one.url))
        page.goto(address + path)
        return page

    open_it.faults = faults
    yield open_it
    for context in contexts:
        context.close()
    assert not faults


def winner(page):
    return page.inner_text("#announcement")


def change(page, act):
    """Do something to the page, and wait until the server has answered it."""
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        act()
    wait_for(page.locator(".htmx-request, .htmx-swapping, .htmx-settling"), count=0)


def wait_for(locator, text=None, count=None):
    """Wait until a part of the page has a text, or is there so often."""
    from playwright.sync_api import expect  # not everywhere is a browser

    if text is not None:
        expect(locator).to_contain_text(text)
    if count is not None:
        expect(locator).to_have_count(count)


def press(slider, key, times):
    for _ in range(times):
        slider.press(key)


def test_the_slider_of_an_answers_worth_moves_the_winner_without_a_reload(open_page):
    page = open_page()
    before = winner(page)
    page.evaluate("window.isSamePage = true")
    slider = page.locator("#answer_value-slider")
    press(slider, "ArrowLeft", 60)
    page.wait_for_url("**&answer_value=0.001")
    assert page.input_value("#answer_value") == "0.001"
    assert page.evaluate("window.isSamePage")
    assert winner(page).split(",")[0] == page.inner_text(".winner") != before.split(",")[0]


def test_a_link_opens_the_same_state_and_holds_no_prompt_until_that_is_asked(open_page):
    page = open_page()
    change(page, lambda: page.fill("#prompt", PROMPT))
    assert "prompt" not in parse_qs(urlsplit(page.url).query)
    change(page, lambda: page.fill("#latency", "0.4"))
    change(page, lambda: page.check("[name=share_prompt]"))
    link = page.input_value("#link")
    assert link == page.url
    assert parse_qs(urlsplit(link).query)["prompt"] == [PROMPT]
    other = open_page(link.removeprefix(link.split("/?")[0]))
    assert other.input_value("#prompt") == PROMPT
    assert other.input_value("#latency") == "0.4"
    assert winner(other) == winner(page)


def test_a_model_is_added_by_its_name_and_an_unknown_one_gets_a_hint(open_page):
    page = open_page()
    page.locator("#add").press_sequentially("aion-2")
    wait_for(page.locator("#names option[value='aion-2.5']"), count=1)
    page.fill("#add", "gpt-5.5")
    change(page, lambda: page.press("#add", "Enter"))
    assert page.locator(".chips input[value='gpt-5.5']").count() == 1
    assert page.evaluate("document.activeElement.id") == "add"
    page.fill("#add", "gpt-5.44")
    change(page, lambda: page.press("#add", "Enter"))
    assert "Nothing is known of a model 'gpt-5.44'" in page.inner_text("[role=alert]")
    assert "Did you mean" in page.inner_text("[role=alert]")


def test_a_bad_upload_says_what_is_wrong_and_a_good_one_is_shown(open_page):
    page = open_page()
    load = page.locator("form.load").first

    def upload(content):
        file = {"name": "outcomes.csv", "mimeType": "text/csv", "buffer": content.encode()}
        load.locator("input[type=file]").set_input_files(file)
        change(page, lambda: load.locator("button").click())

    upload("prompt,model\n1,2\n")
    assert "outcomes.csv" in page.inner_text("[role=alert]")
    assert "expert" in page.inner_text("[role=alert]")
    upload(TABLE)
    assert page.locator("[role=alert]").count() == 0
    assert "Measured in outcomes.csv" in page.inner_text("#results")
    assert page.locator(".chips li").count() == 2
    assert "83.3%" in page.inner_text("#results")  # 20 of 24 answers of gpt-5.4 are right


def test_two_ways_to_decide_stand_side_by_side(open_page):
    page = open_page()
    change(page, lambda: page.check("#compare"))
    change(page, lambda: page.fill("#b_answer_value", "0.0001"))
    wait_for(page.locator("#announcement"), "B:")
    wait_for(page.locator(".comparison"), "A chooses")
    winners = page.locator(".winner").all_inner_texts()
    assert len(set(winners)) == 2
    assert page.inner_text(".comparison").startswith(f"A chooses {winners[0]}, B chooses")
    change(page, lambda: page.select_option("#policy", "quality_gap"))
    change(page, lambda: page.fill("#policy_value", "0.5"))
    wait_for(page.locator("#results"), "The policy QualityGap decides")


def test_what_is_unfolded_stays_unfolded_when_a_slider_moves(open_page):
    page = open_page()
    page.click("#sum-A summary")
    change(page, lambda: page.fill("#recency", "0.3"))
    wait_for(page.locator("#sum-A pre"), "recency")
    assert page.evaluate("document.getElementById('sum-A').open")


def test_the_programs_are_copied(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    for summary, button in (("Python", "Copy the Python"), ("TOML", "Copy the TOML")):
        page.locator("summary", has_text=summary).click()
        page.get_by_role("button", name=button).click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.text_content(f"#{summary.lower()}-A")


def test_a_server_that_has_ended_is_told(open_page):
    page = open_page()
    page.route("**/results", lambda route: route.abort())
    page.fill("#size", "0.5")
    wait_for(page.locator("[role=alert]"), "is it still running?")
    open_page.faults.clear()  # the browser and htmx tell it, too


def test_everything_is_reached_by_keyboard_and_focus_is_seen(open_page):
    page = open_page()
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.value"))
    wanted = {"prompt", "answer_value-slider", "compare", "policy", "add", "file-table", "link"}
    assert wanted <= reached
    page.focus("#link")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_page_works_without_scripts(open_page):
    page = open_page(java_script_enabled=False)
    before = page.inner_text(".winner")
    page.fill("#answer_value", "0.0001")
    with page.expect_navigation():
        page.click("text=Show >> nth=0")
    assert page.input_value("#answer_value") == "0.0001"
    assert page.inner_text(".winner") != before
    page.fill("#add", "gpt-5.5")
    with page.expect_navigation():
        page.click("text=Add >> nth=-1")
    assert page.locator(".chips li").count() == 9
    assert page.input_value("#answer_value") == "0.0001"  # what was chosen before is kept


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_screen(
    open_page, scheme, viewport
):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page("/?compare=1&b_answer_value=0.01", viewport, color_scheme=scheme)
    found = axe.run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.skipif("TRYAGE_PICTURES" not in os.environ, reason="makes the pictures of the page")
@pytest.mark.parametrize(
    ("name", "path", "viewport", "scheme"),
    [
        ("playground", "/", TALL, "light"),
        ("playground-dark", "/?compare=1&b_answer_value=0.01&recency=0.4", TALL, "dark"),
        ("playground-phone", "/", PHONE, "light"),
    ],
)
def test_the_pictures_of_the_documentation(open_page, name, path, viewport, scheme):
    page = open_page(path, viewport, color_scheme=scheme, bypass_csp=True)
    change(page, lambda: page.fill("#prompt", PROMPT))
    page.screenshot(path=PICTURES / f"{name}.png", full_page=False)


def test_a_page_without_a_clipboard_copies_too(open_page):
    """A browser has none for a page that is reached by http from another computer."""
    page = open_page()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Copy the link").click()
    wait_for(page.get_by_role("button", name="Copied"), count=1)
