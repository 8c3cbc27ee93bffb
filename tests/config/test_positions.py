"""The lines of keys, for all that TOML has."""

from __future__ import annotations

import pytest

from tryage.config.positions import key_lines, line_of
from tryage.files import parse_toml

TEXT = '''# settings
default = "a # no comment"
[[models]]
name = "one"
metadata.team = [1, # first
  {size = 3}, "]"
]
[[models]]
name = """
two = 2
"""
'quoted key' = {a = 1, b.c = 2}
[models.settings]
stop = ["[", "\\"]"]
[router]
path = 'C:\\'
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("default",), 2),
        (("models",), 3),
        (("models", 0), 3),
        (("models", 0, "name"), 4),
        (("models", 0, "metadata", "team"), 5),
        (("models", 0, "metadata", "team", 1, "size"), 6),
        (("models", 1), 8),
        (("models", 1, "name"), 9),
        (("models", 1, "quoted key", "b", "c"), 12),
        (("models", 1, "settings"), 13),
        (("models", 1, "settings", "stop", 1), 14),
        (("router", "path"), 16),
    ],
)
def test_each_key_has_the_line_in_which_it_stands(path, line):
    assert key_lines(TEXT)[path] == line


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    else:
        yield path


def test_the_scanner_finds_the_same_values_as_the_parser():
    assert set(leaves(parse_toml(TEXT, "text"))) <= set(key_lines(TEXT))


def test_the_tables_of_a_project_file_count_for_themselves():
    text = '[project]\nname = "x"\n[[tool.tryage.models]]\nname = "a"\n[[tool.tryage.models]]\n'
    lines = key_lines(text)
    assert lines["tool", "tryage", "models", 0] == 3
    assert lines["tool", "tryage", "models", 1] == 5


def test_a_missing_key_is_at_the_line_of_its_table():
    lines = key_lines("a = 1\n[traffic]\ntimeout = 1\n")
    assert line_of(lines, ("traffic", "url")) == 2
    assert line_of(lines, ("router",)) is None
