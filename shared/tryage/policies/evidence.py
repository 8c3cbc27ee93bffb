"""What an answer tells about itself: its parts, and the verifiers that read a number from them."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from tryage.core.validation import check_integer, check_number, preview
from tryage.errors import InputError
from tryage.policies.agreement import same_answer
from tryage.policies.likelihood import Likelihood
from tryage.scoring.formats import json_schema
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import ScoreResult, extract_code

CUT_OFF_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
"""The words of providers, in lower case, for an answer that was cut off by its limit of tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvidence:
    """The answer of one expert, as far as it tells whether it is right. Everything may be unknown.

    `question` is what was asked, `text` the answer. `log_probabilities` are those of its tokens, in
    nats, and `top_log_probabilities` those of the most likely tokens at each place, the highest
    first. `tool_calls` are the tools called, each with "name" and "args". `parsed` is the
    structured output, `parsing_error` says why there is none although one was asked for.
    `finish_reason` is the provider's word, such as "stop" or "length". `samples` are the answers
    that were asked for at the same time, of this expert or of others.
    """

    text: str | None = None
    log_probabilities: tuple[float, ...] | None = None
    top_log_probabilities: tuple[tuple[float, ...], ...] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    parsed: object = None
    parsing_error: str | None = None
    finish_reason: str | None = None
    question: str | None = None
    samples: tuple[AnswerEvidence, ...] = ()


class Reading(NamedTuple):
    """What a verifier has read from an answer: a number, higher for better ones, None for nothing.

    `cost` is the USD of what was called for it, such as a judge, None where unknown.
    """

    value: float | None
    cost: float | None = 0.0


class Verifier:
    """The base of what reads a number from an answer; a cascade says how much the number tells.

    `samples` is how many more answers of the same expert it needs, `needs_log_probabilities` says
    that it reads those. `cost` in USD and `seconds` are what it takes itself beside these, as far
    as a cascade has to count on it. `likelihood` is how much its numbers tell until a cascade is
    calibrated, None if it takes labelled answers to say.
    """

    samples: int = 0
    needs_log_probabilities: bool = False
    cost: float = 0.0
    seconds: float = 0.0
    likelihood: Likelihood | None = None

    def read(self, answer: AnswerEvidence) -> Reading:
        """Return what the answer tells. Several threads may call it at once."""
        raise NotImplementedError

    def is_complete(self, answer: AnswerEvidence) -> bool:  # noqa: ARG002 - subclasses read it
        """Return whether the beginning of an answer gives the same number as the whole answer."""
        return False


class LogProbability(Verifier):
    """The mean log probability of the answer's tokens, or how clearly the first token won.

    Without log probabilities from the client there is no evidence.

    Args:
        margin: Read the mean difference of the two most likely tokens' log probabilities in place
            of the mean log probability, as for a choice among letters.
        tokens: Read this many tokens at the beginning only: from there a stream can go on.

    Raises:
        InputError: `tokens` is no whole number from 1.
    """

    needs_log_probabilities = True

    def __init__(self, *, margin: bool = False, tokens: int | None = None) -> None:
        self.margin = margin
        self.tokens = None if tokens is None else check_integer("tokens", tokens, 1)

    def read(self, answer: AnswerEvidence) -> Reading:
        """Return the mean over the tokens, in nats."""
        values = self._values(answer)
        known = [value for value in values[: self.tokens] if math.isfinite(value)]
        return Reading(sum(known) / len(known) if known else None)

    def _values(self, answer: AnswerEvidence) -> list[float]:
        if not self.margin:
            return list(answer.log_probabilities or ())
        places = answer.top_log_probabilities or ()
        return [best - second for best, second, *_ in (row for row in places if len(row) > 1)]

    def is_complete(self, answer: AnswerEvidence) -> bool:
        """Return whether all tokens that count have come."""
        return self.tokens is not None and len(self._values(answer)) >= self.tokens


Agree: TypeAlias = Callable[[str, str], bool]
"""Says whether two answers say the same."""


class Agreement(Verifier):
    """The share of further samples that say the same as the answer; tool calls count as texts.

    Args:
        samples: How many answers there are in all; each one is billed.
        agree: Says whether two answers say the same. By default they end in the same statement,
            number or letter of a choice (`same_answer`), so it suits short results, not essays.

    Raises:
        InputError: fewer than 2 samples, or `agree` is no function.
    """

    likelihood = Likelihood((0.5,), right=(0.15, 0.85), wrong=(0.6, 0.4))

    def __init__(self, samples: int = 2, agree: Agree = same_answer) -> None:
        self.samples = check_integer("samples", samples, 2) - 1
        if not callable(agree):
            raise InputError(f"agree is {preview(agree)}; expected a function of two answers.")
        self.agree = agree

    def read(self, answer: AnswerEvidence) -> Reading:
        """Return the share, None if no sample came."""
        texts = [text for one in answer.samples if (text := said(one)) is not None]
        own = said(answer)
        if own is None or not texts:
            return Reading(None)
        return Reading(sum(bool(self.agree(own, text)) for text in texts) / len(texts))


def said(answer: AnswerEvidence) -> str | None:
    """Return what an answer says as one text: its tool calls or parsed object, else its text."""
    if answer.tool_calls:
        calls = [{"name": one.get("name"), "args": one.get("args")} for one in answer.tool_calls]
        return json.dumps(calls, sort_keys=True, default=str)
    if answer.parsed is not None:
        return json.dumps(answer.parsed, sort_keys=True, default=_plain)
    return answer.text


