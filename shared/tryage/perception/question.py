"""Finds the question in a prompt that brings retrieved text along, so that the question decides.

A template of retrieval-augmented generation holds some pages and one line that asks. How hard the
prompt is depends on that line, but nearly all of its words are those of the pages. Templates name
their parts, and these names are read: labels such as "Question:", headings, and tags of XML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.perception.tokenizer import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_CONTEXT = 250  # characters of retrieved text; less hides no question

_MAX_INSTRUCTION = 1_200  # characters at the beginning, where a template mentions retrieved text

_MAX_ENDING = 400  # characters after the question, or of a question without a name

# How the names of the parts of a template begin, in the languages of many users.
_CONTEXT = (
    *("context", "document", "passage", "excerpt", "chunk", "snippet", "article", "source"),
    *("retriev", "knowledge", "facts", "search result", "kontext", "dokument", "quelle"),
    *("auszug", "auszüg", "abschnitt", "wissen", "extrait", "fuente", "fragment", "fonte"),
    *("trecho", "contesto", "estratt", "bronnen", "контекст", "документ", "фрагмент"),
    *("bağlam", "belge", "문맥", "컨텍스트", "문서", "참고", "السياق", "المستند", "المقاطع"),
    *("وثائق", "संदर्भ", "दस्तावेज", "上下文", "已知信息", "参考", "资料", "文档", "知识"),
    *("コンテキスト", "文脈", "資料", "文書", "参考情報"),
)
_QUESTION = (
    *("question", "query", "queries", "frage", "requête", "pregunta", "consulta", "pergunta"),
    *("domanda", "vraag", "pytanie", "вопрос", "запрос", "soru", "질문", "السؤال", "سؤال"),
    *("प्रश्न", "सवाल", "问题", "提问", "質問"),
)
_USER = (
    *("user", "customer", "human", "nutzer", "benutzer", "kunde", "utilisateur", "client"),
    *("usuario", "usuário", "cliente", "utente", "gebruiker", "kullanıcı", "사용자", "用户"),  # noqa: RUF001 - Turkish
)
_ANSWER = (
    *("answer", "response", "reply", "output", "assistant", "antwort", "réponse", "respuesta"),
    *("resposta", "risposta", "antwoord", "odpowied", "ответ", "cevap", "yanıt", "답변"),  # noqa: RUF001 - Turkish
    *("الإجابة", "الجواب", "उत्तर", "जवाब", "答案", "回答"),
)
_ABOVE = re.compile(
    r"\W*(?:the )?(?:above|end of|oben|ci-dessus|arriba|acima|выше|上述|以上|上記)", re.IGNORECASE
)
_MAX_NAME = 60  # characters
_MAX_NAME_WORDS = 7
_MAX_INFLECTION = 3  # characters of an ending
_CLOSING_WORDS = frozenset(
    ("information", "message", "text", "follows", "input", "user", "below", "list")
)
_KINDS = {"question": _QUESTION, "context": _CONTEXT, "user": _USER, "answer": _ANSWER}
_MAX_UNSPACED_NAME = 12  # characters, of a script without spaces between words

_WORD = re.compile(r"[^\W\d_]+")
_LINE = re.compile(r"[^\n]+")
_COLON = "[:\uff1a]"
_NAME = re.compile(
    r"(?P<marks>[ \t#>*_=\[({\"'\-]*)(?P<name>[^\n:\uff1a<>{}\",;]{1,60}?)"
    rf"(?P<closing>[ \t#*_=\])}}\"'\-]*)(?P<colon>{_COLON}[ \t*\"]*|$)"
)
# <context>...</context>, [CONTEXT]...[/CONTEXT] and [CONTEXT 0]: ... [END CONTEXT 0]
_SECTION = re.compile(
    r"[<\[](?P<name>[^\W\d_][^<>\[\]\n=]{0,40}?)(?: [^<>\[\]\n]*=[^<>\[\]\n]*)?[>\]]"
    r"(?P<inside>.*?)[<\[](?:/|END )(?P=name)[>\]]",
    re.IGNORECASE | re.DOTALL,
)
_RULE = re.compile(r"\s*^[ \t]*(-{3,}|={3,}|#{3,}|\*{3,}|`{3}|\"{3}|'{3})\w*[ \t]*$", re.MULTILINE)
_EMPTY_PART = re.compile(rf"\n[^\n:\uff1a]{{0,40}}{_COLON}[ \t]*\Z")


@dataclass(frozen=True, slots=True)
class _Label:
    """The name of a part of a template: where it starts, and where its part starts."""

    kind: str
    start: int
    end: int


def find_questions(prompts: Sequence[str]) -> list[str]:
    """Return the questions of prompts that bring retrieved text along, and other prompts whole."""
    return [find_question(prompt) for prompt in prompts]


def find_question(prompt: str) -> str:
    """Return what a prompt asks, without the text that was retrieved for it.

    A prompt without a part that is named as retrieved text comes back as it is.
    """
    if len(prompt) < MIN_CONTEXT:
        return prompt
    text = excerpt(prompt)
    if not _mentions(text[:_MAX_INSTRUCTION], _CONTEXT):
        return prompt
    question = _question_of(text).strip()
    is_shorter = len(question) <= len(text) - MIN_CONTEXT
    return question if question and is_shorter else prompt


def _mentions(text: str, stems: Sequence[str]) -> bool:
    folded = text.casefold()
    return any(stem in folded for stem in stems)  # faster than one pattern of all


def _question_of(text: str) -> str:
    """Return the part that asks, or all but the retrieved text."""
    rest = _without_sections(text)
    rest = _without_context(rest, list(_labels(rest)))
    is_shorter = len(rest) < len(text)
    labels = list(_labels(rest))
    kinds = {label.kind for label in labels}
    if is_shorter or kinds & {"context"}:
        return _part_named("question", rest, labels) or _part_named("user", rest, labels) or rest
    if kinds & {"announcement"} or _is_announced(rest):
        return _part_named("question", rest, labels) or rest
    return text


def _without_sections(text: str) -> str:
    """Leave out the sections that are named as retrieved text; others keep a line for the name."""

    def replace(section: re.Match[str]) -> str:
        name = section["name"]
        if _mentions(name, _CONTEXT):
            return "\n"
        is_question = _mentions(name, (*_QUESTION, *_USER))
        return f"\n{name}:\n{section['inside']}\n" if is_question else section[0]

    return _SECTION.sub(replace, text)


def _labels(text: str) -> Iterator[_Label]:
    """Yield the names of the parts of a template, in their order."""
    for line in _LINE.finditer(text):
        match = _NAME.match(line[0]) if _may_be_name(line[0]) else None
        kind = _kind_of(match, is_whole_line=match.end() == len(line[0])) if match else None
        if match and kind:
            yield _Label(kind, line.start(), line.start() + match.end())
        elif len(line[0]) <= _MAX_ENDING and _announces(line[0]):
            yield _Label("announcement", line.end(), line.end())


def _may_be_name(line: str) -> bool:
    """Tell whether a line is worth a closer look: most lines of a page are not."""
    return len(line) <= _MAX_NAME or ":" in line[:_MAX_NAME] or "\uff1a" in line[:_MAX_NAME]


def _kind_of(match: re.Match[str], *, is_whole_line: bool) -> str | None:
    """Return the kind of the part that a line names, None if the line is plain text."""
    name, colon = match["name"], match["colon"]
    if name in {"Q", "q"} and colon:
        return "question"
    words = _WORD.findall(name.casefold())
    is_name = bool(colon) or (is_whole_line and (len(words) <= 2 or bool(match["marks"].strip())))
    if not is_name:
        return None
    is_unspaced = not name.isascii() and len(name) <= _MAX_UNSPACED_NAME
    for kind, stems in _KINDS.items():
        if _is_name_of(words, stems) or (is_unspaced and _mentions(name, stems)):
            return kind
    return None


def _is_name_of(words: Sequence[str], stems: tuple[str, ...]) -> bool:
    """Tell whether a name of a few words ends, or plainly begins, with one of these words."""
    if not words or len(words) > _MAX_NAME_WORDS:
        return False
    decisive = [words[-1]]
    if words[-1] in _CLOSING_WORDS:
        decisive += words[:-1]
    return any(
        word.startswith(stems)
        and any(len(word) <= len(stem) + _MAX_INFLECTION for stem in stems if word.startswith(stem))
        for word in decisive
    )


def _announces(line: str) -> bool:
    """Tell whether a sentence says that retrieved text comes next."""
    ending = line.rstrip().casefold()
    is_ending = ending.endswith((":", "\uff1a", "below.", "below"))
    return is_ending and _mentions(line, _CONTEXT) and not _ABOVE.match(line)


def _is_announced(text: str) -> bool:
    """Tell whether a template says what to do with retrieved text."""
    lines = text[:_MAX_INSTRUCTION].splitlines()
    return any(
        len(line) <= _MAX_ENDING
        and _mentions(line, _CONTEXT)
        and (_mentions(line, _QUESTION) or _mentions(line, _ANSWER))
        for line in lines
    )


def _without_context(text: str, labels: Sequence[_Label]) -> str:
    """Leave out the parts that are named as retrieved text and have a certain end."""
    parts, position = [], 0
    for label in labels:
        is_context = label.kind in {"context", "announcement"}
        end = _end_of_context(text, label.end) if is_context else None
        if end is not None and label.start >= position:
            parts.append(text[position : label.start])
            position = end
    return "\n".join([*parts, text[position:]])


def _end_of_context(text: str, start: int) -> int | None:
    """Return where retrieved text ends: a line like the one before it, or a sentence after it."""
    rule = _RULE.match(text, start)
    if rule:
        closing = re.compile(rf"^[ \t]*{re.escape(rule[1])}[ \t]*$", re.MULTILINE)
        found = closing.search(text, rule.end())
        return found.end() if found else None
    for line in _LINE.finditer(text, start):
        is_short = len(line[0]) <= _MAX_ENDING
        if is_short and _ABOVE.match(line[0]) and _mentions(line[0], _CONTEXT):
            return line.end()
    return None


def _part_named(kind: str, text: str, labels: Sequence[_Label]) -> str | None:
    """Return the part that is named as the question, None if there is none.

    If one stands before the retrieved text, it is that one; otherwise the last one, since a page
    of questions and answers has such names, too.
    """
    kinds = ["context" if one.kind == "announcement" else one.kind for one in labels]
    if kind not in kinds:
        return None
    first, last = kinds.index(kind), len(kinds) - 1 - kinds[::-1].index(kind)
    is_before = "context" in kinds[first:] and "context" not in kinds[:first]
    chosen = first if is_before else last
    stop = next((one.start for one in labels[chosen + 1 :] if one.kind != kind), len(text))
    if not is_before and len(text) - stop > _MAX_ENDING:
        return None  # what follows is no end of a template
    return _EMPTY_PART.sub("", text[labels[chosen].end : stop].strip()) or None
