"""Finds the question in a prompt that brings retrieved text along, so that the question decides.

A template of retrieval-augmented generation holds some pages and one line that asks. How hard the
prompt is depends on that line, but nearly all of its words are those of the pages. Templates name
their parts, and these names are read: labels such as "Question:", headings, and tags of XML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.perception.template_words import (
    ABOVE,
    ANSWER,
    ASKING,
    CLOSING,
    CONTEXT,
    LETTERS,
    PAGE,
    QUESTION,
    TASK,
    USER,
)
from tryage.perception.tokenizer import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_CONTEXT = 250  # characters of retrieved text; less hides no question

_MAX_INSTRUCTION = 1_200  # characters at the beginning, where a template mentions retrieved text

_MAX_ENDING = 400  # characters after the question, or of a last paragraph that asks

_MAX_SENTENCES = 700  # characters of a line that says what to do with retrieved text

_MAX_REST = 600  # characters of a question with its instructions that are read together

_KINDS = {
    "question": QUESTION,
    "context": CONTEXT,
    "page": PAGE,
    "user": USER,
    "answer": ANSWER,
}
_PAGE_KINDS = frozenset(("context", "page", "announcement"))

_MAX_NAME = 60  # characters
_MAX_NAME_WORDS, _MAX_PAGE_WORDS = 7, 2
_MAX_INFLECTION = 3  # characters of an ending
_MAX_UNSPACED_NAME = 12  # characters, of a script without spaces between words

_PUNCTUATION = " \t#*>-=[(<\"'"
_WORD = re.compile(r"[^\W\d_]+")
_LINE = re.compile(r"[^\n]+")
_COLON = "[:\uff1a]"
_NAME = re.compile(
    rf"(?P<marks>[ \t#>*_=\[({{\"'\-]*)(?P<name>[^\n:\uff1a<>{{}}\",;]{{1,{_MAX_NAME}}}?)"
    rf"(?P<closing>[ \t#*_=\])}}\"'\-]*)(?P<colon>{_COLON}[ \t*\"]*|$)"
)
# <context>...</context>, [CONTEXT]...[/CONTEXT] and [CONTEXT 0]: ... [END CONTEXT 0]
_SECTION = re.compile(
    r"[<\[](?P<name>[^\W\d_][^<>\[\]\n=]{0,40}?)(?: [^<>\[\]\n]*=[^<>\[\]\n]*)?[>\]]"
    r"(?P<inside>.*?)[<\[](?:/|END )(?P=name)[>\]]",
    re.IGNORECASE | re.DOTALL,
)
# [page 1 begin]...[page 1 end]
_NUMBERED = re.compile(r"\[(?P<name>[^\[\]\n]{1,40}) begin\].*?\[(?P=name) end\]", re.DOTALL)
# Text between two lines of the same marks, such as --- or triple quotes, or of >>> and <<<.
_FENCED = re.compile(
    r"^[ \t]*(?:(?P<rule>[^\w\s]{3,})\w*|[^\n]{0,40}[<>]{3}[^\n]{0,40})[ \t]*\n"
    r"(?P<inside>.*?)\n[ \t]*(?:(?P=rule)|[^\n<>]{0,40}[<>]{3}[^\n]{0,40})[ \t]*(?=\n|\Z|<\|)",
    re.MULTILINE | re.DOTALL,
)
_QUOTED_QUESTION = re.compile(
    rf"(?:question|query)[ \t]*{_COLON}[ \t]*(?P<mark>['\"])(?P<inside>[^\n]+?)(?P=mark)[ \t,.]",
    re.IGNORECASE,
)
# The turns of a person in chat templates: of Llama 3, ChatML, Gemma, Cohere and Mistral.
_USER_TURN = re.compile(
    r"(?:<\|start_header_id\|>user<\|end_header_id\|>|<\|im_start\|>user|<start_of_turn>user"
    r"|<\|USER_TOKEN\|>|\[INST\])"
    r"(.*?)(?:<\|eot_id\|>|<\|im_end\|>|<end_of_turn>|<\|END_OF_TURN_TOKEN\|>|\[/INST\]|\Z)",
    re.DOTALL,
)
_EMPTY_PART = re.compile(rf"\n[^\n:\uff1a]{{0,40}}{_COLON}[ \t]*\Z")
_BEGIN = "\nBegin!"  # of agents that think aloud: what stands before it explains the steps
_GAP = "\0"  # where retrieved text was


@dataclass(frozen=True, slots=True)
class _Label:
    """The name of a part of a template: where it starts, and where its part starts."""

    kind: str
    start: int
    end: int


def find_questions(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the questions of prompts that bring retrieved text along, and other prompts whole."""
    return tuple(map(find_question, prompts))