def _plain(value: object) -> Any:  # noqa: ANN401 - what JSON can hold
    """Return an object that JSON cannot hold as fields, or as a text: pydantic's models."""
    fields = getattr(value, "__dict__", None)
    return fields or str(value)


Check: TypeAlias = Callable[[AnswerEvidence], "bool | float | None"]


class FormatCheck(Verifier):
    """Whether the answer has a valid form: 1 or 0. An answer cut off at its length is not valid.

    Args:
        check: "json"; "python", code that parses; a JSON schema as a mapping; or a function of the
            answer's `AnswerEvidence` that returns whether it is valid. None checks what there is:
            a structured output has to be parsed, a text must not be empty.

    Raises:
        InputError: another `check`.
    """

    likelihood = Likelihood((0.5,), right=(0.01, 0.99), wrong=(0.25, 0.75))

    def __init__(self, check: str | Mapping[str, Any] | Check | None = None) -> None:
        self.check = check
        self._is_valid = _format_check(check)

    def read(self, answer: AnswerEvidence) -> Reading:
        """Return 1 if the answer is valid, else 0."""
        reason = (answer.finish_reason or "").casefold()
        is_whole = reason not in CUT_OFF_REASONS and reason != "content_filter"
        if not is_whole or answer.parsing_error is not None:
            return Reading(0.0)
        valid = self._is_valid(answer)
        return Reading(None if valid is None else float(valid))


def _format_check(check: object) -> Check:
    if check is None:
        return _is_there
    if isinstance(check, str) and check in _CHECKS:
        return _CHECKS[check]
    if isinstance(check, Mapping):
        return _SchemaCheck(json.dumps(check))
    if callable(check):
        return check
    raise InputError(
        f"FormatCheck got {preview(check)}; expected 'json', 'python', a JSON schema as a mapping, "
        "or a function of the answer."
    )


def _is_there(answer: AnswerEvidence) -> bool:
    return bool(answer.tool_calls) or answer.parsed is not None or bool((answer.text or "").strip())


def _is_json(answer: AnswerEvidence) -> bool:
    if answer.parsed is not None or answer.tool_calls:
        return True
    return _SchemaCheck("{}")(answer)


def _is_python(answer: AnswerEvidence) -> bool:
    try:
        return bool(ast.parse(extract_code(answer.text or "")).body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # all of them come from a text
        return False


_CHECKS: Mapping[str, Check] = {"json": _is_json, "python": _is_python}


@dataclass(frozen=True, slots=True)
class _SchemaCheck:
    """Whether an answer's JSON is valid under a schema."""

    schema: str

    def __call__(self, answer: AnswerEvidence) -> bool:
        text = said(answer) or ""
        return bool(json_schema(Prompt("the answer", references=(self.schema,)), text))


JudgeFunction: TypeAlias = Callable[[str, str], "ScoreResult | float | bool | None"]


class Judge(Verifier):
    """The score that a judge gives: a function of the question and the answer, from 0 to 1.

    The function may return a `ScoreResult` with what it has cost, or None if it cannot tell.
    `tryage.onboarding.judge.RatingJudge` asks a model; AutoMix lets the answering model judge.

    Args:
        function: The judge.
        cost: The USD that one judgement costs as a rule, which the cascade weighs.
        seconds: How long it takes.

    Raises:
        InputError: no function, or a negative number.
    """

    likelihood = Likelihood((0.5,), right=(0.25, 0.75), wrong=(0.6, 0.4))

    def __init__(self, function: JudgeFunction, *, cost: float, seconds: float = 0.0) -> None:
        if not callable(function):
            raise InputError(
                f"Judge got {preview(function)}; expected a function of the question and the "
                "answer that returns a score from 0 to 1."
            )
        self.function = function
        self.cost, self.seconds = check_number("cost", cost), check_number("seconds", seconds)

    def read(self, answer: AnswerEvidence) -> Reading:
        """Return the score and what it cost."""
        text = said(answer)
        value = None if text is None else self.function(answer.question or "", text)
        if value is None:
            return Reading(None)
        result = ScoreResult.from_value(value)
        return Reading(result.score, result.cost)


class AnswerTest(Verifier):
    """What a test of the answer says: a function of its `AnswerEvidence`, True, False or a score.

    Args:
        function: The test, such as one that runs unit tests; None means that it cannot tell.
        cost: The USD that it costs.
        seconds: How long it takes.

    Raises:
        InputError: no function, or a negative number.
    """

    likelihood: Likelihood | None = Likelihood((0.5,), right=(0.05, 0.95), wrong=(0.85, 0.15))

    def __init__(self, function: Check, *, cost: float = 0.0, seconds: float = 0.0) -> None:
        if not callable(function):
            raise InputError(f"AnswerTest got {preview(function)}; expected a function.")
        self.function = function
        self.cost, self.seconds = check_number("cost", cost), check_number("seconds", seconds)

    def read(self, answer: AnswerEvidence) -> Reading:
        """Return what the test says, as a number."""
        value = self.function(answer)
        return Reading(None if value is None else ScoreResult.from_value(value).score)
