"""The folder of Tryage follows the environment, and a file is the old one or the new one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tryage.errors import InputError
from tryage.files import (
    folder_exists,
    home_folder,
    parse_toml,
    path_exists,
    read_text,
    replace_file,
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
