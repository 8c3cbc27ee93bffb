"""One file, with the lines of its keys."""

from __future__ import annotations

import pytest

from tryage.config.document import key_text, read_document
from tryage.errors import ConfigError


def test_a_place_is_written_as_in_code():
    assert key_text(("models", 1, "metadata", "team")) == "models[1].metadata.team"


def test_a_problem_has_the_line_of_its_key(write):
    document = read_document(write("[router]\nstrict = true\n"))
    assert document.problem(("router", "strict"), "wrong").line == 2
    assert document.problem((), "wrong").line is None


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    path = tmp_path / "tryage.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        read_document(path)


def test_a_file_that_is_nested_too_deeply_is_an_error(write):
    with pytest.raises(ConfigError):
        read_document(write("a = " + "[" * 100_000))
