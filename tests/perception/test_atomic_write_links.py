"""Links, pipes and devices in a saved folder: nothing outside it changes, and no read hangs."""

from __future__ import annotations

import json
import os
import shutil
import socket

import pytest

from tryage import Router
from tryage.errors import PersistenceError
from tryage.perception.atomic_write import (
    DIGESTS_KEY,
    MAX_HEADER_BYTES,
    checked_folder,
    replace_folder,
)

HEADER = "header.json"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


def write(folder):
    (folder / "part").mkdir()
    (folder / "a.bin").write_text("new")
    (folder / "part" / "b.bin").write_text("new")
    (folder / HEADER).write_text("{}")


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    replace_folder(folder, HEADER, write)
    return folder


@pytest.fixture
def outside(tmp_path):
    """A folder of somebody else's, with a file of the name of one that is saved."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "b.bin").write_text("precious")
    return folder


def test_a_save_replaces_a_link_to_a_file_and_leaves_the_file(saved, outside):
    (saved / "a.bin").unlink()
    (saved / "a.bin").symlink_to(outside / "b.bin")
    replace_folder(saved, HEADER, write)
    assert (outside / "b.bin").read_text() == "precious"
    assert not (saved / "a.bin").is_symlink()
    assert (saved / "a.bin").read_text() == "new"


def test_a_save_replaces_a_link_in_the_place_of_its_header(saved, outside):
    (saved / HEADER).unlink()
    (saved / HEADER).symlink_to(outside / "b.bin")
    replace_folder(saved, HEADER, write)
    assert (outside / "b.bin").read_text() == "precious"


def test_a_save_follows_no_link_to_another_folder(saved, outside):
    shutil.rmtree(saved / "part")
    (saved / "part").symlink_to(outside)
    with pytest.raises(PersistenceError, match=r"part is a link to another folder. Remove the lin"):
        replace_folder(saved, HEADER, write)
    assert (outside / "b.bin").read_text() == "precious"


def test_a_save_removes_no_file_that_an_old_header_names_through_a_link(saved, outside):
    (saved / "old").symlink_to(outside)
    header = json.loads((saved / HEADER).read_text())
    header[DIGESTS_KEY]["old/b.bin"] = "0" * 64
    (saved / HEADER).write_text(json.dumps(header))
    replace_folder(saved, HEADER, write)
    assert (outside / "b.bin").read_text() == "precious"


def test_a_save_through_a_link_to_the_folder_itself_is_a_save_there(saved, tmp_path):
    (tmp_path / "link").symlink_to(saved)
    (saved / "a.bin").write_text("old")
    replace_folder(tmp_path / "link", HEADER, write)
    assert (saved / "a.bin").read_text() == "new"


def test_a_file_that_is_a_link_is_read_as_in_the_cache_of_the_hub(saved, outside):
    shutil.move(saved / "a.bin", outside / "blob")
    (saved / "a.bin").symlink_to(outside / "blob")
    with checked_folder(saved, HEADER):
        pass


@pytest.mark.parametrize("name", ["a.bin", "part/b.bin"])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "circle"])
def test_what_is_no_file_is_refused_and_not_waited_for(saved, name, kind):
    (saved / name).unlink()
    put(saved / name, kind)
    with (
        pytest.raises(PersistenceError, match="is missing, or does not belong"),
        checked_folder(saved, HEADER),
    ):
        pass


def put(path, kind):
    """Put a pipe, a device and so on in the place of a file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    else:
        here = os.open(".", os.O_RDONLY)
        try:  # a socket's path must be short
            os.chdir(path.parent)
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.fchdir(here)


FILES = (
    "router.json", "perception.json", "perception.safetensors", "encoder/encoder.json",
    "encoder/table.safetensors", "encoder/tokenizer.json",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", FILES)
def test_a_router_without_digests_with_a_pipe_or_device_is_refused(learned, tmp_path, name, kind):
    Router(learned).save_pretrained(tmp_path / "router")
    header = json.loads((tmp_path / "router" / "router.json").read_text())
    del header[DIGESTS_KEY]
    (tmp_path / "router" / "router.json").write_text(json.dumps(header))
    (tmp_path / "router" / name).unlink()
    put(tmp_path / "router" / name, kind)
    with pytest.raises(PersistenceError):
        Router.from_pretrained(tmp_path / "router")


@pytest.mark.parametrize("name", ["router.json", "perception.json", "encoder/encoder.json"])
def test_a_header_of_any_size_is_not_read(learned, tmp_path, name):
    Router(learned).save_pretrained(tmp_path / "router")
    if name != "router.json":
        header = json.loads((tmp_path / "router" / "router.json").read_text())
        del header[DIGESTS_KEY]
        (tmp_path / "router" / "router.json").write_text(json.dumps(header))
    with (tmp_path / "router" / name).open("r+b") as file:
        file.truncate(MAX_HEADER_BYTES + 1)  # a hole: it takes no space on the disk
    with pytest.raises(PersistenceError, match="has 268,435,457 bytes"):
        Router.from_pretrained(tmp_path / "router")
