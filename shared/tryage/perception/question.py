"""Finds the question in a prompt that brings retrieved text along, so that the question decides.

A template of retrieval-augmented generation holds some pages and one line that asks. How hard the
prompt is depends on that line, but nearly all of its words are those of the pages. Templates name
their parts, and these names are read: labels such as "Question:", headings, and tags of XML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tryage.perception.retrieved_text import GAP, without_retrieved_text
from tryage.perception.template_labels import (
    COLONS,
    MAX_ENDING,
    MAX_INSTRUCTION,
    MIN_CONTEXT,
    Label,
    find_labels,
    is_announced,
    mentions,
)
from tryage.perception.template_words import ASKING, CONTEXT, RETRIEVED
from tryage.perception.tokenizer import excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_NAME = 120  # characters of a line before the question

_MAX_REST, _MAX_INSTRUCTIONS = 600, 1_800
"""Characters around retrieved text that are read as they are, and that a question may stand in."""

_BEGIN = "\nBegin!"  # of agents that think aloud: what stands before it explains the steps

_QUOTED_QUESTION = re.compile(
    r"(?:question|query)[ \t]*[:\uff1a][ \t]*(?P<mark>['\"])(?P<inside>[^\n]{1,400}?)(?P=mark)"
    r"[ \t,.]",
    re.IGNORECASE,
)
# The turns of a person in chat templates: of Llama 3, ChatML, Gemma, Cohere and Mistral.
_CHAT_TEMPLATE = re.compile(
    r"\s{0,9}(?:(?:<s>|<bos>|<\|begin_of_text\|>|<BOS_TOKEN>)\s{0,9})?(?:<\||<start_of_turn>|\[INST\])"
)
_USER_TURN = re.compile(
    r"(?:<\|start_header_id\|>user<\|end_header_id\|>|<\|im_start\|>user|<start_of_turn>user"
    r"|<\|USER_TOKEN\|>|\[INST\])"
    r"(.*?)(?:<\|eot_id\|>|<\|im_end\|>|<end_of_turn>|<\|END_OF_TURN_TOKEN\|>|\[/INST\]|\Z)",
    re.DOTALL,
)
# Tasks whose object is the text or the question itself. A sentence begins with the task.
_OTHER_TASK = re.compile(
    r"(?:^|[.!?:,]\s|\n\s*)(?:please |now |you are |your task is to |you must )*"
    r"(?:grade|grading|rate|score|judge|evaluate|rank|decompose|paraphrase|rephrase|proofread"
    r"|translate|improve|edit|verify|debug|resolve|convert)\b(?![ \t]*:)"
    r"|\b(?:impartial judge|a (?:judge|grader)|hallucination)",
    re.IGNORECASE,
)
_CODE = re.compile(r"```\w+\n.*?```", re.DOTALL)
_EMPTY_PART = re.compile(r"\n[^\n:\uff1a]{0,40}[:\uff1a][ \t]*\Z")


def find_questions(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the questions of prompts that bring retrieved text along, and other prompts whole."""
    return tuple(map(find_question, prompts))


def find_question(prompt: str) -> str:
    """Return what a prompt asks, without the text that was retrieved for it.

    A prompt without a part that is named as retrieved text comes back as it is.
    """
    if len(prompt) < MIN_CONTEXT:
        return prompt
    is_chat, may_name_page = _CHAT_TEMPLATE.match(prompt) is not None, _mentions_page(prompt)
    if not (is_chat or may_name_page):
        return prompt
    text = excerpt(prompt).replace(GAP, " ").replace("\r\n", "\n").replace("\r", "\n")
    turns = _USER_TURN.findall(text) if is_chat else []
    asked = turns[-1] if turns else text
    if _mentions_page(asked) if turns else may_name_page:
        asked = _question_of(asked) or asked
    question = asked.replace(GAP, "").strip()
    is_shorter = len(question) <= len(text) - MIN_CONTEXT
    return question if question and is_shorter and not _loses_code(text, question) else prompt


def _mentions_page(text: str) -> bool:
    """Tell whether the beginning of a text has a word of retrieved text; most texts do not."""
    return mentions(text[:MAX_INSTRUCTION], RETRIEVED)


def _loses_code(text: str, question: str) -> bool:
    """Tell whether most of a text is code that the question lacks: then the code is the task."""
    n_code = sum(len(block) for block in _CODE.findall(text))
    return 2 * n_code > len(text) and not _CODE.search(question)


