"""huggingface_hub and transformers work against a `LocalHub`."""

from __future__ import annotations

import hashlib
import os

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tryage.testing.hub import Truncated

pytestmark = pytest.mark.usefixtures("patched_hub")

CARD = "---\nlicense: mit\npipeline_tag: text-generation\n---\n# Hi"
BIG = bytes(range(256)) * 4000


@pytest.fixture
def patched_hub(hub, tmp_path):
    """Let this process use the Hub, with a cache of its own."""
    with hub.patched(tmp_path / "cache"):
        yield hub


@pytest.fixture
def api(patched_hub):
    return HfApi(endpoint=patched_hub.url, token=patched_hub.token)


@pytest.fixture
def folder(tmp_path):
    """Make a folder like that of a router: a card, a configuration, and weights for LFS."""
    made = tmp_path / "folder"
    (made / "nested").mkdir(parents=True)
    (made / "README.md").write_text(CARD, encoding="utf-8")
    (made / "nested" / "ä.json").write_text("{}", encoding="utf-8")
    (made / "model.safetensors").write_bytes(BIG)
    (made / "empty.safetensors").write_bytes(b"")
    return made


def test_models_are_listed_over_all_pages(hub, api):
    hub.load({"id": f"o/m{i}", "downloads": i, "tags": ["x"]} for i in range(2100))
    found = list(api.list_models(filter="x", sort="downloads", expand=["downloads", "gated"]))
    assert [info.downloads for info in found] == list(range(2099, -1, -1))
    assert found[0].gated is False
    assert len(list(api.list_models(limit=1500))) == 1500


def test_model_info_has_the_security_status_and_the_files(hub, api):
    hub.add("org/a", {"README.md": CARD, "w.safetensors": BIG}, downloads=5)
    info = api.model_info("org/a", securityStatus=True, files_metadata=True)
    assert (info.downloads, info.pipeline_tag) == (5, "text-generation")
    assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}
    lfs = {file.rfilename: file.lfs for file in info.siblings}
    assert lfs["README.md"] is None
    assert lfs["w.safetensors"].sha256 == hashlib.sha256(BIG).hexdigest()


def test_a_snapshot_holds_the_files_of_the_model(hub):
    files = {"README.md": CARD.encode(), "w.safetensors": BIG, "d/x.txt": b""}
    hub.add("org/a", files)
    path = snapshot_download("org/a")
    for name, data in files.items():
        with open(f"{path}/{name}", "rb") as file:  # noqa: PTH123 - symlinks into the cache
            assert file.read() == data


def test_a_broken_download_resumes(hub, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000
    )  # to keep the first bytes
    hub.add("org/a", {"w.safetensors": BIG})
    hub.fail(Truncated(), when=lambda request: "/lfs/content/" in request.path)
    try:
        path = hf_hub_download("org/a", "w.safetensors")
    except (httpx.TransportError, OSError):  # huggingface_hub before 1.1 does not retry
        path = hf_hub_download("org/a", "w.safetensors")
    with open(path, "rb") as file:  # noqa: PTH123 - a symlink into the cache
        assert file.read() == BIG
    ranges = [r.headers.get("Range") for r in hub.requests if "/lfs/content/" in r.path]
    assert ranges[0] is None
    assert int(ranges[1].removeprefix("bytes=").removesuffix("-")) >= len(BIG) // 2 - 1000


def test_a_cached_download_sends_only_a_head_request(hub):
    hub.add("org/a", {"w.safetensors": BIG})
    path = hf_hub_download("org/a", "w.safetensors")
    hub.requests.clear()
    assert hf_hub_download("org/a", "w.safetensors") == path
    assert [request.method for request in hub.requests] == ["HEAD"]


def test_a_downloaded_folder_equals_the_uploaded_one(hub, api, folder):
    assert api.create_repo("tester/router", private=True).repo_id == "tester/router"
    api.create_repo("tester/router", exist_ok=True)
    api.upload_folder(repo_id="tester/router", folder_path=folder)
    assert hub.files("tester/router")["model.safetensors"] == BIG
    assert {"license:mit", "text-generation"} <= set(hub.record("tester/router")["tags"])
    uploads = [request for request in hub.requests if request.path.startswith("/lfs/upload/")]
    assert len(uploads) == 1  # large files go to LFS, the others into the commit
    path = snapshot_download("tester/router")
    assert os.path.getsize(f"{path}/model.safetensors") == len(BIG)  # noqa: PTH202 - a symlink into the cache
    assert os.path.exists(f"{path}/nested/ä.json")  # noqa: PTH110 - the same


