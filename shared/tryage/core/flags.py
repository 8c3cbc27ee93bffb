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
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from tryage.core.flag_items import FlagItem, closest_form, parse_item
from tryage.core.preferences import Preferences
from tryage.errors import FlagError, InputError

# An adversary may write the prompt: these limits keep the work linear in its length.
MAX_ITEMS = 64
_MAX_BODY = 500  # characters
_MAX_WARNINGS = 5

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
    flags: tuple[str, ...] = ()  # the items as written, blanks collapsed
    warnings: tuple[str, ...] = ()


def extract_flags(prompt: str, *, strict: bool = False) -> FlagExtraction:
    """Remove the flags from a prompt and parse them; the grammar is the docstring of this module.

    A prompt without flags is returned unchanged. A malformed flag stays in the text and is named in
    `warnings`. Items after the first `MAX_ITEMS` are dropped, with a warning. The returned text has
    no valid flag: extracting from it again changes nothing. The work is linear in the length of the
    prompt.

    Raises:
        InputError: the prompt is not a string.
        FlagError: in strict mode, a malformed flag or too many items.
    """
    if not isinstance(prompt, str):
        raise InputError(f"A prompt is a string, got {type(prompt).__name__}. Join it to text.")
    if not _OPENING.search(prompt):
        return FlagExtraction(prompt)
    text, items = _strip_flags(prompt)
    warnings = [
        *_describe_malformed(text, 1 if strict else _MAX_WARNINGS),
        *_excess_warnings(items),
    ]
    if strict and warnings:
        raise FlagError(warnings[0])
    items = items[:MAX_ITEMS]
    preferences = _merge_items([item for _, item in items])
    written = tuple(as_written for as_written, _ in items)
    return FlagExtraction(text, preferences, written, tuple(warnings))


def _strip_flags(prompt: str) -> tuple[str, _ParsedItems]:
    """Return the text without its valid flags, and their items.

    One pass with a stack, because removing a flag may complete the bracket around it.
    """
    text = _TextBuilder()
    found: _ParsedItems = []
    opened: list[int] = []  # the pieces that are an open bracket
    for piece in filter(None, _BRACKETS.split(prompt)):
        text.add(piece)
        if piece == "[":
            opened.append(len(text.pieces) - 1)
        elif piece == "]" and opened:
            start = opened.pop()
            items = _parse_items("".join(text.pieces[start + 1 : -1]))
            if items is None:
                opened.clear()  # a bracket around one that stays is not a flag
            else:
                text.truncate(start)
                found.extend(items)
    return text.result(), found


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


def _merge_items(items: list[FlagItem]) -> Preferences:
    """Return the largest weight of each constraint and every requirement."""
    weights: dict[str, float] = {}
    if not any(item.prefers_accuracy for item in items):
        for name, weight in (item.weight for item in items if item.weight):
            weights[name] = max(weight, weights.get(name, 0.0))
    return Preferences(weights, [item.requirement for item in items if item.requirement])


def _describe_malformed(text: str, limit: int) -> list[str]:
    """Explain the first malformed flags that are left in the text, and count the others."""
    openings = [match.start() for match in _OPENING.finditer(text)]
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
    """The text so far; it closes the gap that a removed flag leaves, without joining words."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._gap: list[str] | None = None  # blanks on the left and on the right of the gap

    def add(self, piece: str) -> None:
        """Append a piece; blanks after a gap are held back until the next character is known."""
        if self._gap is not None:
            rest = piece.lstrip()
            self._gap[1] += piece[: len(piece) - len(rest)]
            if not rest:
                return
            self._close_gap(rest[0])
            piece = rest
        self.pieces.append(piece)

    def truncate(self, start: int) -> None:
        """Remove the pieces from `start` on and leave a gap."""
        del self.pieces[start:]
        blanks = ""
        while self.pieces and (kept := self.pieces[-1].rstrip()) != self.pieces[-1]:
            blanks = self.pieces.pop()[len(kept) :] + blanks
            if kept:
                self.pieces.append(kept)
        self._gap = [blanks, ""]

    def result(self) -> str:
        """Return the whole text."""
        if self._gap is not None:
            self._close_gap("")
        return "".join(self.pieces)

    def _close_gap(self, after: str) -> None:
        """Fill the gap with the right blank; `after` is the next character, "" at the end."""
        left, right = self._gap or ("", "")
        before = self.pieces[-1][-1] if self.pieces else ""
        self._gap = None
        if blank := _whitespace_after_removal(before, left, right, after):
            self.pieces.append(blank)


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