def find_question(prompt: str) -> str:
    """Return what a prompt asks, without the text that was retrieved for it.

    A prompt without a part that is named as retrieved text comes back as it is.
    """
    if len(prompt) < MIN_CONTEXT:
        return prompt
    text = excerpt(prompt).replace(_GAP, " ")
    turns = _USER_TURN.findall(text)
    asked = turns[-1] if turns else text
    if _mentions(asked[:_MAX_INSTRUCTION], (*CONTEXT, *PAGE)):
        asked = _question_of(asked) or asked
    question = asked.replace(_GAP, "").strip()
    is_shorter = len(question) <= len(text) - MIN_CONTEXT
    return question if question and is_shorter else prompt


def _mentions(text: str, stems: Sequence[str]) -> bool:
    folded = text.casefold()
    return any(stem in folded for stem in stems)  # faster than one pattern of all


def _question_of(text: str) -> str | None:
    """Return the part that asks, None if no part is named as retrieved text."""
    rest = _without_context(text.rpartition(_BEGIN)[2])
    labels = _labels(rest)
    is_named = _GAP in rest or _names_page(labels)
    if not is_named and not _is_announced(rest):
        return None
    quoted = _QUOTED_QUESTION.search(rest)
    if quoted:
        return quoted["inside"]
    asked = _part_named("question", rest, labels)
    if asked is None and is_named:
        asked = _part_named("user", rest, labels)
    if asked is None:
        asked = _ending(rest, is_named=is_named)
    return _outside(rest) if asked is None else asked


# Leaving out retrieved text that has an end -------------------------------------------------------


def _without_context(text: str) -> str:
    """Put a gap in the place of retrieved text between tags, rules, or sentences about it."""
    rest = _NUMBERED.sub(f"\n{_GAP}\n", _SECTION.sub(_replace_section, text))
    unfenced = _FENCED.sub(_replace_fenced, rest)
    if unfenced != rest and (_is_announced(rest) or _names_page(_labels(rest))):
        rest = unfenced
    return _without_announced(rest)


def _replace_section(section: re.Match[str]) -> str:
    """Leave out a section that is named as retrieved text; a question keeps a line for its name."""
    name = section["name"]
    if _mentions(name, (*CONTEXT, *PAGE)):
        return f"\n{_GAP}\n"
    is_question = _mentions(name, (*QUESTION, *USER))
    return f"\n{name}:\n{section['inside']}\n" if is_question else section[0]


def _replace_fenced(fenced: re.Match[str]) -> str:
    is_page = len(fenced["inside"]) >= MIN_CONTEXT
    return f"{_GAP}\n" if is_page else fenced[0]


def _without_announced(text: str) -> str:
    """Leave out what stands between a sentence that announces a page and one that closes it."""
    closing = next((line for line in _LINE.finditer(text) if _closes(line[0])), None)
    if closing is None:
        return text
    opening = next(
        (one for one in _labels(text[: closing.start()]) if one.kind in _PAGE_KINDS), None
    )
    return text if opening is None else f"{text[: opening.start]}{_GAP}\n{text[closing.end() :]}"


def _closes(line: str) -> bool:
    """Tell whether a sentence says that retrieved text ends."""
    begins = line.lstrip(_PUNCTUATION).casefold().startswith(ABOVE)
    return begins and len(line) <= _MAX_ENDING and _mentions(line, (*CONTEXT, *PAGE))


# Names of parts -----------------------------------------------------------------------------------


def _labels(text: str) -> list[_Label]:
    """Return the names of the parts of a template, in their order."""
    return list(_find_labels(text))


def _names_page(labels: Sequence[_Label]) -> bool:
    """Tell whether one of the names is that of retrieved text."""
    return any(label.kind in _PAGE_KINDS for label in labels)


def _find_labels(text: str) -> Iterator[_Label]:
    for line in _LINE.finditer(text):
        match = _NAME.match(line[0]) if _may_be_name(line[0]) else None
        kind = _kind_of(match, is_whole_line=match.end() == len(line[0])) if match else None
        if match and kind:
            yield _Label(kind, line.start(), line.start() + match.end())
        elif len(text) - line.end() >= MIN_CONTEXT and _announces(line[0]):
            yield _Label("announcement", line.end(), line.end())


