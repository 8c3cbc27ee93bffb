"""Texts of others cannot control a terminal, leave their line, or write Markdown."""

from __future__ import annotations

import re
import unicodedata

import pytest

from tryage.core.printable import (
    escape_control_characters,
    escape_line,
    escape_markdown,
    has_control_characters,
)


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
        ("\ud800", r"\ud800"),  # half of a pair, which no file and no terminal can hold
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


@pytest.mark.parametrize(
    "hidden",
    ["\u200b", "\u2060", "\ufeff", "\xad", "\U000e0041", "\u2066", "\ufff9", "\udc80"],
)
def test_a_character_that_shows_nothing_is_seen(hidden):
    assert escape_control_characters(f"gpt-4o{hidden}") != f"gpt-4o{hidden}"
    assert has_control_characters(hidden)


def test_of_all_format_characters_only_those_that_join_or_stand_for_a_sign_are_kept():
    kept = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in ("Cc", "Cf")]
    kept = [one for one in kept if not has_control_characters(one)]
    names = {unicodedata.name(one).split()[0] for one in kept}
    assert names <= {
        "ZERO", "ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN", "SHORTHAND", "MUSICAL",
    }  # fmt: skip
    assert [one for one in kept if unicodedata.name(one).startswith("ZERO")] == ["\u200c", "\u200d"]


def test_a_line_stays_one_line():
    assert escape_line("a\n| b\tc\r") == r"a\n| b\tc\r"


@pytest.mark.parametrize(
    "text",
    ["<script>", "[x](javascript:1)", "![x](//e)", "`a`", "*a*", "a|b", "a\n# b", "[a][b]"],
)
def test_markup_is_shown_and_not_obeyed(text):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    shown = markdown.render(f"- {escape_markdown(text)}")
    assert re.findall(r"<(\w+)", shown) == ["ul", "li"]  # the list alone
