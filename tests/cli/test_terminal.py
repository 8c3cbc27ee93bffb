"""What commands print: no control characters, and tables that fit the terminal."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings

import pytest

from tryage.cli.terminal import (
    echo,
    echo_table,
    escape_control_characters,
    format_table,
    one_line_messages,
    shows_progress,
)

ROWS = [["expert", "size", "license"], ["tiny-1b", "1B", "mit"], ["chat-70b", "-", "gemma"]]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("sequence", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),  # OSC 52 fills the clipboard
        ("\x1b[2J", r"\x1b[2J"),  # clears the screen
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb", r"a\rb"),  # overwrites the line
        ("\x9b2J", r"\x9b2J"),  # the same as ESC [
        ("\u202eevil", r"\u202eevil"),  # reverses the order of what follows
        ("\u2028", r"\u2028"),
    ],
)
def test_a_control_character_is_printed_as_an_escape(sequence, shown):
    assert escape_control_characters(sequence) == shown


def test_letters_of_any_language_tabs_and_newlines_are_printed_as_they_are():
    text = "Übung\t日本語\n日 ± … 🙂"
    assert escape_control_characters(text) == text


def test_every_character_that_moves_the_cursor_is_escaped():
    for code in (*range(0x20), *range(0x7F, 0xA0)):
        if chr(code) not in "\t\n":
            assert escape_control_characters(chr(code)).isprintable(), code


def test_a_stream_without_a_character_gets_an_escape(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    echo("0.07 ± 0.02")
    sys.stdout.flush()
    assert raw.getvalue() == b"0.07 \\xb1 0.02\n"


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
