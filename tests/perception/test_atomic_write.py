"""A stop at any moment of a save leaves the old files or the new ones, never a mixture."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tryage.errors import PersistenceError
from tryage.perception import atomic_write
from tryage.perception.atomic_write import (
    DIGESTS_KEY,
    checked_folder,
    replace_folder,
)

HEADER = "header.json"
NAMES = ("a.bin", "b.bin", "part/c.bin")


def writer(version):
    """Return a function that writes three data files, a header and a card of this version."""

    def write(folder):
        for name in NAMES:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"{version} of {name}")
        (folder / HEADER).write_text(json.dumps({"version": version}))
        (folder / "README.md").write_text(version)

    return write


def read(folder):
    """Return the versions of the files that a folder holds together."""
    with checked_folder(folder, HEADER):
        versions = {(folder / name).read_text().split()[0] for name in NAMES}
        return versions | {json.loads((folder / HEADER).read_text())["version"]}


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    replace_folder(folder, HEADER, writer("old"))
    return folder


STEPS = ("Path.replace", "Path.unlink", "Path.mkdir", "Path.write_text", "sync_to_disk", "_digest",
         "tempfile.mkdtemp", "shutil.rmtree")  # fmt: skip


def interrupt(monkeypatch, number, stop):
    """Let step `number` of a save call `stop` instead; return how many steps there were."""
    counter = {"steps": 0}

    def counting(original):
        def step(*args, **kwargs):
            counter["steps"] += 1
            if counter["steps"] == number:
                stop()
            return original(*args, **kwargs)

        return step

    for name in STEPS:
        owner, _, attribute = name.rpartition(".")
        target = getattr(atomic_write, owner) if owner else atomic_write
        monkeypatch.setattr(target, attribute, counting(getattr(target, attribute)))
    return counter


def count_steps(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        counter = interrupt(patch, -1, None)
        replace_folder(tmp_path / "counted", HEADER, writer("old"))
        replace_folder(tmp_path / "counted", HEADER, writer("new"))
    return counter["steps"]


def killed_save(folder, number):
    """Save in a child process that ends at once at step `number`, as by kill -9."""
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, number, lambda: os._exit(0))
            replace_folder(folder, HEADER, writer("new"))
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_every_step_leaves_the_old_files_or_the_new_ones(saved, tmp_path):
    seen, number = [], 0
    while True:
        number += 1
        folder = tmp_path / f"killed-{number}"
        shutil.copytree(saved, folder)
        if not killed_save(folder, number):
            break
        (version,) = read(folder)
        seen.append(version)
        replace_folder(folder, HEADER, writer("last"))  # the next save cleans up
        assert read(folder) == {"last"}
        assert sorted(p.name for p in folder.rglob("*")) == sorted(
            ["a.bin", "b.bin", "c.bin", HEADER, "part", "README.md"]
        )
    assert number > 20
    assert seen.count("old") > 10
    assert seen.count("new") > 3
    assert seen == sorted(seen, reverse=True)  # old up to one moment, new from then on


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_an_error_before_the_header_is_moved_keeps_the_old_files(saved, tmp_path, error):
    def fail():
        raise OSError(error, os.strerror(error))

    outcomes = set()
    for number in range(1, count_steps(tmp_path)):
        folder = tmp_path / f"failed-{number}"
        shutil.copytree(saved, folder)
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, number, fail)
            with suppress(PersistenceError):  # an error while it cleans up is none
                replace_folder(folder, HEADER, writer("new"))
        (version,) = read(folder)
        outcomes.add(version)
    assert outcomes == {"old", "new"}


def test_the_error_says_what_happened_and_that_nothing_changed(saved, monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    interrupt(monkeypatch, 3, fail)
    with pytest.raises(PersistenceError, match="what it held is unchanged: No space left"):
        replace_folder(saved, HEADER, writer("new"))


def test_other_files_of_the_folder_stay_and_files_of_the_old_save_go(saved):
    (saved / "notes.txt").write_text("mine")

    def write(folder):
        (folder / "a.bin").write_text("new of a.bin")
        (folder / HEADER).write_text(json.dumps({"version": "new"}))

    replace_folder(saved, HEADER, write)
    assert (saved / "notes.txt").read_text() == "mine"
    assert not (saved / "b.bin").exists()
    assert json.loads((saved / HEADER).read_text())[DIGESTS_KEY].keys() == {"a.bin"}


def test_a_file_of_another_save_is_named(saved, tmp_path):
    replace_folder(tmp_path / "other", HEADER, writer("other"))
    shutil.copy(tmp_path / "other" / "b.bin", saved / "b.bin")
    with pytest.raises(PersistenceError, match=r"b\.bin is missing, or does not belong"):
        read(saved)


def test_a_folder_without_digests_is_of_an_older_version_and_is_read(tmp_path):
    writer("old")(tmp_path)
    assert read(tmp_path) == {"old"}


def test_digests_cannot_point_out_of_the_folder(saved):
    for name in ("../a.bin", "/etc/passwd", "part/../../a.bin", "..\\a.bin"):
        (saved / HEADER).write_text(json.dumps({DIGESTS_KEY: {name: "0" * 64}}))
        with pytest.raises(PersistenceError, match="damaged"):
            read(saved)


def test_the_model_card_may_be_edited(saved):
    (saved / "README.md").write_text("by hand")
    assert read(saved) == {"old"}


def test_a_link_is_replaced_and_what_it_points_to_stays(saved, tmp_path):
    cached = tmp_path / "cached.bin"
    cached.write_text("old of a.bin")
    (saved / "a.bin").unlink()
    (saved / "a.bin").symlink_to(cached)
    replace_folder(saved, HEADER, writer("new"))
    assert cached.read_text() == "old of a.bin"
    assert read(saved) == {"new"}


def test_a_reader_waits_for_a_save_and_sees_one_version(saved):
    child = os.fork()
    if child == 0:
        for i in range(60):
            replace_folder(saved, HEADER, writer(f"v{i}"))
        os._exit(0)
    versions = [read(saved) for _ in range(60)]
    os.waitpid(child, 0)
    assert all(len(version) == 1 for version in versions)


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PersistenceError, match="was not saved"):
        replace_folder(Path(tmp_path / "file" / "below"), HEADER, writer("new"))
