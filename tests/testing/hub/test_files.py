"""Files over plain HTTP: contents, ranges, trees, revisions, LFS and commits."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

BIG = bytes(range(256)) * 40


@pytest.fixture
def named(hub):
    """Add a model with a small file, a large one and folders."""
    hub.add("org/a", {"a.txt": "hello", "w.safetensors": BIG, "d/e/f.txt": "deep"})
    return "org/a"


def commit(client, name, *operations, branch="main", params=None, **header):
    lines = [{"key": "header", "value": {"summary": "s", "description": "", **header}}]
    lines += [{"key": key, "value": value} for key, value in operations]
    body = "\n".join(json.dumps(line) for line in lines)
    return client.post(f"/api/models/{name}/commit/{branch}", content=body, params=params)


def file(path, data=b"x"):
    content = base64.b64encode(data).decode()
    return "file", {"path": path, "content": content, "encoding": "base64"}


def test_a_small_file_has_the_etag_of_git_and_the_commit(hub, ask, named):
    reply = ask.get(f"/{named}/resolve/main/a.txt")
    assert reply.text == "hello"
    # `printf hello | git hash-object --stdin`
    assert reply.headers["ETag"] == '"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"'
    assert reply.headers["X-Repo-Commit"] == hub.record(named)["sha"]


def test_head_returns_the_length_and_no_content(ask, named):
    reply = ask.head(f"/{named}/resolve/main/a.txt")
    assert (reply.headers["Content-Length"], reply.content) == ("5", b"")


def test_a_large_file_is_a_redirect_to_another_origin_without_token(hub, ask, named):
    reply = ask.head(f"/{named}/resolve/main/w.safetensors")
    sha256 = hashlib.sha256(BIG).hexdigest()
    assert reply.status_code == 302
    assert reply.headers["X-Linked-ETag"] == f'"{sha256}"'
    assert reply.headers["X-Linked-Size"] == str(len(BIG))
    location = reply.headers["Location"]
    assert not location.startswith(hub.url)
    assert httpx.get(location).content == BIG
    assert httpx.get(location.replace(sha256, "0" * 64)).status_code == 404


@pytest.mark.parametrize(
    ("range_", "status", "body", "span"),
    [("bytes=0-1", 206, "he", "bytes 0-1/5"), ("bytes=3-", 206, "lo", "bytes 3-4/5"),
     ("bytes=-2", 206, "lo", "bytes 3-4/5"), ("bytes=2-99", 206, "llo", "bytes 2-4/5"),
     ("bytes=5-", 416, "", "bytes */5"), ("bytes=-", 200, "hello", None),
     ("lines=1-2", 200, "hello", None)],
)  # fmt: skip
def test_a_range_is_served_as_in_rfc_9110(ask, named, range_, status, body, span):
    reply = ask.get(f"/{named}/resolve/main/a.txt", headers={"Range": range_})
    assert (reply.status_code, reply.text) == (status, body)
    assert reply.headers.get("Content-Range") == span


def test_a_file_with_a_known_etag_is_not_sent_again(ask, named):
    etag = ask.get(f"/{named}/resolve/main/a.txt").headers["ETag"]
    reply = ask.get(f"/{named}/resolve/main/a.txt", headers={"If-None-Match": etag})
    assert (reply.status_code, reply.content) == (304, b"")


def test_unknown_files_and_unknown_revisions_have_different_codes(hub, ask, named):
    reply = ask.get(f"/{named}/resolve/main/none.txt")
    assert (reply.status_code, reply.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert reply.headers["X-Repo-Commit"] == hub.record(named)["sha"]
    for path in (f"/{named}/resolve/v9/a.txt", f"/api/models/{named}/revision/v9"):
        reply = ask.get(path)
        assert (reply.status_code, reply.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_a_tree_lists_one_level_or_all_with_folders_and_lfs(ask, named):
    top = ask.get(f"/api/models/{named}/tree/main").json()
    assert [entry["path"] for entry in top] == ["a.txt", "d", "w.safetensors"]
    assert [entry["type"] for entry in top] == ["file", "directory", "file"]
    assert top[2]["lfs"]["oid"] == hashlib.sha256(BIG).hexdigest()
    whole = ask.get(f"/api/models/{named}/tree/main?recursive=True").json()
    assert [e["path"] for e in whole] == ["a.txt", "d", "d/e", "d/e/f.txt", "w.safetensors"]
    inner = ask.get(f"/api/models/{named}/tree/main/d").json()
    assert [entry["path"] for entry in inner] == ["d/e"]
    reply = ask.get(f"/api/models/{named}/tree/main/none")
    assert (reply.status_code, reply.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_a_long_tree_comes_in_pages_of_fifty_when_expanded(hub, ask):
    hub.add("org/long", {f"{number:03}.txt": "x" for number in range(120)})
    reply, found = ask.get("/api/models/org/long/tree/main?expand=True"), []
    while True:
        found.append([entry["path"] for entry in reply.json()])
        assert all("lastCommit" in entry for entry in reply.json())
        if "next" not in reply.links:
            break
        reply = ask.get(reply.links["next"]["url"])
    assert [len(page) for page in found] == [50, 50, 20]
    assert [path for page in found for path in page] == [
        f"{number:03}.txt" for number in range(120)
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_paths_info_reads_json_and_forms_and_leaves_out_missing_paths(ask, named, as_json):
    fields = {"paths": ["a.txt", "d", "none"], "expand": as_json}
    body = {"json": fields} if as_json else {"data": fields}
    found = ask.post(f"/api/models/{named}/paths-info/main", **body).json()
    assert [entry["path"] for entry in found] == ["a.txt", "d"]
    assert ("securityFileStatus" in found[0]) is as_json


def test_a_commit_changes_files_metadata_and_date_and_keeps_old_revisions(hub, ask, named):
    before = hub.record(named)
    card = b"---\nlicense: mit\n---\n"
    done = commit(
        ask, named, file("README.md", card), ("deletedFile", {"path": "a.txt"}),
        ("deletedFolder", {"path": "d"}),
    ).json()  # fmt: skip
    after = hub.record(named)
    assert after["sha"] == done["commitOid"] != before["sha"]
    assert after["lastModified"] > before["lastModified"]
    assert "license:mit" in after["tags"]
    assert sorted(hub.files(named)) == ["README.md", "w.safetensors"]
    assert ask.get(f"/{named}/resolve/{before['sha']}/a.txt").text == "hello"
    log = ask.get(f"/api/models/{named}/commits/main").json()
    assert [entry["id"] for entry in log] == [after["sha"], before["sha"]]


def test_a_refused_commit_changes_nothing(hub, ask, anonymous, named):
    state = hub.files(named)
    pointer = {"path": "b.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}
    assert commit(anonymous, named, file("b")).status_code == 401
    assert commit(ask, named, file("b"), ("deletedFile", {"path": "no"})).status_code == 404
    assert commit(ask, named, file("b"), ("lfsFile", pointer)).status_code == 400
    assert commit(ask, named, file("b"), parentCommit="0" * 40).status_code == 412
    assert commit(ask, named, file("b"), branch="v9").status_code == 404
    assert ask.post(f"/api/models/{named}/commit/main", content="{").status_code == 400
    assert hub.files(named) == state


def test_a_pull_request_leaves_main_unchanged(hub, ask, named):
    done = commit(ask, named, file("b.txt"), params={"create_pr": "1"}).json()
    assert done["pullRequestUrl"].endswith("/discussions/1")
    assert "b.txt" not in hub.files(named)
    assert ask.get(f"/{named}/resolve/refs%2Fpr%2F1/b.txt").text == "x"
    refs = ask.get(f"/api/models/{named}/refs?include_prs=1").json()
    assert refs["pullRequests"][0]["ref"] == "refs/pr/1"
    assert [branch["name"] for branch in refs["branches"]] == ["main"]


def test_lfs_content_is_verified_and_uploaded_once(hub, ask, named):
    data, size = b"new" * 9, 27
    oid = hashlib.sha256(data).hexdigest()
    body = {"operation": "upload", "objects": [{"oid": oid, "size": size}]}
    batch = f"/{named}.git/info/lfs/objects/batch"
    (lfs,) = ask.post(batch, json=body).json()["objects"]
    upload, verify = lfs["actions"]["upload"]["href"], lfs["actions"]["verify"]["href"]
    assert httpx.put(upload, content=b"other").status_code == 400
    assert ask.post(verify, json={"oid": oid, "size": size}).status_code == 404
    assert httpx.put(upload, content=iter([data[:5], data[5:]])).status_code == 200  # chunked
    assert ask.post(verify, json={"oid": oid, "size": size}).status_code == 200
    assert "actions" not in ask.post(batch, json=body).json()["objects"][0]
    pointer = {"path": "n.bin", "algo": "sha256", "oid": oid, "size": size}
    assert commit(ask, named, ("lfsFile", pointer)).status_code == 200
    assert hub.files(named)["n.bin"] == data


def test_concurrent_commits_lose_nothing(hub, ask, named):
    def send(number):
        return commit(ask, named, file(f"{number}.txt")).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(40))) == {200}
    assert {f"{number}.txt" for number in range(40)} <= set(hub.files(named))
