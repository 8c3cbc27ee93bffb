"""The metadata of one model has the fields, the ETag and the security status of the Hub's."""

from __future__ import annotations

CARD = "---\nlicense: mit\n---\n# Hi"


def test_an_info_has_the_fields_of_a_recorded_response_and_no_others_unless_requested(
    hub, anonymous
):
    hub.add("org/a", {"README.md": CARD}, evalResults=[{"verified": True}], downloadsAllTime=9)
    info = anonymous.get("/api/models/org/a").json()
    assert {"_id", "id", "modelId", "author", "sha", "private", "gated", "disabled", "downloads",
            "likes", "tags", "siblings", "createdAt", "lastModified", "usedStorage",
            "cardData"} <= set(info)  # fmt: skip
    assert not {"evalResults", "downloadsAllTime", "securityRepoStatus"} & set(info)
    expanded = anonymous.get("/api/models/org/a?expand=evalResults").json()
    assert expanded == {"_id": info["_id"], "id": "org/a", "evalResults": [{"verified": True}]}


def test_the_security_status_is_sent_on_request_and_is_not_scanned_without_files(hub, ask):
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
    (entry,) = ask.post("/api/models/org/bad/paths-info/main", json=paths).json()
    assert entry["securityFileStatus"]["status"] == "unsafe"


def test_an_info_with_a_known_etag_is_not_sent_again(hub, ask):
    hub.add("org/a")
    tag = ask.get("/api/models/org/a").headers["ETag"]
    assert tag.startswith('W/"')
    again = {"If-None-Match": tag}
    reply = ask.get("/api/models/org/a", headers=again)
    assert (reply.status_code, reply.content) == (304, b"")
    hub.update("org/a", likes=1)
    assert ask.get("/api/models/org/a", headers=again).json()["likes"] == 1
