"""Every fault does what it says, to the requests and as often as it is planned."""

from __future__ import annotations

import httpx
import pytest

from tryage.testing import hub as hub_package
from tryage.testing.hub import (
    ConnectionDropped,
    FakeRequest,
    FakeResponse,
    Gated,
    RepositoryDeleted,
    ServerError,
    Slow,
    TooManyRequests,
    Truncated,
    Unauthorized,
    WrongJson,
    WrongShape,
)


@pytest.fixture
def full(hub):
    hub.load({"id": f"o/m{i}", "downloads": i} for i in range(30))
    return hub


def page(client, **params):
    return client.get("/api/models", params={"limit": 10, "sort": "downloads", **params})


@pytest.mark.parametrize("header", [True, False])
def test_too_many_requests_says_when_to_retry(full, ask, header):
    full.fail(TooManyRequests(after=7, retry_after=header))
    reply = page(ask)
    assert reply.status_code == 429
    assert reply.headers["RateLimit"] == '"api";r=0;t=7'
    assert reply.headers["RateLimit-Policy"].startswith('"fixed window";"api";q=')
    assert reply.headers.get("Retry-After") == ("7" if header else None)
    assert page(ask).status_code == 200


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_a_page_of_html(full, ask, status):
    full.fail(ServerError(status))
    reply = page(ask)
    assert reply.status_code == status
    assert reply.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("inside", [True, False])
def test_a_slow_response_is_right_and_too_late_for_a_short_timeout(full, ask, inside):
    full.fail(Slow(0.3, inside=inside))
    with pytest.raises(httpx.ReadTimeout):
        ask.get("/api/models", timeout=0.05)
    full.fail(Slow(0.01, inside=inside))
    assert len(page(ask).json()) == 10


def test_a_truncated_body_is_shorter_than_its_length(full, ask):
    full.fail(Truncated(share=0.5))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        page(ask)
    with ask.stream("GET", "/api/models") as reply:
        assert int(reply.headers["Content-Length"]) == len(reply.read())


def test_a_request_is_processed_before_the_connection_drops(full, ask):
    full.fail(ConnectionDropped())
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        ask.post("/api/repos/create", json={"name": "made"})
    assert "tester/made" in full


def test_wrong_json_and_wrong_shapes_are_complete_responses(full, ask):
    full.fail(WrongJson())
    with pytest.raises(ValueError, match="Expecting"):
        page(ask).json()
    full.fail(WrongShape())
    assert isinstance(page(ask).json(), dict)
    full.fail(WrongShape([{"id": None}, 3]))
    assert page(ask).json() == [{"id": None}, 3]


def test_a_refused_token_and_a_gated_repo(full, ask, anonymous):
    full.fail(Unauthorized())
    assert page(ask).headers["X-Error-Message"].startswith("Invalid credentials")
    full.fail(Gated("o/m1"), times=2)
    assert ask.get("/api/models/o/m2").status_code == 200
    for client, status in ((anonymous, 401), (ask, 403)):
        reply = client.get("/api/models/o/m1")
        assert (reply.status_code, reply.headers["X-Error-Code"]) == (status, "GatedRepo")
    full.fail(Gated())
    assert ask.get("/api/models/o/m2").status_code == 403


def test_a_deleted_repo_is_listed_and_not_found(full, ask, anonymous):
    full.fail(RepositoryDeleted("o/m1"), times=None)
    assert "o/m1" in {item["id"] for item in page(ask, limit=1000).json()}
    assert anonymous.get("/api/models/o/m1").status_code == 401
    assert ask.get("/api/models/o/m1/tree/main").headers["X-Error-Code"] == "RepoNotFound"
    assert ask.get("/o/m1/resolve/main/a.txt").status_code == 404
    assert ask.get("/api/models/o/m11").status_code == 200
    full.clear_faults()
    assert ask.get("/api/models/o/m1").status_code == 200


def test_a_fault_hits_only_the_requests_of_its_condition(full, ask):
    planned = full.fail(ServerError(504), when=lambda r: "cursor" in r.query, skip=1, times=1)
    assert planned.left == 1
    statuses, url = [], "/api/models?limit=10"
    while url:
        reply = ask.get(url)
        statuses.append(reply.status_code)
        url = reply.links.get("next", {}).get("url") if reply.status_code == 200 else url
    assert statuses == [200, 200, 504, 200]
    assert (planned.hits, planned.left) == (1, 0)


def test_faults_hit_in_the_order_in_which_they_were_planned(full, ask):
    full.fail(ServerError(500))
    full.fail(ServerError(503), times=2)
    assert [page(ask).status_code for _ in range(4)] == [500, 503, 503, 200]


def test_any_function_can_be_a_fault(full, ask):
    def teapot(request, answer):
        assert answer().status == 200
        return FakeResponse(418, request.method.encode())

    full.fail(teapot)
    reply = page(ask)
    assert (reply.status_code, reply.text) == (418, "GET")


def test_every_request_is_in_the_log_even_a_failed_one(full, ask):
    full.fail(ConnectionDropped())
    with pytest.raises(httpx.TransportError):
        ask.get("/api/models?search=x")
    (request,) = full.requests
    assert (request.method, request.path, request.query) == (
        "GET",
        "/api/models",
        {"search": ["x"]},
    )


def test_the_former_names_still_work(full):
    assert (hub_package.Dropped, hub_package.Vanished) == (ConnectionDropped, RepositoryDeleted)
    assert (hub_package.Request, hub_package.Reply) == (FakeRequest, FakeResponse)
    full.fail(ServerError(), times=None)
    full.heal()
    assert httpx.get(f"{full.url}/api/models").status_code == 200
