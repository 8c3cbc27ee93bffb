"""Finds the names that a template gives to its parts, such as `Context:` and `### Question`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tryage.perception.template_words import (
    ABOVE,
    ANSWER,
    CONTEXT,
    LETTERS,
    PAGE,
    QUESTION,
    RETRIEVED,
    TASK,
    TRAILING,
    USER,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_CONTEXT = 250  # characters of retrieved text; less hides no question

MAX_INSTRUCTION = 1_200  # characters at the beginning, where a template mentions retrieved text

MAX_ENDING = 400  # characters after a question, or of a last paragraph that asks

COLONS = (":", "\uff1a")

LINE = re.compile(r"[^\n]+")

_KINDS = {
    "question": QUESTION,
    "context": CONTEXT,
    "page": PAGE,
    "user": USER,
    "answer": ANSWER,
}
_PAGE_KINDS = frozenset(("context", "page", "announcement"))

_MAX_SENTENCES = 700  # characters of a line that says what to do with retrieved text
_MAX_NAME = 60  # characters
_MAX_NAME_WORDS, _MAX_PAGE_WORDS = 7, 2
_MAX_INFLECTION = 3  # characters of an ending
_MAX_UNSPACED_NAME = 12  # characters, of a script without spaces between words

_PUNCTUATION = " \t#*>-=[(<\"'"
_WORD = re.compile(r"[^\W\d_]+")
_NAME = re.compile(
    rf"(?P<marks>[ \t#>*_=\[({{\"'\-]*)(?P<name>[^\n:\uff1a<>{{}}\",;]{{1,{_MAX_NAME}}}?)"
    r"(?P<closing>[ \t#*_=\])}\"'\-]*)(?P<colon>[:\uff1a][ \t*\"]*|$)"
)


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a part of a template: where it starts, and where its part starts.

    `kind` is "question", "context", "page", "user" or "answer", or "announcement" of a sentence
    that says that retrieved text comes next.
    """

    kind: str
    start: int
    end: int

    @property
    def names_page(self) -> bool:
        """Whether the part is retrieved text."""
        return self.kind in _PAGE_KINDS


def mentions(text: str, words: tuple[str, ...]) -> bool:
    """Tell whether a text has one of some beginnings of words, anywhere."""
    folded = text.casefold()
    possible = _ascii_words(words) if text.isascii() else words
    return any(map(folded.__contains__, possible))  # faster than one pattern of all


@cache
def _ascii_words(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in words if word.isascii())


def is_page_name(name: str) -> bool:
    """Tell whether a tag has the name of retrieved text; names of code have dots and colons."""
    if "." in name or ":" in name:
        return False
    if not name.isascii():
        return mentions(name, RETRIEVED)
    return any(_is_form_of(word, RETRIEVED) for word in _WORD.findall(name.casefold()))


def find_labels(text: str) -> list[Label]:
    """Return the names of the parts of a template, in their order."""
    return list(_iterate_labels(text))


def _iterate_labels(text: str) -> Iterator[Label]:
    for line in LINE.finditer(text):
        match = _NAME.match(line[0]) if _may_be_name(line[0]) else None
        kind = _kind_of(match, is_whole_line=match.end() == len(line[0])) if match else None
        if match and kind:
            yield Label(kind, line.start(), line.start() + match.end())
        elif len(text) - line.end() >= MIN_CONTEXT and _announces(line[0]):
            yield Label("announcement", line.end(), line.end())


def _may_be_name(line: str) -> bool:
    """Tell whether a line is worth a closer look: most lines of a page are not."""
    return len(line) <= _MAX_NAME or any(colon in line[:_MAX_NAME] for colon in COLONS)


def _kind_of(match: re.Match[str], *, is_whole_line: bool) -> str | None:
    """Return the kind of the part that a line names, None if the line is plain text."""
    name, colon = match["name"], match["colon"]
    if colon and name.casefold() in LETTERS:
        return LETTERS[name.casefold()]
    words, is_heading = _WORD.findall(name.casefold()), "#" in match["marks"]
    if not (colon or (is_whole_line and (len(words) <= 2 or match["marks"].strip()))):
        return None
    is_unspaced = not name.isascii() and len(name) <= _MAX_UNSPACED_NAME
    for kind, stems in _KINDS.items():
        is_short = kind != "page" or len(words) <= _MAX_PAGE_WORDS
        if is_short and _is_name_of(words, stems, is_heading=is_heading):
            return kind
        if is_unspaced and mentions(name, stems):
            return kind
    return None


def _is_name_of(words: Sequence[str], stems: tuple[str, ...], *, is_heading: bool) -> bool:
    """Tell whether a name of a few words ends, or plainly begins, with one of these words."""
    if not words or len(words) > _MAX_NAME_WORDS:
        return False
    counts = words if is_heading or words[-1] in TRAILING else words[-1:]
    return any(_is_form_of(word, stems) for word in counts)


def _is_form_of(word: str, stems: tuple[str, ...]) -> bool:
    return word.startswith(stems) and any(
        word.startswith(stem) and len(word) <= len(stem) + _MAX_INFLECTION for stem in stems
    )


def _announces(line: str) -> bool:
    """Tell whether a sentence says that retrieved text comes next."""
    is_ending = line.rstrip().casefold().endswith((*COLONS, "below.", "below"))
    is_sentence = is_ending and len(line) <= MAX_INSTRUCTION
    return is_sentence and mentions(line, CONTEXT) and not closes(line)


def closes(line: str) -> bool:
    """Tell whether a sentence says that retrieved text ends before it."""
    begins = line.lstrip(_PUNCTUATION).casefold().startswith(ABOVE)
    return begins and len(line) <= MAX_ENDING and mentions(line, RETRIEVED)


def is_announced(text: str) -> bool:
    """Tell whether a template says what to do with retrieved text."""
    return any(
        len(line) <= _MAX_SENTENCES and mentions(line, CONTEXT) and mentions(line, TASK)
        for line in text[:MAX_INSTRUCTION].splitlines()
    )
