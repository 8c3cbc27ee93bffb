"""A command that cannot write its result says so before it works."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tryage.cli.outputs import (
    check_output_file,
    check_output_folder,
    check_picture_file,
    describe_os_error,
)
from tryage.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def full_disk(monkeypatch):
    """Let every temporary file fail as on a full disk."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)


@pytest.fixture
def read_only(tmp_path):
    """Return a folder in which nobody can write, also not root."""
    # Root ignores permissions; /proc refuses new files from everybody.
    if os.geteuid() == 0:
        return tmp_path.__class__("/proc/self")
    tmp_path.chmod(0o500)
    return tmp_path


def test_a_folder_that_is_not_there_yet_is_accepted_and_not_made(tmp_path):
    path = tmp_path / "a" / "b"
    assert check_output_folder(path) == path
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_and_an_existing_file_are_accepted_and_unchanged(tmp_path):
    file = tmp_path / "report.json"
    file.write_text("old")
    assert check_output_folder(tmp_path) == tmp_path
    assert check_output_file(file) == file
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_no_output_is_no_problem():
    assert check_output_folder(None) is check_output_file(None) is check_picture_file(None) is None


def test_the_wrong_kind_of_path_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="file is a file; give the path of a folder"):
        check_output_folder(file)
    with pytest.raises(InputError, match="is a folder; give the path of a file"):
        check_output_file(tmp_path)
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        check_output_folder(file / "below")


def test_a_folder_that_cannot_be_written_is_named(read_only):
    for check in (check_output_folder, check_output_file):
        with pytest.raises(InputError, match="cannot be written"):
            check(read_only / "new")


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(InputError, match="No space left on device"):
        check_output_folder(tmp_path)


def test_a_picture_needs_the_suffix_of_a_picture(tmp_path):
    with pytest.raises(InputError, match="is not a picture that can be drawn"):
        check_picture_file(tmp_path / "front.txt")


def test_a_failed_file_operation_is_described_with_the_names_of_its_files():
    assert describe_os_error(OSError(28, "No space left", "a")) == "a: No space left"
    assert describe_os_error(OSError(18, "Cross-device", "a", None, "b")) == "a and b: Cross-device"
    assert describe_os_error(OSError("odd")) == "odd"


NOWHERE = "/proc/self/result"  # a place where nobody can write


@pytest.mark.parametrize(
    "words",
    [
        ["train", "TABLE", "-o", NOWHERE],
        ["train", "TABLE", "-o", "OUT", "--checkpoint", NOWHERE],
        ["evaluate", "TABLE", "--json", NOWHERE],
        ["evaluate", "TABLE", "--plots", NOWHERE],
        ["pareto", "hi", "--plot", f"{NOWHERE}.png"],
        ["plot", "latent", "ROWS", "-o", f"{NOWHERE}.png"],
        ["plot", "latent", "ROWS", "-o", "OUT.png", "--json", NOWHERE],
        ["onboard", "new", "--losses", "ROWS", "-o", NOWHERE],
        ["score", "ROWS", "-e", "nowhere:model", "-o", NOWHERE],
        ["train-tools", "ROWS", "-o", NOWHERE],
        ["cotrain", "ROWS", "-o", NOWHERE],
    ],
    ids=lambda words: " ".join(words[:2] + words[-2:-1]),
)
def test_no_command_works_before_it_knows_that_it_can_write(tryage, tmp_path, words):
    # The inputs do not exist: an error about them would mean that the command had begun.
    done = tryage(*(str(tmp_path / word) if word.isupper() else word for word in words))
    assert done.exit_code == 2
    assert done.stderr.startswith(f"tryage: {NOWHERE}")
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_disk_that_fills_up_during_the_work_is_one_line(tryage, saved, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors")

    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "sum oslo", "loss": 0.1}) + "\n")
    monkeypatch.setattr("tryage.router_sources.save_router", refuse)
    done = tryage("onboard", "new", "--losses", rows, "--router", saved, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr == "tryage: model.safetensors: No space left on device\n"


def test_a_reader_that_has_enough_is_no_error(saved: Path):
    code = f"{sys.executable} -m tryage experts --router {saved} --json"
    done = subprocess.run(  # noqa: S602 - the shell makes the pipe
        f"{code} | head -c 1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{"
    assert done.stderr == ""