def _may_be_name(line: str) -> bool:
    """Tell whether a line is worth a closer look: most lines of a page are not."""
    return len(line) <= _MAX_NAME or ":" in line[:_MAX_NAME] or "\uff1a" in line[:_MAX_NAME]


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
        if is_unspaced and _mentions(name, stems):
            return kind
    return None


def _is_name_of(words: Sequence[str], stems: tuple[str, ...], *, is_heading: bool) -> bool:
    """Tell whether a name of a few words ends, or plainly begins, with one of these words."""
    if not words or len(words) > _MAX_NAME_WORDS:
        return False
    counts = words if is_heading or words[-1] in CLOSING else words[-1:]
    return any(_is_form_of(word, stems) for word in counts if word.startswith(stems))


def _is_form_of(word: str, stems: tuple[str, ...]) -> bool:
    return any(word.startswith(stem) and len(word) <= len(stem) + _MAX_INFLECTION for stem in stems)


def _announces(line: str) -> bool:
    """Tell whether a sentence says that retrieved text comes next."""
    is_ending = line.rstrip().casefold().endswith((":", "\uff1a", "below.", "below"))
    is_sentence = is_ending and len(line) <= _MAX_INSTRUCTION
    return is_sentence and _mentions(line, CONTEXT) and not _closes(line)


def _is_announced(text: str) -> bool:
    """Tell whether a template says what to do with retrieved text."""
    return any(
        len(line) <= _MAX_SENTENCES and _mentions(line, CONTEXT) and _mentions(line, TASK)
        for line in text[:_MAX_INSTRUCTION].splitlines()
    )


# The part that asks -------------------------------------------------------------------------------


def _part_named(kind: str, text: str, labels: Sequence[_Label]) -> str | None:
    """Return the part that is named as the question, None if there is none.

    A page of questions and answers has such names, too. If none of them comes last, without an
    answer, it is the first one, before the page.
    """
    kinds = ["context" if one.kind in _PAGE_KINDS else one.kind for one in labels]
    if kind not in kinds:
        return None
    first, last = kinds.index(kind), len(kinds) - 1 - kinds[::-1].index(kind)
    if not _is_answered(text, labels[last:]):
        return _part(text, labels[last:], kind)
    is_before = _GAP in text[labels[first].start :] or "context" in kinds[first:]
    is_after = _GAP in text[: labels[first].start] or "context" in kinds[:first]
    return _part(text, labels[first:], kind) if is_before and not is_after else None


def _is_answered(text: str, labels: Sequence[_Label]) -> bool:
    """Tell whether text stands after the answer's name, or too much after the question."""
    stops = [one.start for one in labels[1:]] + [len(text)]
    if _names_page(labels) or len(text) - stops[0] > _MAX_ENDING:
        return True
    answers = (i for i, one in enumerate(labels) if one.kind == "answer")
    return any(text[labels[i].end : stops[i]].strip(" \t\n*#") for i in answers)


def _part(text: str, labels: Sequence[_Label], kind: str) -> str | None:
    stop = next((one.start for one in labels[1:] if one.kind != kind), len(text))
    part = text[labels[0].end : stop].partition(_GAP)[0].strip()
    return _EMPTY_PART.sub("", part) or None


def _ending(text: str, *, is_named: bool) -> str | None:
    """Return what stands after a name such as "A customer writes:" at the end of a text.

    Where no retrieved text is named, only the name can do so: "Use the context above to answer:".
    """
    lines = [line for line in text.splitlines() if line.strip()][-3:]
    for i in range(len(lines) - 1, -1, -1):
        name, colon, asked = lines[i].replace("\uff1a", ":").rpartition(": ")
        if not colon and lines[i].rstrip().endswith((":", "\uff1a")):
            name, asked = lines[i], "\n".join(lines[i + 1 :])
        is_asking = len(name) <= 2 * _MAX_NAME and _mentions(name, ASKING)
        if asked.strip() and is_asking and (is_named or _mentions(name, CONTEXT)):
            return asked
    return None


def _outside(text: str) -> str | None:
    """Return what stands around a gap, or after it if there are long instructions before it."""
    before, gap, after = text.rpartition(_GAP)
    if not gap:
        return None
    if len(before) + len(after) <= _MAX_REST:
        return before + after
    paragraph = after.strip().rpartition("\n\n")[2]
    return paragraph if 0 < len(paragraph) <= _MAX_ENDING else before + after
