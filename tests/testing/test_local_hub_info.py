"""What the local Hub says of one model: info, refusals, renames, accounts and quota."""

from __future__ import annotations

import datetime
import json
import os

import httpx
import pytest

from tryage.errors import InputError
from tryage.testing import LocalHub

CARD = "---\nlicense: mit\nlibrary_name: tryage\ntags: [routing, ärger]\nbase_model: a/b\n---\n# Hi"


def weights(**shapes) -> bytes:
    """Return a safetensors file that claims such tensors and holds no data."""
    tensors = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    return len(header).to_bytes(8, "little") + header


def test_an_info_has_the_fields_of_a_recorded_answer_and_not_those_on_demand(hub, stranger):
    hub.add("org/a", {"README.md": CARD}, evalResults=[{"verified": True}], downloadsAllTime=9)
    told = stranger.get("/api/models/org/a").json()
    assert {"_id", "id", "modelId", "author", "sha", "private", "gated", "disabled", "downloads",
            "likes", "tags", "siblings", "createdAt", "lastModified", "usedStorage",
            "cardData"} <= set(told)  # fmt: skip
    assert not {"evalResults", "downloadsAllTime", "securityRepoStatus"} & set(told)
    asked = stranger.get("/api/models/org/a?expand=evalResults").json()
    assert asked == {"_id": told["_id"], "id": "org/a", "evalResults": [{"verified": True}]}


