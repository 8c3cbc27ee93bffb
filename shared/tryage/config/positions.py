"""The lines of the keys of a TOML text, which `tomllib` does not tell."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value is: keys of tables, and positions in arrays from 0."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_STRINGS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r'"""(?:\\.|[^\\])*?"{3,5}',
        r"'''.*?'{3,5}",
        r'"(?:\\.|[^"\\])*"',
        r"'[^']*'",
    )
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line of every key, table and element of an array, from 1.

    The text is valid TOML, which `tomllib` has read before.
    """
    return _Scanner(text).scan()


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of a value; of one that is missing, that of the table it belongs into."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


class _Scanner:
    """Walks through a text once, and notes where it meets each key."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._newlines = [i for i, letter in enumerate(text) if letter == "\n"]
        self._lines: dict[KeyPath, int] = {}
        self._n_tables: dict[KeyPath, int] = {}  # of each array of tables, so far

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_space():
            if self._looking_at("[["):
                table = self._header(2)
            elif self._looking_at("["):
                table = self._header(1)
            else:
                self._pair(table)
        return self._lines

    def _header(self, n_brackets: int) -> KeyPath:
        """Read `[table]` or `[[table]]`, and return where its keys belong."""
        start = self._at
        self._at += n_brackets
        *parents, name = self._key()
        self._at += n_brackets
        path: KeyPath = ()
        for parent in parents:
            path = self._last(self._note((*path, parent), start))
        path = self._note((*path, name), start)
        if n_brackets == 2:
            self._n_tables[path] = self._n_tables.get(path, 0) + 1
        return self._note(self._last(path), start)

    def _last(self, path: KeyPath) -> KeyPath:
        """Return the newest table of an array of tables; anything else as it is."""
        return (*path, self._n_tables[path] - 1) if path in self._n_tables else path

    def _pair(self, table: KeyPath) -> None:
        """Read `key = value`; a dotted key makes tables."""
        start, path = self._at, table
        for part in self._key():
            path = self._note((*path, part), start)
        self._at += 1  # the sign of equality
        self._skip_space()
        self._value(path)

    def _key(self) -> list[str]:
        """Read a key, and stop behind it and the space after it."""
        parts = []
        while True:
            self._skip_space()
            parts.append(self._key_part())
            self._skip_space()
            if not self._looking_at("."):
                return parts
            self._at += 1

    def _key_part(self) -> str:
        start = self._at
        if not self._looking_at('"') and not self._looking_at("'"):
            return self._take(_BARE_KEY)
        self._string()
        quoted = self._text[start : self._at]
        try:
            return str(json.loads(quoted)) if quoted[0] == '"' else quoted[1:-1]
        except ValueError:  # an escape that JSON has not
            return quoted[1:-1]

    def _value(self, path: KeyPath) -> None:
        if self._looking_at("["):
            self._array(path)
        elif self._looking_at("{"):
            self._inline_table(path)
        elif not self._string():
            self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        i = 0
        while self._skip_space() and not self._looking_at("]"):
            self._value(self._note((*path, i), self._at))
            i += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_space() and not self._looking_at("}"):
            self._pair(path)
            self._skip_comma()
        self._at += 1

    def _string(self) -> bool:
        """Read a string, if there is one."""
        for pattern in _STRINGS:
            match = pattern.match(self._text, self._at)
            if match:
                self._at = match.end()
                return True
        return False

    def _skip_comma(self) -> None:
        self._skip_space()
        if self._looking_at(","):
            self._at += 1

    def _skip_space(self) -> bool:
        """Skip space and comments; return whether there is more."""
        self._take(_SPACE)
        return self._at < len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        """Read what a pattern matches, at least one letter if it matches nothing but must."""
        match = pattern.match(self._text, self._at)
        found = "" if match is None else match.group()
        self._at += len(found) or (pattern is not _SPACE)
        return found

    def _looking_at(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _note(self, path: KeyPath, at: int) -> KeyPath:
        """Note the line of a path, unless it was met before."""
        self._lines.setdefault(path, bisect_right(self._newlines, at - 1) + 1)
        return path
