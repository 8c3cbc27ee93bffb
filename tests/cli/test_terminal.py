"""What commands print: no control characters, and tables that fit the terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings

import pytest

from tryage.cli.terminal import (
    echo,
    echo_json,
    echo_table,
    format_table,
    one_line_messages,
    shows_progress,
)

ROWS = [["expert", "size", "license"], ["tiny-1b", "1B", "mit"], ["chat-70b", "-", "gemma"]]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_stream_without_a_character_gets_an_escape(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    echo("0.07 ± 0.02")
    sys.stdout.flush()
    assert raw.getvalue() == b"0.07 \\xb1 0.02\n"


def test_json_has_no_control_character_and_is_the_same_when_it_is_read(capsys):
    value = {
        "name": "a\x9b2J\x1b]52;c;aGk=\x07\u202e\u2028\U000e0041",
        "Übung": "日本語 🙂",
        "x": "\ud800",
    }
    echo_json(value)
    printed = capsys.readouterr().out
    assert printed.endswith("}\n")
    assert printed[:-1].isprintable()
    assert "日本語 🙂" in printed
    assert json.loads(printed) == value


def test_json_on_a_stream_without_a_character_is_ascii(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    echo_json({"name": "größe"})
    sys.stdout.flush()
    assert json.loads(raw.getvalue()) == {"name": "größe"}


def test_a_control_character_in_a_cell_does_not_move_the_columns():
    assert format_table([["a", "b"], ["x\x1b", "1"]]) == ["a      b", r"x\x1b  1"]


def test_a_table_that_is_wider_than_the_terminal_becomes_a_paragraph_for_each_row(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    echo_table(ROWS)
    assert sys.stdout.getvalue().splitlines() == [
        "tiny-1b", "  size     1B", "  license  mit",
        "chat-70b", "  license  gemma",
    ]  # fmt: skip


def test_a_table_in_a_pipe_keeps_its_columns_at_any_width(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    echo_table(ROWS)
    assert capsys.readouterr().out.splitlines()[1] == "tiny-1b     1B      mit"


def test_what_the_library_logs_and_warns_of_is_one_line_on_stderr(capsys):
    with one_line_messages():
        logging.getLogger("tryage.chat").warning("%s\nfailed", "a\x1b")
        warnings.warn("No facts", stacklevel=1)
    assert capsys.readouterr().err == "tryage: a\\x1b failed\ntryage: No facts\n"


def test_after_a_command_the_library_logs_as_before():
    handlers, show = list(logging.getLogger("tryage").handlers), warnings.showwarning
    with one_line_messages():
        pass
    assert logging.getLogger("tryage").handlers == handlers
    assert warnings.showwarning is show


def test_progress_bars_are_for_terminals(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert shows_progress()
    with open(os.devnull, "w", encoding="utf-8") as log:  # noqa: PTH123 - a stream, not a file
        monkeypatch.setattr(sys, "stderr", log)
        assert not shows_progress()


@pytest.mark.parametrize("name", ["tryage.chat", "tryage_langchain.chat", "tryage_server.app"])
def test_messages_of_all_packages_of_a_server_look_alike(name, capsys):
    with one_line_messages():
        logging.getLogger(name).warning("A request failed.")
    assert capsys.readouterr().err == "tryage: A request failed.\n"
