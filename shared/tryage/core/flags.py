"""Flags in a prompt: find them, remove them from the text, and return what they ask for.

A flag is a bracket such as `[Flag: smallest model]` or `[Flag: size<3B, license=mit|apache-2.0]`.
Case does not count and blanks may stand between any two tokens.

    flag     = "[" "flag" ":" item { "," item } "]" ;              (* at most 500 characters *)
    item     = natural | weight | bound | words | since ;
    natural  = [ "the" ] phrase [ "model" | "expert" | "answer" | "one" | "llm" ] ;
    phrase   = "smallest" | "newest" | "cheapest" | "fastest" | "safest" | "most popular"
             | "concise" | "readable" | "most accurate" | synonym ;      (* NATURAL_PHRASES *)
    weight   = ( "size" | "recency" | "security" | "verbosity" | "readability" | "cost"
               | "latency" | "popularity" ) "=" decimal ;                (* 0 to 1000 *)
    bound    = ( "size" | "cost" | "latency" | "context" | "downloads" | "security"
               | "readability" | "verbosity" ) ( "<" | "<=" | ">" | ">=" ) number ;
    words    = ( "license" | "licence" | "model" ) "=" word { "|" word }  (* any of them *)
             | "needs" "=" capability { "|" capability } ;                (* all of them *)
    since    = "since" "=" year [ "-" month [ "-" day ] ] ;
    number   = [ "$" ] decimal [ unit ] ;
    decimal  = digits [ "." digits ] [ "e" [ "+" | "-" ] digits ] ;
    unit     = "k" | "m" | "b" | "t"       (* size, context, downloads, verbosity: 1e3 .. 1e12 *)
             | "s" | "ms" | "usd" ;        (* latency; cost *)
    word     = character { character } ;   (* none of , | [ ] < > = *)

A weight or a natural phrase sets how much a constraint counts; a phrase has the weight
`NATURAL_WEIGHT`. A bound, words or a date is a requirement. All flags of a prompt add up: the
largest weight of each constraint and every requirement. "most accurate" drops the weights that
the flags of the same prompt set. The result is meant for `Preferences.tightened`, so a flag can
never loosen the preferences of the operator.

A bracket is a flag as a whole or not at all: one malformed item leaves the bracket in the text,
with a warning, or raises `FlagError` in strict mode.

Flags are read at both ends of a prompt, in its first and its last `MAX_READ` characters. What
stands between is text, so the time does not grow with the length of the prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from tryage.core.flag_items import FlagItem, closest_form, parse_item
from tryage.core.preferences import Preferences
from tryage.errors import FlagError, InputError

if TYPE_CHECKING:
    from tryage.core.library import Library

# An adversary may write the prompt: these limits bound the work and what is kept of the text.
MAX_READ = 5_000  # characters at each end of a prompt
MAX_ITEMS = 64
_MAX_BODY = 500  # characters
_MAX_SHOWN = 80  # characters of an item
_MAX_WARNINGS = 3

# Both take linear time: blanks cannot match the characters around them.
_OPENING = re.compile(r"\[\s*flag\s*:", re.IGNORECASE)
_BODY = re.compile(r"\s*flag\s*:(.*)", re.IGNORECASE | re.DOTALL)
_BRACKETS = re.compile(r"([\[\]])")

_ParsedItems: TypeAlias = list[tuple[str, FlagItem]]  # each item as written, and its meaning


@dataclass(frozen=True, slots=True)
class FlagExtraction:
    """A prompt without its flags, and the preferences that the flags ask for."""

    text: str
    preferences: Preferences = field(default_factory=Preferences)
    flags: tuple[str, ...] = ()  # the items as written, printable, at most 80 characters each
    warnings: tuple[str, ...] = ()


def extract_flags(
    prompt: str, *, strict: bool = False, library: Library | None = None
) -> FlagExtraction:
    """Remove the flags from a prompt and parse them; the grammar is the docstring of this module.

    A prompt without flags is returned unchanged. A malformed flag stays in the text and is named in
    `warnings`. Items after the first `MAX_ITEMS` are dropped, with a warning. The returned text has
    no valid flag in the part that is read: if the prompt has at most twice `MAX_READ` characters,
    extracting from it again changes nothing.

    With a `library`, names and licences that none of its experts has are left out of the result and
    shown as "?", so that a flag carries no other text of the prompt into records.

    Raises:
        InputError: the prompt is not a string.
        FlagError: in strict mode, a malformed flag or too many items.
    """
    if not isinstance(prompt, str):
        raise InputError(f"A prompt is a string, got {type(prompt).__name__}. Join it to text.")
    head, tail = _read_parts(prompt)
    if not (_OPENING.search(prompt, 0, head.stop) or _OPENING.search(prompt, tail.start)):
        return FlagExtraction(prompt)
    text, items, openings = _strip_flags(prompt, head, tail)
    warnings = [
        *_describe_malformed(text, openings, 1 if strict else _MAX_WARNINGS),
        *_excess_warnings(items),
    ]
    if strict and warnings:
        raise FlagError(warnings[0])
    items = items[:MAX_ITEMS]
    if library is not None:
        items = [_without_unknown_words(*item, library) for item in items]
    written = tuple(_printable(as_written) for as_written, _ in items)
    return FlagExtraction(text, _merge_items([item for _, item in items]), written, tuple(warnings))


def _read_parts(prompt: str) -> tuple[slice, slice]:
    """Return the first and the last part of a prompt that are read, without an overlap.

    A bracket that the first part would cut belongs to the text between the parts.
    """
    n = len(prompt)
    if n <= 2 * MAX_READ:
        return slice(0, n), slice(n, n)
    opening = prompt.rfind("[", 0, MAX_READ)
    is_cut = opening >= 0 and prompt.find("]", opening, MAX_READ) < 0
    return slice(0, opening if is_cut else MAX_READ), slice(n - MAX_READ, n)


def _strip_flags(prompt: str, head: slice, tail: slice) -> tuple[str, _ParsedItems, list[int]]:
    """Return the text without its valid flags, their items, and where malformed flags open."""
    text, items = _TextBuilder(), list[tuple[str, FlagItem]]()
    _read_flags(prompt[head], text, items)
    n_head = len(text)
    text.add(prompt[head.stop : tail.start])
    text.keep()
    n_unread = len(text)
    _read_flags(prompt[tail], text, items)
    result = text.result()
    matches = (*_OPENING.finditer(result, 0, n_head), *_OPENING.finditer(result, n_unread))
    return result, items, [match.start() for match in matches]


def _read_flags(part: str, text: _TextBuilder, items: _ParsedItems) -> None:
    """Append a part of the prompt to `text` without its valid flags, and their items to `items`.

    One pass over the closing brackets, because removing a flag may complete the one around it.
    """
    *closed, rest = part.split("]")
    for piece in closed:
        text.add(piece + "]")
        start = text.end.rfind("[")
        found = _parse_items(text.end[start + 1 : -1]) if start >= 0 else None
        if found is None:
            text.keep()  # a bracket around one that stays is not a flag
        else:
            text.cut(start)
            items.extend(found)
    text.add(rest)


def _parse_items(body: str) -> _ParsedItems | None:
    """Return the items between two brackets, None if they are not a valid flag."""
    match = _BODY.fullmatch(body) if len(body) <= _MAX_BODY else None
    if match is None:
        return None
    items: _ParsedItems = []
    for written in match[1].split(","):
        item = parse_item(written)
        if item is None:
            return None
        items.append((" ".join(written.split()), item))
    return items


def _without_unknown_words(written: str, item: FlagItem, library: Library) -> tuple[str, FlagItem]:
    """Leave out the names and licences that no expert of the library has, and show them as "?"."""
    requirement = item.requirement
    if requirement is None or requirement.field not in ("name", "license"):
        return written, item
    vocabulary = library if requirement.field == "name" else library.known_licenses
    known = tuple(word for word in requirement.words if word in vocabulary)
    if known == requirement.words:
        return written, item
    shown = f"{written.partition('=')[0].strip()}={'|'.join((*known, '?'))}"
    return shown, FlagItem(requirement=replace(requirement, value=known))


def _printable(written: str) -> str:
    """Return an item without control characters, shortened."""
    text = "".join(char if char.isprintable() else "?" for char in written[:_MAX_SHOWN])
    return text + "..." if len(written) > _MAX_SHOWN else text


def _merge_items(items: list[FlagItem]) -> Preferences:
    """Return the largest weight of each constraint and every requirement."""
    weights: dict[str, float] = {}
    if not any(item.prefers_accuracy for item in items):
        for name, weight in (item.weight for item in items if item.weight):
            weights[name] = max(weight, weights.get(name, 0.0))
    return Preferences(weights, [item.requirement for item in items if item.requirement])


def _describe_malformed(text: str, openings: list[int], limit: int) -> list[str]:
    """Explain the first malformed flags that are left in the text, and count the others."""
    messages = [_explain_syntax_error(text, start) for start in openings[:limit]]
    if len(openings) > limit:
        messages.append(f"{len(openings) - limit} more malformed flags.")
    return messages


def _explain_syntax_error(text: str, start: int) -> str:
    """Explain why the flag that opens at `start` is malformed, with the nearest valid form."""
    body = _BRACKETS.split(text[start + 1 : start + 2 + _MAX_BODY], maxsplit=1)
    shown = f"[{body[0][:60]}{'...' if len(body[0]) > 60 else ''}"
    if len(body) == 1 and len(body[0]) > _MAX_BODY:
        return f"{shown!r} is longer than {_MAX_BODY} characters, so it is not a flag. Shorten it."
    if len(body) == 1 or body[1] == "[":
        return f"{shown!r} is not closed. Write it like [Flag: smallest model]."
    items = body[0].partition(":")[2].split(",")
    bad = next((item for item in items if parse_item(item) is None), "")
    return (
        f"{bad.strip()[:60]!r} in {shown + ']'!r} is not a flag."
        f" The nearest valid form is [Flag: {closest_form(bad)}]."
    )


def _excess_warnings(items: _ParsedItems) -> list[str]:
    """Return a warning if items are dropped."""
    if len(items) <= MAX_ITEMS:
        return []
    return [f"The prompt holds {len(items)} flags; only the first {MAX_ITEMS} count. Use fewer."]


class _TextBuilder:
    """The text so far; it closes the gap that a removed flag leaves, without joining words.

    `end` is the part that may still lose a flag; what stands before it is final.
    """

    def __init__(self) -> None:
        self.end = ""
        self._kept: list[str] = []
        self._n_kept = 0
        self._gap: list[str] | None = None  # blanks on the left and on the right of the gap

    def __len__(self) -> int:
        """Return the number of characters."""
        return self._n_kept + len(self.end)

    def add(self, piece: str) -> None:
        """Append a piece; blanks after a gap are held back until the next character is known."""
        if self._gap is not None:
            rest = piece.lstrip()
            self._gap[1] += piece[: len(piece) - len(rest)]
            if not rest:
                return
            self._close_gap(rest[0])
            piece = rest
        self.end += piece

    def keep(self) -> None:
        """Make the text final, without its last blanks, which a flag after them may remove."""
        kept = self.end.rstrip()
        if kept:
            self._kept.append(kept)
            self._n_kept += len(kept)
            self.end = self.end[len(kept) :]

    def cut(self, start: int) -> None:
        """Remove the `end` from `start` on and leave a gap."""
        text = self.end[:start]
        self.end = text.rstrip()
        self._gap = [text[len(self.end) :], ""]

    def result(self) -> str:
        """Return the whole text."""
        if self._gap is not None:
            self._close_gap("")
        return "".join((*self._kept, self.end))

    def _close_gap(self, after: str) -> None:
        """Fill the gap with the right blank; `after` is the next character, "" at the end."""
        left, right = self._gap or ("", "")
        before = self.end[-1:] or (self._kept[-1][-1] if self._kept else "")
        self._gap = None
        self.end += _whitespace_after_removal(before, left, right, after)


def _whitespace_after_removal(before: str, left: str, right: str, after: str) -> str:
    """Return the blank between the characters before and after a removed flag."""
    if not before:  # at the start, keep the indentation of the first line
        return right[right.rfind("\n") + 1 :] if "\n" in right else ""
    if not after:
        return right.lstrip(" \t") if "\n" in right else ""
    if "\n" in left + right:
        lines = max(right, left, key=lambda blanks: blanks.count("\n")).lstrip(" \t")
        indented = right if "\n" in right else left
        return lines[: lines.rfind("\n") + 1] + indented[indented.rfind("\n") + 1 :]
    if (not right and after in ",.;:!?)]") or (not left and before in "(["):
        return ""
    if left or right:
        return (left or right)[0]
    return " " if before.isalnum() and after.isalnum() else ""