def test_metadata_is_read_out_of_the_files_as_the_hub_reads_it(hub):
    files = {
        "README.md": CARD,
        "config.json": '{"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}, "vocab_size": 3}',
        "model.safetensors": weights(a=[3, 4], b=[5]),
        "nested/other.safetensors": weights(c=[1000]),
    }
    hub.add("org/a", files)
    record = hub.record("org/a")
    assert record["tags"] == ["tryage", "safetensors", "bert", "routing", "ärger", "custom_code",
                              "base_model:a/b", "license:mit", "region:us"]  # fmt: skip
    assert record["safetensors"] == {"parameters": {"BF16": 17}, "total": 17}
    assert record["config"] == {"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}
    assert record["cardData"]["base_model"] == "a/b"


@pytest.mark.parametrize("card", ["---\n: [\n---\n", "---\n- a\n---\n", "# none", ""])
def test_a_card_without_a_readable_header_says_nothing(hub, card):
    hub.add("org/a", {"README.md": card, "config.json": "[1"})
    assert hub.record("org/a")["tags"] == ["region:us"]


def test_given_metadata_wins_over_what_the_files_say(hub):
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
    hub.add("org/a", {"README.md": CARD}, tags=["mine"], lastModified=moment)
    assert hub.record("org/a")["tags"] == ["mine"]
    assert hub.record("org/a")["lastModified"] == "2024-05-06T07:08:09.000Z"


def test_the_security_status_comes_on_demand_and_unknown_is_not_scanned(hub, ask):
    issues = {"scansDone": True, "filesWithIssues": [{"path": "a.bin", "level": "unsafe"}]}
    hub.add("org/bad", {"a.bin": b"x"}, securityRepoStatus=issues)
    hub.add("org/good", {"a.txt": "x"})
    hub.load([{"id": "org/unknown", "siblings": [{"rfilename": "a.bin"}]}])

    def status(name):
        reply = ask.get(f"/api/models/{name}", params={"securityStatus": "True"})
        return reply.json()["securityRepoStatus"]

    assert status("org/bad") == issues
    assert status("org/good") == {"scansDone": True, "filesWithIssues": []}
    assert status("org/unknown") == {"scansDone": False, "filesWithIssues": []}
    paths = {"paths": ["a.bin"], "expand": True}
    (told,) = ask.post("/api/models/org/bad/paths-info/main", json=paths).json()
    assert told["securityFileStatus"]["status"] == "unsafe"


def test_a_missing_or_private_model_is_a_bare_401_to_strangers_and_not_found_to_accounts(
    hub, ask, stranger
):
    hub.add("tester/secret", private=True)
    for name in ("org/none", "tester/secret"):
        reply = stranger.get(f"/api/models/{name}")
        assert reply.status_code == 401
        assert "X-Error-Code" not in reply.headers
        assert reply.headers["X-Error-Message"] == "Invalid username or password."
    assert ask.get("/api/models/tester/secret").status_code == 200
    reply = ask.get("/api/models/org/none")
    assert (reply.status_code, reply.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_gated_model_shows_its_info_and_keeps_its_files(hub, ask, stranger):
    hub.add("org/gated", {"a.txt": "x"}, gated="manual")
    assert stranger.get("/api/models/org/gated").json()["gated"] == "manual"
    for path in ("/org/gated/resolve/main/a.txt", "/api/models/org/gated/commits/main"):
        refused = stranger.get(path)
        assert (refused.status_code, refused.headers["X-Error-Code"]) == (401, "GatedRepo")
        refused = ask.get(path)
        assert (refused.status_code, refused.headers["X-Error-Code"]) == (403, "GatedRepo")
    hub.grant("org/gated")
    assert ask.get("/org/gated/resolve/main/a.txt").text == "x"


def test_a_wrong_token_is_refused_everywhere(hub):
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


def test_the_name_of_a_former_model_can_go_to_another_one(hub, ask):
    first = hub.add("org/a")
    hub.rename("org/a", "org/b")
    second = hub.add("org/a")
    assert ask.get("/api/models/org/a").json()["_id"] == second != first
    hub.remove("org/a")
    assert hub.add("org/a") not in {first, second}
    with pytest.raises(InputError, match="org/b"):
        hub.rename("org/a", "org/b")


def test_the_oldest_models_have_no_owner(hub, ask):
    hub.add("gpt2", {"tree": "not a verb", "a/b.txt": "x"})
    assert ask.get("/api/models/gpt2").json()["id"] == "gpt2"
    assert "author" not in ask.get("/api/models/gpt2").json()
    assert len(ask.get("/api/models/gpt2/tree/main").json()) == 2
    assert ask.get("/gpt2/resolve/main/a/b.txt").text == "x"
    hub.add("gpt2/tree")
    assert ask.get("/api/models/gpt2/tree").json()["id"] == "gpt2/tree"


def test_an_info_that_the_client_has_already_is_not_sent_again(hub, ask):
    hub.add("org/a")
    tag = ask.get("/api/models/org/a").headers["ETag"]
    assert tag.startswith('W/"')
    again = {"If-None-Match": tag}
    reply = ask.get("/api/models/org/a", headers=again)
    assert (reply.status_code, reply.content) == (304, b"")
    hub.update("org/a", likes=1)
    assert ask.get("/api/models/org/a", headers=again).json()["likes"] == 1


def test_changing_metadata_leaves_the_date_alone_and_none_takes_a_field_away(hub, ask):
    hub.add("org/a", {"a.txt": "x"}, pipeline_tag="text-generation")
    before = hub.record("org/a")["lastModified"]
    hub.update("org/a", downloads=7, pipeline_tag=None)
    told = ask.get("/api/models/org/a").json()
    assert (told["downloads"], told["lastModified"]) == (7, before)
    assert "pipeline_tag" not in told


def test_every_reply_counts_and_says_what_is_left_of_a_fixed_window():
    with LocalHub(quota=2, window=300) as hub:
        hub.add("org/a", {"a.txt": "x"})
        replies = [httpx.get(f"{hub.url}/api/models/{n}") for n in ("org/a", "org/none", "org/a")]
        assert [reply.status_code for reply in replies] == [200, 401, 429]
        for reply, left in zip(replies, (1, 0, 0), strict=True):
            assert reply.headers["RateLimit"].startswith(f'"api";r={left};t=')
            assert reply.headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=300'
        reply = httpx.get(f"{hub.url}/org/a/resolve/main/a.txt")  # files have their own
        assert reply.headers["RateLimit"].startswith('"resolvers";r=1;')


def test_a_window_ends():
    now = [0.0]
    with LocalHub(quota=1, window=2, timer=lambda: now[0]) as hub:
        asked = [httpx.get(f"{hub.url}/api/models").status_code for _ in range(2)]
        now[0] = 2.0
        assert [*asked, httpx.get(f"{hub.url}/api/models").status_code] == [200, 429, 200]


def test_the_inference_router_and_leaderboards_say_what_they_were_given(hub, stranger):
    served = {"id": "org/a", "providers": [{"provider": "x", "pricing": {"input": 0.1}}]}
    hub.served.append(served)
    hub.leaderboards["org/bench"] = [{"rank": 1, "modelId": "org/a", "value": 0.5}]
    assert stranger.get("/v1/models").json() == {"object": "list", "data": [served]}
    assert stranger.get("/api/datasets/org/bench/leaderboard").json()[0]["rank"] == 1
    assert stranger.get("/api/datasets/org/none/leaderboard").status_code == 404


def test_the_repr_of_a_hub_and_of_its_log_hold_no_token(hub, ask):
    ask.get("/api/models")
    assert hub.token not in repr(hub) + repr(hub.requests) + repr(hub.requests[0].query)
    assert hub.requests[-1].token == hub.token  # for a test that wants to know who asked


def test_a_closed_hub_hangs_up_and_opens_again_where_it_was(hub, ask):
    hub.add("org/a")
    assert ask.get("/api/models/org/a").status_code == 200
    hub.close()
    with pytest.raises(httpx.TransportError):  # not even over the open connection
        ask.get("/api/models/org/a")
    url = hub.url
    hub.start()
    assert hub.url == url
    assert ask.get("/api/models/org/a").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/api/nothing", 404), ("PUT", "/api/models/org/a", 404),
     ("GET", "/api/models/org/a/discussions", 404), ("GET", "/org/a/resolve/main", 404),
     ("POST", "/api/models/org/a/paths-info/main", 200), ("GET", "/api/models/", 401)],
)  # fmt: skip
def test_paths_that_are_not_there_are_refused_as_such(hub, stranger, method, path, status):
    hub.add("org/a")
    assert stranger.request(method, path).status_code == status


