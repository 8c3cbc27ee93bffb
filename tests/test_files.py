"""The folder of Tryage follows the environment, and a file is the old one or the new one."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tryage import Router
from tryage.errors import FileWriteError, InputError
from tryage.files import (
    describe_write_error,
    explain_write_errors,
    folder_exists,
    home_folder,
    parse_toml,
    path_exists,
    read_text,
    replace_file,
    scratch_folder,
    write_text,
)


def test_a_file_is_whole_and_an_error_keeps_the_old_one(tmp_path):
    path = tmp_path / "new" / "report.json"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError), replace_file(path) as partial_path:
        partial_path.with_name("missing").read_text()
    assert path.read_text() == "old"
    with replace_file(path) as partial_path:
        partial_path.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_the_folder_is_the_one_that_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
    assert home_folder() == tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder of Linux")
def test_without_a_name_the_folder_is_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("TRYAGE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home_folder() == tmp_path / "tryage"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert home_folder() == Path.home() / ".cache" / "tryage"


@pytest.mark.skipif(sys.platform == "win32", reason="accounts of Linux and macOS")
def test_an_account_without_a_home_routes_and_is_told_where_nothing_can_be_kept(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    for name in ("TRYAGE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert home_folder().parts[0] == os.sep
    assert Router.from_pretrained().route("Hello").chosen is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_regular_file_is_written_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert pipe.is_fifo()
    write_text(Path(os.devnull), "text")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("a = " + "9" * 5_000, "not TOML: Exceeds the limit"),
        ("a = ", "not TOML: Invalid value"),
    ],
)
def test_what_is_no_toml_is_refused_in_words(text, said):
    with pytest.raises(InputError, match=f"^the file is .*{said}"):
        parse_toml(text, "the file")


def test_a_path_with_a_zero_byte_is_refused_in_words():
    with pytest.raises(InputError, match="is no path"):
        read_text(Path("a\0b"))


def test_a_name_that_is_too_long_for_a_file_is_of_none(tmp_path):
    too_long = tmp_path / ("x" * 5_000)
    assert not path_exists(too_long)
    assert not folder_exists(too_long)
    assert path_exists(tmp_path)
    assert folder_exists(tmp_path)


def test_a_full_disk_is_an_error_that_says_what_to_do_and_the_old_file_stays(tmp_path, full_disk):
    path = tmp_path / "report.json"
    write_text(path, "old")
    with full_disk(2), pytest.raises(FileWriteError, match=r"make room.*It is as it was before"):
        write_text(path, "a new text")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "a new text")
    assert path.read_text() == "a new text"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room on the disk"),
        (errno.EDQUOT, "make room on the disk"),
        (errno.EROFS, "give a place that can be written"),
        (errno.EACCES, "give a place that can be written"),
    ],
)
def test_the_advice_is_that_for_the_error(tmp_path, number, advice):
    with pytest.raises(FileWriteError, match=advice), replace_file(tmp_path / "report"):
        raise OSError(number, os.strerror(number))


def test_an_error_that_is_no_matter_of_the_disk_stays_as_it_is(tmp_path):
    with pytest.raises(BrokenPipeError), explain_write_errors(tmp_path, "Nothing is lost."):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert describe_write_error(OSError(errno.EPIPE, "Broken pipe")) == "Broken pipe"


def test_two_that_write_the_same_file_at_once_do_not_mix(tmp_path):
    path = tmp_path / "report"
    with replace_file(path) as first, replace_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # which is the last one to be moved there


def _wait_in(context):
    """Enter a context in a child, and return the child once it is there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with context() as path:
            os.write(writer, str(path).encode())
            signal.pause()
    return child, Path(os.read(reader, 1_000).decode())


def _kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _make_old(path):
    os.utime(path, (time.time() - 120,) * 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_next_write_removes_what_a_killed_one_has_left_and_nothing_that_is_in_use(tmp_path):
    path = tmp_path / "report"
    running, in_use = _wait_in(lambda: replace_file(path))
    killed, left = _wait_in(lambda: replace_file(path))
    _kill(killed)
    for partial_path in (in_use, left):
        _make_old(partial_path)
    write_text(path, "new")
    assert set(tmp_path.iterdir()) == {path, in_use}
    _kill(running)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_scratch_folder_goes_at_its_end_and_takes_those_of_killed_processes_along(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = tmp_path / "other-1"
    other.mkdir()
    running, in_use = _wait_in(lambda: scratch_folder("tryage-test-"))
    killed, left = _wait_in(lambda: scratch_folder("tryage-test-"))
    _kill(killed)
    (left / "prompts.db").write_text("of a user")
    for folder in (in_use, left):
        _make_old(folder.parent)
    with scratch_folder("tryage-test-") as folder:
        assert set(tmp_path.iterdir()) == {other, in_use.parent, folder.parent}
    assert set(tmp_path.iterdir()) == {other, in_use.parent}
    _kill(running)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_scratch_folder_can_be_locked_by_what_is_done_in_it():
    import fcntl

    with scratch_folder("tryage-test-") as folder:
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as a save of a router does
        os.close(handle)


def test_without_a_folder_for_temporary_files_the_error_says_what_to_set(monkeypatch):
    def fail():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    with pytest.raises(FileWriteError, match="TMPDIR"), scratch_folder("tryage-test-"):
        pass
