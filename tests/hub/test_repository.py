"""Folders are uploaded to the Hub as they were written, and downloaded without code."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects

from tryage.errors import InputError, PersistenceError
from tryage.hub import repository
from tryage.hub.repository import (
    ALLOWED_PATTERNS,
    check_download_options,
    check_push_options,
    download_folder,
    push_folder,
)
from tryage.testing.hub import FakeResponse, LocalHub

SECRET = "hf_" + "s3cret" * 5


@pytest.fixture
def uploads(monkeypatch):
    """Record what would be sent to the Hub: arguments, and the files with their content."""
    sent = []

    class Created:
        repo_id = "me/router"

    def create_repo(api, **options):
        sent.append({"token": api.token, **options})
        return Created()

    def upload_folder(_, folder_path, **options):
        files = {
            path.relative_to(folder_path).as_posix(): path.read_bytes()
            for path in folder_path.rglob("*")
            if path.is_file()
        }
        sent.append({"files": files, **options})
        return SimpleNamespace(commit_url="https://hub/me/router/commit/1")

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return sent


def write(folder):
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "table.safetensors").write_bytes(b"table")
    (folder / "router.json").write_text("{}")
    (folder / "README.md").write_text("# Mine")


def test_what_is_uploaded_is_what_was_written(uploads):
    address = push_folder(write, "me/router")
    assert address == "https://hub/me/router/commit/1"
    assert uploads[1]["files"] == {
        "README.md": b"# Mine",
        "encoder/table.safetensors": b"table",
        "router.json": b"{}",
    }
    assert uploads[1]["repo_id"] == "me/router"


def test_the_token_is_used_and_not_uploaded(uploads):
    push_folder(write, "me/router", token=SECRET, private=True, branch="next")
    assert uploads[0]["token"] == SECRET
    assert uploads[0]["private"] is True
    assert uploads[1]["revision"] == "next"
    assert not any(SECRET.encode() in content for content in uploads[1]["files"].values())


def test_a_download_asks_for_data_only(monkeypatch, tmp_path):
    asked = {}

    def snapshot(repo_id, **options):
        asked.update(repo_id=repo_id, **options)
        return str(tmp_path)

    monkeypatch.setattr(repository, "snapshot_download", snapshot)
    assert download_folder("me/router", revision="v1", token=SECRET) == tmp_path
    assert asked == {
        "repo_id": "me/router",
        "revision": "v1",
        "token": SECRET,
        "allow_patterns": list(ALLOWED_PATTERNS),
    }


def test_only_json_tensors_graphs_and_text_of_a_repository_are_downloaded():
    wanted = [
        "README.md",
        "router.json",
        "perception.safetensors",
        "encoder/tokenizer.json",
        "encoder/model.onnx",
    ]
    unwanted = ["model.bin", "weights.pkl", "encoder/run.py", "a.pt", "a.npz", "setup.sh"]
    assert (
        list(filter_repo_objects(wanted + unwanted, allow_patterns=list(ALLOWED_PATTERNS)))
        == wanted
    )


@pytest.fixture
def hub(tmp_path):
    with LocalHub() as local, local.patched(tmp_path / "cache"):
        yield local


def test_an_uploaded_folder_is_downloaded_again(hub, tmp_path):
    address = push_folder(
        write, "tester/router", token=hub.token, private=True, commit_message="Mine"
    )
    assert hub.record("tester/router")["private"] is True
    assert address.startswith(f"{hub.url}/tester/router/commit/")
    down = download_folder("tester/router", token=hub.token)
    write(tmp_path / "again")
    for name in ("router.json", "README.md", "encoder/table.safetensors"):
        assert (down / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_pushing_twice_is_two_commits_to_one_repository(hub):
    first = push_folder(write, "tester/router", token=hub.token)
    second = push_folder(lambda folder: (folder / "router.json").write_text("{1}"), "tester/router")
    assert first != second
    assert len(hub) == 1
    assert hub.files("tester/router")["router.json"] == b"{1}"


@pytest.mark.parametrize("status", [404, 401, 500])
def test_a_hub_that_refuses_is_a_persistence_error(hub, status):
    hub.fail(lambda *_: FakeResponse(status), times=None)
    with pytest.raises(PersistenceError, match="'me/router' is neither a folder"):
        download_folder("me/router", token=False)
    with pytest.raises(PersistenceError, match="'me/router' was not pushed"):
        push_folder(write, "me/router", token=hub.token)


def chain_of(error):
    """Return an error, its causes and its contexts, each with what it prints."""
    links = [error]
    for link in links:
        links += [other for other in (link.__cause__, link.__context__) if other is not None]
    return links


@pytest.mark.parametrize("token", [SECRET, "corp-words-1"])
def test_an_echoed_token_is_in_no_error_and_in_no_cause(hub, monkeypatch, token):
    def echo(request, *_):
        sent = dict(request.headers)
        return FakeResponse(403, b"{}", {"X-Error-Message": f"refused {sent.get('Authorization')}"})

    hub.fail(echo, times=None)
    monkeypatch.setattr(repository, "get_token", lambda: token)
    monkeypatch.setenv("HF_TOKEN", token)
    for call in (
        lambda: push_folder(write, "me/router", token=token),
        lambda: download_folder("me/router", token=token),
        lambda: download_folder("me/router"),
    ):
        with pytest.raises(PersistenceError) as info:
            call()
        printed = "".join(traceback.format_exception(info.value))
        assert token not in printed + "".join(map(repr, chain_of(info.value)))
        assert "refused" in printed


def test_a_hub_that_was_closed_is_a_persistence_error(hub):
    hub.close()
    with pytest.raises(PersistenceError, match="'me/router' was not pushed"):
        push_folder(write, "me/router", token=hub.token)


def test_a_hub_that_does_not_answer_is_a_persistence_error(tmp_path):
    with pytest.raises(PersistenceError, match="'me/router' is neither a folder"):
        download_folder("me/router", endpoint="http://127.0.0.1:1", cache_dir=tmp_path, token=False)


def test_offline_a_repository_that_is_not_cached_is_a_persistence_error(tmp_path):
    with pytest.raises(PersistenceError, match="neither a folder with a router"):
        download_folder("me/router", cache_dir=tmp_path, local_files_only=True)


@pytest.mark.parametrize("name", ["me/..", "--/x", "me/router.git", "me/a b"])
def test_a_name_that_no_repository_can_have_is_a_persistence_error(name, tmp_path):
    with pytest.raises(PersistenceError):
        download_folder(name, cache_dir=tmp_path, local_files_only=True)


def test_a_cached_repository_is_found_without_a_network(tmp_path):
    commit = "a" * 40
    kept = tmp_path / "models--me--router" / "snapshots" / commit
    kept.mkdir(parents=True)
    (kept / "router.json").write_text("{}")
    refs = tmp_path / "models--me--router" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    assert download_folder("me/router", cache_dir=tmp_path, local_files_only=True) == kept


def test_the_options_of_huggingface_hub_are_known_and_others_refused_with_the_nearest_name():
    check_push_options(["token", "private", "branch", "create_pr", "parent_commit"])
    with pytest.raises(InputError, match=r"push_to_hub has no argument 'tokn'. Did you mean token"):
        check_push_options(["tokn"])
    check_download_options(["revision", "cache_dir", "local_files_only", "token"])
    for name in ("allow_patterns", "dry_run", "repo_id"):
        with pytest.raises(InputError, match="from_pretrained has no argument"):
            check_download_options([name])
    with pytest.raises(InputError, match="Did you mean prompt_flags"):
        check_download_options(["prompt_flag"], ["prompt_flags"])


def test_an_unknown_option_of_a_push_is_refused_before_anything_is_written(uploads):
    with pytest.raises(InputError, match="comit_message"):
        push_folder(write, "me/router", comit_message="First")
    assert uploads == []


def test_the_next_push_removes_what_a_killed_one_has_left(uploads, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("tryage-push-old", "tryage-push-running", "other-old")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "router.json").write_text("{}")
    two_days_ago = time.time() - 2 * 86_400
    for name in ("tryage-push-old", "other-old"):
        os.utime(tmp_path / name, (two_days_ago, two_days_ago))
    push_folder(write, "me/router")
    assert len(uploads) == 2
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {"tryage-push-old"}
