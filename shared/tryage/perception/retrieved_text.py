"""Leaves out retrieved text that has a certain end: between tags, lines of marks, or sentences."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from tryage.perception.template_labels import (
    LINE,
    MIN_CONTEXT,
    closes,
    find_labels,
    is_announced,
    is_page_name,
    mentions,
)
from tryage.perception.template_words import QUESTION, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    Pair: TypeAlias = tuple[re.Match[str], re.Match[str]]
    Replacement: TypeAlias = Callable[[re.Match[str], str], str | None]

GAP = "\0"  # where retrieved text was

_PROSE = ("", "text", "txt", "markdown", "md")  # languages of a fence that holds no code

# <context> and </context>, [CONTEXT] and [/CONTEXT], [CONTEXT 0] and [END CONTEXT 0], [page 1
# begin] and [page 1 end]; the lengths are bounded, so that no text takes long.
_TAG = re.compile(
    r"[<\[](?P<close>/|END )?(?P<name>[^\W\d_][^<>\[\]\n=]{0,40}?)"
    r"(?: [^<>\[\]\n=]{0,40}=[^<>\[\]\n]{0,300})?[>\]]",
    re.IGNORECASE,
)
_FIRST, _LAST = " begin", " end"
# A line of one mark, three or more times, such as --- or triple quotes.
_RULE = re.compile(r"^[ \t]*(?P<rule>[^\w\s]{3,})(?P<language>\w*)[ \t]*$", re.MULTILINE)


def without_retrieved_text(text: str) -> str:
    """Put a gap in the place of retrieved text; a section of a question keeps its name."""
    rest = _without_sections(text)
    unfenced = _without_fenced(rest)
    if unfenced != rest and (is_announced(rest) or any(x.names_page for x in find_labels(rest))):
        rest = unfenced
    return _without_announced(rest)


def _without_sections(text: str) -> str:
    return _replaced(text, _sections(text), lambda tag, inside: _replacement(tag["name"], inside))


def _replaced(text: str, pairs: Iterable[Pair], replacement: Replacement) -> str:
    """Replace what stands from the first to the second of a pair of matches, both included.

    A pair stays for which the replacement is None, or that begins within one that was replaced.
    """
    parts, position = [], 0
    for opening, closing in pairs:
        new = replacement(opening, text[opening.end() : closing.start()])
        if new is not None and opening.start() >= position:
            parts += [text[position : opening.start()], new]
            position = closing.end()
    return "".join([*parts, text[position:]])


def _sections(text: str) -> Iterator[Pair]:
    """Yield the opening tag of each section and the next closing tag of its name."""
    openings, closings = [], defaultdict(list)
    for tag in _TAG.finditer(text):
        name = tag["name"].casefold()
        if tag["close"] or name.endswith(_LAST):
            closings[name.removesuffix(_LAST)].append(tag)
        else:
            openings.append((name.removesuffix(_FIRST), tag))
    for found in closings.values():
        found.reverse()
    for name, opening in openings:
        found = closings[name]
        while found and found[-1].start() < opening.end():
            found.pop()  # one of an earlier section
        if found:
            yield opening, found[-1]


def _replacement(name: str, inside: str) -> str | None:
    """Return what stands for a section: a gap for retrieved text, None for one that stays."""
    if is_page_name(name) or name.casefold().endswith(_FIRST):
        return f"\n{GAP}\n"
    return f"\n{name}:\n{inside}\n" if mentions(name, (*QUESTION, *USER)) else None


def _without_fenced(text: str) -> str:
    """Put gaps in the place of long texts between two lines of the same mark; code stays."""

    def gap(opening: re.Match[str], inside: str) -> str | None:
        is_page = len(inside) >= MIN_CONTEXT and opening["language"].casefold() in _PROSE
        return f"{GAP}\n" if is_page else None

    return _replaced(text, _fences(text), gap)


def _fences(text: str) -> Iterator[Pair]:
    """Yield pairs of lines of the same mark, in their order; no line is in two pairs."""
    rules, end = list(_RULE.finditer(text)), -1
    following: dict[str, int] = {}
    next_index: dict[int, int] = {}
    for i in range(len(rules) - 1, -1, -1):
        mark = rules[i]["rule"].replace("<", ">")  # >>> is closed by <<<
        if mark in following:
            next_index[i] = following[mark]
        if not rules[i]["language"]:
            following[mark] = i
    for i, opening in enumerate(rules):
        if i > end and i in next_index:
            end = next_index[i]
            yield opening, rules[end]


def _without_announced(text: str) -> str:
    """Leave out what stands between a sentence that announces a page and one that closes it."""
    closing = next((line for line in LINE.finditer(text) if closes(line[0])), None)
    if closing is None:
        return text
    opening = next((one for one in find_labels(text[: closing.start()]) if one.names_page), None)
    return text if opening is None else f"{text[: opening.start]}{GAP}\n{text[closing.start() :]}"
