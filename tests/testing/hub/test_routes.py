"""Requests reach the right handler: accounts, gates, renames, names, rate limits, other routes."""

from __future__ import annotations

import httpx
import pytest

from tryage.testing import LocalHub


def test_a_missing_or_private_model_is_401_without_a_token_and_404_with_one(hub, ask, anonymous):
    hub.add("tester/secret", private=True)
    for name in ("org/none", "tester/secret"):
        reply = anonymous.get(f"/api/models/{name}")
        assert reply.status_code == 401
        assert "X-Error-Code" not in reply.headers
        assert reply.headers["X-Error-Message"] == "Invalid username or password."
    assert ask.get("/api/models/tester/secret").status_code == 200
    reply = ask.get("/api/models/org/none")
    assert (reply.status_code, reply.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_gated_model_shows_its_info_and_refuses_its_files(hub, ask, anonymous):
    hub.add("org/gated", {"a.txt": "x"}, gated="manual")
    assert anonymous.get("/api/models/org/gated").json()["gated"] == "manual"
    for path in ("/org/gated/resolve/main/a.txt", "/api/models/org/gated/commits/main"):
        refused = anonymous.get(path)
        assert (refused.status_code, refused.headers["X-Error-Code"]) == (401, "GatedRepo")
        refused = ask.get(path)
        assert (refused.status_code, refused.headers["X-Error-Code"]) == (403, "GatedRepo")
    hub.grant("org/gated")
    assert ask.get("/org/gated/resolve/main/a.txt").text == "x"


def test_an_unknown_token_is_refused(hub):
    hub.add("org/a")
    reply = httpx.get(f"{hub.url}/api/models/org/a", headers={"Authorization": "Bearer hf_other"})
    assert reply.status_code == 401
    assert reply.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_a_renamed_model_redirects_relatively_and_keeps_its_key(hub, ask):
    key = hub.add("org/old", {"a.txt": "x"})
    hub.rename("org/old", "org/new")
    reply = ask.get("/api/models/org/old?expand=likes")
    assert (reply.status_code, reply.headers["Location"]) == (
        307,
        "/api/models/org/new?expand=likes",
    )
    reply = ask.get("/org/old/resolve/main/a.txt")
    assert reply.headers["Location"] == "/org/new/resolve/main/a.txt"
    assert ask.get("/api/models/org/new").json()["_id"] == key


def test_the_oldest_models_have_no_owner(hub, ask):
    hub.add("gpt2", {"tree": "not a verb", "a/b.txt": "x"})
    assert ask.get("/api/models/gpt2").json()["id"] == "gpt2"
    assert "author" not in ask.get("/api/models/gpt2").json()
    assert len(ask.get("/api/models/gpt2/tree/main").json()) == 2
    assert ask.get("/gpt2/resolve/main/a/b.txt").text == "x"
    hub.add("gpt2/tree")
    assert ask.get("/api/models/gpt2/tree").json()["id"] == "gpt2/tree"


def test_every_response_counts_and_says_what_is_left_of_the_window():
    with LocalHub(quota=2, window=300) as hub:
        hub.add("org/a", {"a.txt": "x"})
        replies = [httpx.get(f"{hub.url}/api/models/{n}") for n in ("org/a", "org/none", "org/a")]
        assert [reply.status_code for reply in replies] == [200, 401, 429]
        for reply, left in zip(replies, (1, 0, 0), strict=True):
            assert reply.headers["RateLimit"].startswith(f'"api";r={left};t=')
            assert reply.headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=300'
        reply = httpx.get(f"{hub.url}/org/a/resolve/main/a.txt")  # files have their own limit
        assert reply.headers["RateLimit"].startswith('"resolvers";r=1;')


def test_a_new_window_allows_requests_again():
    now = [0.0]
    with LocalHub(quota=1, window=2, timer=lambda: now[0]) as hub:
        statuses = [httpx.get(f"{hub.url}/api/models").status_code for _ in range(2)]
        now[0] = 2.0
        assert [*statuses, httpx.get(f"{hub.url}/api/models").status_code] == [200, 429, 200]


def test_the_inference_router_and_leaderboards_return_their_entries(hub, anonymous):
    served = {"id": "org/a", "providers": [{"provider": "x", "pricing": {"input": 0.1}}]}
    hub.served.append(served)
    hub.leaderboards["org/bench"] = [{"rank": 1, "modelId": "org/a", "value": 0.5}]
    assert anonymous.get("/v1/models").json() == {"object": "list", "data": [served]}
    assert anonymous.get("/api/datasets/org/bench/leaderboard").json()[0]["rank"] == 1
    assert anonymous.get("/api/datasets/org/none/leaderboard").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/api/nothing", 404), ("PUT", "/api/models/org/a", 404),
     ("GET", "/api/models/org/a/discussions", 404), ("GET", "/org/a/resolve/main", 404),
     ("POST", "/api/models/org/a/paths-info/main", 200), ("GET", "/api/models/", 401)],
)  # fmt: skip
def test_unknown_paths_are_refused(hub, anonymous, method, path, status):
    hub.add("org/a")
    assert anonymous.request(method, path).status_code == status


def test_names_may_contain_any_letter(hub, ask):
    hub.add("org/modèle-日本", {"ä b#c.txt": "x"}, tags=["schön"])
    assert ask.get("/api/models/org/mod%C3%A8le-%E6%97%A5%E6%9C%AC").json()["tags"] == ["schön"]
    reply = ask.get("/org/mod%C3%A8le-%E6%97%A5%E6%9C%AC/resolve/main/%C3%A4%20b%23c.txt")
    assert reply.text == "x"
    hub.rename("org/modèle-日本", "org/modèle")
    info = ask.get("/api/models/org/modèle-日本", follow_redirects=True).json()
    assert info["id"] == "org/modèle"
