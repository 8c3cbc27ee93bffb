"""The routes: pages, their parts, uploads and suggestions, without a browser."""

from __future__ import annotations

import json
import logging
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient

from tryage import Router
from tryage.errors import InputError
from tryage.testing import FixedPerception
from tryage_playground import create_app

PRIVATE = "the plans of my company"


def test_the_page_and_its_part_name_the_winner(client):
    page = client.get("/")
    part = client.post("/results", data={"prompt": "Hello", "model": ["gpt-5.4"]})
    assert "<!DOCTYPE html>" in page.text
    assert part.text.count("<html") == 0
    assert '<span class="winner">gpt-5.4</span>' in part.text


def test_nothing_is_loaded_from_elsewhere(client):
    page = client.get("/").text
    links = [part.split('"')[0] for word in ('src="', 'href="') for part in page.split(word)[1:]]
    assert links
    assert all(link.startswith("/static/") for link in links)


def test_no_prompt_is_in_the_address_or_in_any_log(client, caplog):
    caplog.set_level(logging.DEBUG)
    answer = client.post("/results", data={"prompt": PRIVATE})
    client.post("/load/table", data={"prompt": PRIVATE}, files={"file": ("t.csv", b"x")})
    assert PRIVATE.split()[1] not in answer.headers["hx-replace-url"]
    assert PRIVATE.split()[1] not in caplog.text


def test_a_link_with_consent_works_after_a_restart():
    first, second = (TestClient(create_app(), base_url="http://localhost") for _ in range(2))
    data = {"prompt": PRIVATE, "share_prompt": "1", "model": ["gpt-5.4", "gpt-5.5"], "size": ".25"}
    link = first.post("/results", data=data).headers["hx-replace-url"]
    assert ("prompt", PRIVATE) in parse_qsl(urlsplit(link).query)
    assert PRIVATE in second.get(link).text
    assert 'value="0.25"' in second.get(link).text


def test_markup_in_a_prompt_and_in_names_stays_text(client):
    data = {"prompt": "<script>alert(1)</script>", "model": ["gpt-5.4", "<img src=x>"]}
    text = client.post("/", data=data).text
    assert "<script>alert" not in text
    assert "<img" not in text


def test_a_small_form_keeps_the_state_of_the_page(client):
    state = "model=gpt-5.4&answer_value=0.125"
    text = client.post("/", data={"state": state, "add": "gpt-5.5"}).text
    assert text.count('name="model" value="gpt-5') == 2
    assert 'value="0.125"' in text


def test_a_preset_moves_the_numbers(client):
    text = client.post("/main", data={"answer_value": "5", "preset": "thrifty"}).text
    assert 'name="answer_value" min="0" step="any" value="0.1"' in text


def load(client, kind, name, content, **headers):
    return client.post(f"/load/{kind}", files={"file": (name, content)}, headers=headers)


def test_a_library_of_own_models_is_compared(client):
    library = [
        {
            "name": "my-cheap",
            "input_price": 0.01,
            "output_price": 0.01,
            "about_as_good_as": "gpt-5",
        },
        {"name": "my-dear", "input_price": 9.0, "output_price": 9.0, "about_as_good_as": "gpt-5"},
    ]
    answer = load(client, "library", "own.json", json.dumps(library).encode())
    assert answer.status_code == 200
    assert '<span class="winner">my-cheap</span>' in answer.text
    assert "own.json is loaded: its 2 models are compared." in answer.text


@pytest.mark.parametrize(("htmx", "status"), [({}, 422), ({"hx-request": "true"}, 200)])
def test_a_bad_file_is_told_and_the_page_stays(client, htmx, status):
    answer = load(client, "table", "t.csv", b"prompt,loss\n", **htmx)
    assert answer.status_code == status
    assert "expert" in unescape(answer.text.split('role="alert"')[1].split("</div>")[0])
    assert "answers</h2>" in answer.text


def test_no_file_and_an_unknown_kind_are_told(client):
    assert "No file was chosen" in client.post("/load/table", data={"state": ""}).text
    assert load(client, "picture", "x.png", b"x").status_code == 404


def test_a_table_of_unknown_models_is_refused_in_words(client):
    answer = load(client, "table", "t.csv", b"prompt,expert,loss\nx,my-own,1\n")
    assert "Nothing is known of its models, such as" in unescape(answer.text)


def test_suggestions_are_options(client):
    assert '<option value="gpt-5.4-nano"></option>' in client.get("/suggest?add=gpt-5.4").text
    assert client.get("/suggest").text == ""


def test_the_page_opens_with_files_that_were_given():
    content = b"prompt,expert,loss\nx,gpt-5.4,0\nx,gpt-5.5,1\n"
    app = create_app(files={"table": ("mine.csv", content)})
    text = TestClient(app, base_url="http://localhost").get("/").text
    assert "Measured in mine.csv" in text
    assert text.count('name="model" value="gpt-5') == 2


def test_a_router_of_ones_own_decides():
    router = Router(FixedPerception({"gpt-5.4": 0.9, "gpt-5.5": 0.1}))
    text = TestClient(create_app(router), base_url="http://localhost").get("/?all=1").text
    assert '<span class="winner">gpt-5.5</span>' in text
    with pytest.raises(InputError, match="expected a Router"):
        create_app("router")


@pytest.mark.parametrize(
    "query",
    [
        "model=" + "x" * 5000,
        "answer_value=1e400&tolerance=-1",
        "policy=rules&policy_value=1",
        "policy=budget&policy_value=inf",
        "compare=1&b_policy=budget&b_policy_value=nan",
        "model=gpt-5.4&add=GPT-5.4",
        "model=gpt-5.4&" * 600,
        "prompt=%ED%A0%80%00",
        "b_answer_value=&compare=1&require=%FF",
        "prompt=" + "%5BFlag%3A" * 500,
    ],
)
def test_whatever_a_link_says_there_is_a_page(client, query):
    assert client.get(f"/?{query}").status_code == 200


def test_a_model_that_is_compared_is_not_added_again(client):
    text = unescape(client.get("/?model=gpt-5.4&model=gpt-5.5&add=GPT-5.4").text)
    assert "GPT-5.4 is compared already." in text
    assert text.count('name="model" value="gpt-5') == 2


def test_one_model_of_a_file_is_told_as_one(client):
    answer = load(client, "table", "t.csv", b"prompt,expert,loss\nx,gpt-5.4,1\nx,my-own,1\n")
    assert "t.csv is loaded: its model is compared." in answer.text
    assert "Nothing is known of another, such as my-own." in answer.text


def test_sliders_that_change_nothing_go_by_their_names_on_the_page(client):
    text = client.get("/?model=gpt-5.4&model=gpt-5.5").text
    assert "so their sliders change nothing: Small, Safe, Readable." in " ".join(text.split())


def test_of_many_models_without_a_price_a_few_are_named(client):
    text = client.get("/?all=1").text
    unpriced = text.partition("so not in the picture: ")[2].partition(".</p>")[0]
    assert unpriced.count(",") == 5
    assert unpriced.endswith(" more")