def test_a_file_in_the_repo_is_not_uploaded_again(hub, api, folder):
    api.create_repo("tester/router")
    for _ in range(2):
        api.upload_folder(repo_id="tester/router", folder_path=folder)
    roots = [request.path.split("/")[1] for request in hub.requests]
    assert roots.count("lfs") == 2  # one upload, verified
    titles = [commit.title for commit in api.list_repo_commits("tester/router")]
    assert titles == ["Upload folder using huggingface_hub", "initial commit"]


def test_commits_add_and_delete_files_and_open_pull_requests(api):
    api.create_repo("tester/a")
    api.create_commit("tester/a", [CommitOperationAdd("a.txt", b"x")], commit_message="add")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="d/b.txt", repo_id="tester/a")
    assert api.file_exists("tester/a", "d/b.txt")
    api.delete_file("a.txt", "tester/a")
    api.delete_folder("d", "tester/a")
    assert api.list_repo_files("tester/a") == [".gitattributes"]
    pull_request = api.create_commit(
        "tester/a", [CommitOperationAdd("c.txt", b"x")], commit_message="c", create_pr=True
    )
    assert pull_request.pr_num == 1
    assert "c.txt" in api.list_repo_files("tester/a", revision="refs/pr/1")
    assert len(api.list_repo_commits("tester/a")) == 5


def test_branches_and_tags_name_revisions(hub, api):
    hub.add("org/a", {"a.txt": "old"})
    api.create_tag("org/a", tag="v1")
    api.create_branch("org/a", branch="next")
    hub.commit("org/a", {"a.txt": "new"})
    refs = api.list_repo_refs("org/a")
    assert {ref.name for ref in refs.branches} == {"main", "next"}
    assert [ref.name for ref in refs.tags] == ["v1"]
    for revision, text in (("v1", "old"), ("next", "old"), ("main", "new")):
        with open(hf_hub_download("org/a", "a.txt", revision=revision)) as file:  # noqa: PTH123 - a symlink into the cache
            assert file.read() == text
    api.delete_tag("org/a", tag="v1")
    api.delete_branch("org/a", branch="next")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/a", "a.txt", revision="v1")


def test_repos_are_renamed_and_deleted(hub, api):
    key = hub.add("tester/a", {"a.txt": "x"})
    api.move_repo("tester/a", "tester/b")
    info = api.model_info("tester/a")  # over the redirect
    assert (info.id, hub.record("tester/b")["_id"]) == ("tester/b", key)
    api.delete_repo("tester/b")
    assert "tester/b" not in hub
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("tester/b")
    api.delete_repo("tester/b", missing_ok=True)


def test_errors_become_the_exceptions_of_huggingface_hub(hub, api):
    hub.add("org/a", {"a.txt": "x"})
    hub.add("org/gated", {"a.txt": "x"}, gated="auto")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/a", revision="v9")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/a", "none.txt")
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/gated", "a.txt")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.model_info("org/a", token="hf_other")  # noqa: S106 - an invalid token
    assert api.whoami()["name"] == "tester"


def test_transformers_load_a_model_from_the_hub(hub, tmp_path):
    # Each version of transformers needs certain versions of huggingface_hub, else its import fails.
    pytest.importorskip("transformers.utils.hub", exc_type=ImportError)
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "hello": 1, "[PAD]": 2}
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    words = tokenizers.models.WordLevel(vocabulary, unk_token=special["unk_token"])
    inner = tokenizers.Tokenizer(words)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = tmp_path / "made"
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    whole.save_pretrained(made)
    transformers.BertConfig(hidden_size=16, num_attention_heads=2).save_pretrained(made)
    hub.add("org/tiny", made)
    config = transformers.AutoConfig.from_pretrained("org/tiny")
    assert (config.model_type, config.hidden_size) == ("bert", 16)
    assert transformers.AutoTokenizer.from_pretrained("org/tiny")("hello")["input_ids"] == [1]
    assert hub.record("org/tiny")["config"] == {"model_type": "bert"}
