"""One file, with the lines of its keys."""

from __future__ import annotations

import pytest

from tryage.config.document import key_text, read_document
from tryage.errors import ConfigError, InputError


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


def test_a_byte_order_mark_of_an_editor_is_skipped(tmp_path):
    path = tmp_path / "tryage.toml"
    path.write_text("[router]\nstrict = true\n", "utf-8-sig")
    document = read_document(path)
    assert document.tables == {"router": {"strict": True}}
    assert document.problem(("router", "strict"), "wrong").line == 2


@pytest.mark.parametrize("text", ["", '[project]\nname = "x"\n', "[tool]\ntryage = 5\n"])
def test_a_project_file_without_our_table_is_an_error(tmp_path, text):
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"it has no table \[tool.tryage\]"):
        read_document(path)


def test_a_file_that_is_nested_too_deeply_is_an_error(write):
    with pytest.raises(ConfigError):
        read_document(write("a = " + "[" * 100_000))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (5, "overrides have 5; expected tables"),
        ({"router": 5}, "overrides have 5; expected tables"),
        ({"models": {"name": "b"}}, "models is an array of tables"),
    ],
)
def test_overrides_that_would_change_nothing_are_refused(write, overrides, said):
    document = read_document(write('[[models]]\nname = "a"\n'))
    with pytest.raises(InputError, match=said):
        document.replaced(overrides)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tryage.toml", "a" + ".a" * 200 + " = 1\n"),  # tomli 2.5 itself refuses 1,000
        ("tryage.toml", "a = " + "[" * 400 + "]" * 400),
        ("tryage.json", '{"a": ' + "[" * 400 + "]" * 400 + "}"),
    ],
)
def test_tables_of_many_levels_are_refused_in_words(write, name, text):
    with pytest.raises(ConfigError, match="more than 50 levels"):
        read_document(write(text, name))