def test_names_may_hold_any_letter(hub, ask):
    hub.add("org/modèle-日本", {"ä b#c.txt": "x"}, tags=["schön"])
    assert ask.get("/api/models/org/mod%C3%A8le-%E6%97%A5%E6%9C%AC").json()["tags"] == ["schön"]
    reply = ask.get("/org/mod%C3%A8le-%E6%97%A5%E6%9C%AC/resolve/main/%C3%A4%20b%23c.txt")
    assert reply.text == "x"
    hub.rename("org/modèle-日本", "org/modèle")
    told = ask.get("/api/models/org/modèle-日本", follow_redirects=True).json()
    assert told["id"] == "org/modèle"


def test_a_hub_has_no_address_before_it_starts():
    hub = LocalHub()
    assert repr(hub) == "LocalHub(not started, 0 models)"
    with pytest.raises(InputError, match="start"):
        _ = hub.url


def test_asking_the_hub_itself_for_what_it_lacks_says_what_to_do(hub):
    with pytest.raises(InputError, match=r"hub\.add\('org/none'\)"):
        hub.record("org/none")


def test_leaving_the_hub_leaves_no_trace(hub, tmp_path):
    from huggingface_hub import constants, hf_api

    def state():
        api = hf_api.api.endpoint
        return dict(os.environ), constants.ENDPOINT, constants.HF_HUB_CACHE, api

    before = state()
    with hub.patched(tmp_path) as inside:
        assert inside is hub
        assert constants.ENDPOINT == hub.url == os.environ["HF_ENDPOINT"]
        assert state() != before
    assert state() == before
