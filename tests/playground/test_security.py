"""What is refused before any route, and what a page may load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage_playground.security import is_own_host


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8321", "localhost", "localhost:1", "[::1]:8321", "192.168.0.7:8321", "MY.Box"],
)
def test_addresses_this_computer_and_allowed_names_are_its_own(host):
    assert is_own_host(host, ("my.box",))


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example:8321", "a/b", "[", ":8", "x@y"]
)
def test_other_names_are_not(host):
    assert not is_own_host(host, ("my.box",))


def test_a_name_that_points_here_is_refused(client):
    answer = client.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert "--allowed-host" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_page_may_not_send_anything(client, headers):
    for path in ("/", "/results", "/load/table"):
        assert client.post(path, data={"prompt": "x"}, headers=headers).status_code == 403


def test_the_page_itself_may(client):
    headers = {"origin": "http://127.0.0.1:8321", "sec-fetch-site": "same-origin"}
    assert client.post("/results", data={"prompt": "x"}, headers=headers).status_code == 200


def test_a_body_that_is_too_large_is_refused_whether_its_length_is_told_or_not(client):
    def parts():
        for _ in range(20):
            yield b"x" * 10_000

    told = client.post("/results", data={"prompt": "x" * 200_000})
    untold = client.post(
        "/results", content=parts(), headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert told.status_code == untold.status_code == 413
    assert "larger than 100,000 bytes" in told.text


@pytest.mark.parametrize("path", ["/", "/static/playground.js", "/nothing", "/health"])
def test_every_answer_allows_sources_of_this_page_alone(client, path):
    policy = client.get(path).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_sender_that_is_no_address_is_refused(client):
    answer = client.post("/results", data={"prompt": "x"}, headers={"origin": "http://["})
    assert answer.status_code == 403


@given(st.text(st.characters(max_codepoint=255), max_size=20))
def test_any_host_is_judged(host):
    assert is_own_host(host, ("my.box",)) in (True, False)
