"""Scores answers by their form: a short final answer, a regular expression, a JSON schema."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.scoring.scorers import requires_fields

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

    from tryage.scoring.measurement import Prompt

# "The answer is", "the output of the program is:" and the same in five more languages.
_ANNOUNCEMENT = re.compile(
    r"(?:\b(?:answer|output|result|antwort|ausgabe|ergebnis|réponse|sortie|résultat|respuesta|"
    r"salida|resultado|ответ|вывод|результат)\b[^\n.:=]{0,60}?(?:\b(?:is|ist|est|es|lautet|это)\b|"
    r"[:=—])|(?:答案|输出|结果)(?:应该)?(?:是|为|[:\uff1a])|(?:\\boxed\{|####))\s*:?\s*",
    re.IGNORECASE,
)

_MARKED = re.compile(r"\*\*(.+?)\*\*|(?<!`)`([^`\n]+)`(?!`)|\\boxed\{([^{}]+)\}")

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)

_OUTER = string.punctuation + string.whitespace + "。、«»「」『』\u2018\u2019\u201c\u201d\u201e"


@requires_fields("references")
def final_answer(prompt: Prompt, answer: str) -> float:
    """Score 1 if what an answer ends in is a reference, ignoring case and outer punctuation.

    It is the whole answer; else what follows the last announcement ("the answer is", "Antwort:");
    else the last block between ``` fences, the last text in bold or between backticks, or the last
    line.
    """
    accepted = {_normalize(reference) for reference in prompt.references}
    return float(_normalize(answer) in accepted or stated_answer(answer) in accepted)


@requires_fields("references")
def regular_expression(prompt: Prompt, answer: str) -> float:
    """Score 1 if the whole answer matches a reference, a regular expression.

    Spaces around the answer do not count, nor do ``` fences around the whole of it; upper and lower
    case do.

    Raises:
        InputError: a reference is no regular expression.
    """
    text = answer.strip()
    fence = _FENCE.fullmatch(text)
    text = fence.group(1).strip() if fence else text
    return float(any(_compile(pattern).fullmatch(text) for pattern in prompt.references))


@requires_fields("references")
def json_schema(prompt: Prompt, answer: str) -> float:
    """Score 1 if the JSON in an answer is valid under the first reference, a JSON schema.

    The last block between ``` fences counts, else the whole answer, else the last JSON object or
    array inside it. The schema is of draft 2020-12 unless its `$schema` says otherwise; it may not
    refer to other documents.

    Raises:
        InputError: the reference is no JSON schema.
        MissingExtraError: the package `jsonschema` is not installed.
    """
    validator = _validator(prompt.references[0])
    try:
        value = _find_json(answer)
    except (ValueError, RecursionError):  # no JSON, or JSON that is nested too deep to be read
        return 0.0
    return float(_is_valid(validator, value))


def stated_answer(answer: str) -> str:
    """Return what an answer ends in, as `final_answer` compares it."""
    return _normalize(_last_statement(answer))


def _last_statement(text: str) -> str:
    """Return the part of an answer that states its result."""
    announcements = list(_ANNOUNCEMENT.finditer(text))
    if announcements and (rest := text[announcements[-1].end() :].strip()):
        return _first_statement(rest)
    blocks = _FENCE.findall(text)
    if blocks:
        return str(blocks[-1])
    marked = [next(filter(None, groups)) for groups in _MARKED.findall(text)]
    return marked[-1] if marked else text.strip().rpartition("\n")[2]


def _first_statement(text: str) -> str:
    """Return what a text opens with: a fenced block, a marked text, or a line."""
    if fence := _FENCE.match(text):
        return fence.group(1)
    if marked := _MARKED.match(text):
        return str(next(filter(None, marked.groups())))
    return text.partition("\n")[0]


def _normalize(text: str) -> str:
    folded_text = unicodedata.normalize("NFKC", text).casefold()
    words = " ".join(folded_text.split())
    return re.sub(r"\s*([,;:|])\s*", r"\1", words).strip(_OUTER)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise InputError(f"{pattern!r:.80} is no regular expression: {error}.") from error


@lru_cache(maxsize=1024)
def _validator(schema_text: str) -> Validator:
    """Return a validator that reads no other document, from a schema in JSON."""
    require_extra("jsonschema", "onboard")
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    try:
        schema = json.loads(schema_text)
        validator_class = validator_for(schema, default=Draft202012Validator)
        validator_class.check_schema(schema)
    except (TypeError, ValueError, SchemaError) as error:
        raise InputError(f"{schema_text!r:.80} is no JSON schema: {error!s:.200}") from error
    return validator_class(schema, registry=Registry())


def _is_valid(validator: Validator, value: object) -> bool:
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator.is_valid(value))
    except Unresolvable as error:
        raise InputError(f"The schema refers to {error.ref!r:.80}, which is not in it.") from error


def _find_json(text: str) -> Any:  # noqa: ANN401 - JSON is any value
    """Return the JSON of an answer.

    Raises:
        ValueError: there is none.
    """
    blocks = _FENCE.findall(text)
    source = str(blocks[-1]) if blocks else text
    try:
        return json.loads(source, parse_constant=_refuse_constant)
    except ValueError:
        return _last_container(source)


def _last_container(text: str) -> Any:  # noqa: ANN401 - JSON is any value
    """Return the last JSON object or array in a text that is not inside another one."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    found: list[Any] = []
    position = 0
    while match := re.compile(r"[{\[]").search(text, position):
        try:
            value, position = decoder.raw_decode(text, match.start())
            found.append(value)
        except ValueError:  # noqa: PERF203 - each may be broken
            position = match.end()
    if not found:
        raise ValueError("no JSON")
    return found[-1]


def _refuse_constant(name: str) -> Any:  # noqa: ANN401 - it never returns
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is not JSON")