def _question_of(text: str) -> str | None:
    """Return the part that asks, None if no part is named as retrieved text."""
    rest = without_retrieved_text(text.rpartition(_BEGIN)[2])
    labels = find_labels(rest)
    is_named = GAP in rest or _has_page(labels, len(rest))
    if not is_named and not is_announced(rest):
        return None
    if _OTHER_TASK.search(text[:MAX_ENDING]) or _OTHER_TASK.search(text[-MAX_ENDING:]):
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


def _has_page(labels: Sequence[Label], length: int) -> bool:
    """Tell whether a part that is named as retrieved text is as long as a page.

    It ends at the last question, since a page may hold questions of its own.
    """
    asking = [one.start for one in labels if one.kind in {"question", "user"}]
    for label in labels:
        stop = asking[-1] if asking and asking[-1] > label.end else length
        if label.names_page and stop - label.end >= MIN_CONTEXT:
            return True
    return False


def _part_named(kind: str, text: str, labels: Sequence[Label]) -> str | None:
    """Return the part that is named as the question, None if there is none.

    A page of questions and answers has such names, too. If none of them comes last, without an
    answer, it is the first one, before the page.
    """
    kinds = ["context" if one.names_page else one.kind for one in labels]
    if kind not in kinds:
        return None
    first, last = kinds.index(kind), len(kinds) - 1 - kinds[::-1].index(kind)
    while last and kinds[last - 1] == kind and _is_numbered(text, labels[last - 1]):
        last -= 1
    if not _is_answered(text, labels[last:]):
        return _part(text, labels[last:], kind)
    is_before = GAP in text[labels[first].start :] or "context" in kinds[first:]
    is_after = GAP in text[: labels[first].start] or "context" in kinds[:first]
    return _part(text, labels[first:], kind) if is_before and not is_after else None


def _is_numbered(text: str, label: Label) -> bool:
    return any(character.isdigit() for character in text[label.start : label.end])


def _is_answered(text: str, labels: Sequence[Label]) -> bool:
    """Tell whether text stands after the answer's name, or too much after the question."""
    stops = [one.start for one in labels[1:]] + [len(text)]
    if any(one.names_page for one in labels) or len(text) - stops[0] > MAX_ENDING:
        return True
    answers = (i for i, one in enumerate(labels) if one.kind == "answer")
    return any(text[labels[i].end : stops[i]].strip(" \t\n*#") for i in answers)


def _part(text: str, labels: Sequence[Label], kind: str) -> str | None:
    stop = next((one.start for one in labels[1:] if one.kind != kind), len(text))
    part = text[labels[0].end : stop].partition(GAP)[0].strip()
    return _EMPTY_PART.sub("", part) or None


def _ending(text: str, *, is_named: bool) -> str | None:
    """Return the end of a text from a line such as "A customer writes: is it in stock?".

    Where no retrieved text is named, only the line can do so: "Use the context above to answer:".
    """
    lines = [line for line in text.splitlines() if line.strip()][-3:]
    for i in range(len(lines) - 1, -1, -1):
        name, colon, asked = lines[i].replace(COLONS[1], ":").rpartition(": ")
        if not colon and lines[i].rstrip().endswith(COLONS):
            name, asked = lines[i], "\n".join(lines[i + 1 :])
        is_asking = len(name) <= _MAX_NAME and _has_word(name, ASKING)
        if asked.strip() and is_asking and (is_named or mentions(name, CONTEXT)):
            return "\n".join(lines[i:])
    return None


def _has_word(name: str, words: tuple[str, ...]) -> bool:
    """Tell whether a word of a name begins so; scripts without spaces have it anywhere."""
    folded = f" {name.casefold()}"
    return any(f" {word}" in folded or (not word.isascii() and word in folded) for word in words)


def _outside(text: str) -> str | None:
    """Return what stands around a gap, or after it if there are long instructions before it."""
    before, gap, after = text.rpartition(GAP)
    length = len(before) + len(after)
    if not gap or length > _MAX_INSTRUCTIONS:
        return None
    paragraph = after.strip().rpartition("\n\n")[2]
    is_question = length > _MAX_REST and 0 < len(paragraph) <= MAX_ENDING
    return paragraph if is_question else before + after
