"""Requests are parsed, responses are sent as they are meant, and the server closes connections."""

from __future__ import annotations

import socket
from http.server import HTTPServer

import httpx
import pytest

from tryage.testing.hub import FakeRequest, FakeResponse
from tryage.testing.hub.http import DROP_CONNECTION, LoopbackServer, next_page_headers


@pytest.fixture
def start():
    """Return a function that starts a server."""
    servers = []

    def run(answer):
        servers.append(LoopbackServer(answer).start())
        return servers[-1]

    yield run
    for server in servers:
        server.close()


@pytest.fixture
def serve(start):
    """Return a function that serves the responses of a function and returns the address."""
    return lambda answer: start(answer).url


def test_a_request_decodes_its_path_and_its_parameters():
    request = FakeRequest("GET", "/a%2Fb/c?expand[]=x&expand=y&empty=&no=false&yes", {})
    assert request.path == "/a%2Fb/c"
    assert request.parts == ("a/b", "c")
    assert request.query["expand"] == ["x", "y"]
    assert (request.one("expand"), request.one("none", "default")) == ("x", "default")
    assert [request.flag(name) for name in ("yes", "empty", "no", "none")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer hf_x", "hf_x"), ("Bearer ", None), ("Basic abc", None), ("", None)],
)
def test_only_a_bearer_header_holds_a_token(header, token):
    request = FakeRequest("GET", "/", {"Authorization": header})
    assert request.token == token
    assert "hf_x" not in repr(request)


def test_the_next_page_keeps_the_parameters_and_replaces_the_cursor():
    request = FakeRequest("GET", "/api/models?limit=2&cursor=old", {"Host": "127.0.0.1:80"})
    assert next_page_headers(request, "a b") == {
        "Link": '<http://127.0.0.1:80/api/models?limit=2&cursor=a+b>; rel="next"'
    }


def test_a_chunked_body_and_header_names_in_any_case_are_read(serve):
    seen = []

    def answer(request):
        seen.append(request)
        return FakeResponse(200, b"ok")

    url = serve(answer)
    httpx.put(url, content=iter([b"one", b"two"]), headers={"x-own-HEADER": "1"})
    assert (seen[0].body, seen[0].headers["X-Own-Header"]) == (b"onetwo", "1")


def test_head_and_304_have_no_body(serve):
    url = serve(lambda request: FakeResponse(304 if request.one("known") else 200, b"hello"))
    head = httpx.head(url)
    assert (head.headers["Content-Length"], head.content) == ("5", b"")
    assert "Content-Length" not in httpx.get(url, params={"known": "1"}).headers


@pytest.mark.parametrize(
    ("truncate_at", "message"),
    [(DROP_CONNECTION, "without sending a response"), (2, "without sending complete")],
)
def test_a_response_can_be_cut_anywhere(serve, truncate_at, message):
    url = serve(lambda _: FakeResponse(200, b"hello", truncate_at=truncate_at))
    with pytest.raises(httpx.RemoteProtocolError, match=message):
        httpx.get(url)


def test_closing_the_server_closes_open_connections(start):
    server = start(lambda _: FakeResponse(200, b"ok"))
    with socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        server.close()
        client.settimeout(5)
        while client.recv(4096):
            pass


def test_a_server_answers_at_its_address_until_its_block_ends():
    with LoopbackServer(lambda _: FakeResponse(200, b"ok")) as server:
        assert httpx.get(server.url).content == b"ok"
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_a_port_is_not_used_twice_in_a_process(monkeypatch):
    with LoopbackServer(lambda _: FakeResponse(200)) as first:
        port = first.server_port
    binds, bind = [], HTTPServer.server_bind

    def bind_to_the_same_port_first(server):
        if not binds:
            server.server_address = ("127.0.0.1", port)
        binds.append(port)
        bind(server)

    monkeypatch.setattr(HTTPServer, "server_bind", bind_to_the_same_port_first)
    with LoopbackServer(lambda _: FakeResponse(200)) as second:
        assert second.server_port != port
        assert httpx.get(second.url).status_code == 200
    assert len(binds) == 2
