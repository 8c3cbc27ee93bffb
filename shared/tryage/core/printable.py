"""Texts of others on terminals and in Markdown: control characters and markup become escapes."""

from __future__ import annotations

import re

# Control characters (C0 without tab and newline, DEL, C1) can clear a screen or fill the clipboard;
# line separators and bidirectional controls can hide what stands on a line. Of the characters that
# show nothing, those that join letters or emoji are left. Half of a surrogate pair is valid JSON,
# and in no encoding.
CONTROL_CHARACTERS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)

_MARKDOWN = re.compile(r"[\\`*<|]|\](?=[(\[])")

_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")
_NOT_ON_A_LINE = re.compile(f"[\t\n{CONTROL_CHARACTERS}]")


def escape_control_characters(text: str) -> str:
    r"""Return the text with every control character as a visible escape, such as `\x1b`."""
    return _CONTROL.sub(_escape, text)


def escape_line(text: str) -> str:
    r"""Return a text that stays on one line: tabs and newlines are escapes, too."""
    return _NOT_ON_A_LINE.sub(_escape, text)


def has_control_characters(text: str) -> bool:
    """Return whether a text cannot be shown on a line as it is; a tab or newline counts."""
    return _NOT_ON_A_LINE.search(text) is not None


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line or in a cell of a table."""
    return _MARKDOWN.sub(r"\\\g<0>", escape_line(text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
