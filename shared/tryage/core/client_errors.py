"""Errors of model clients: whether another model may answer, and when to ask again.

Errors are recognised by what they carry (status, body, message, causes), so no client library has
to be installed: openai, anthropic, google, groq, mistral, ollama, boto, httpx, and LangChain and
LlamaIndex around them. The words of providers are in `error_phrases.py`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from tryage.core.error_phrases import ErrorScope, scope_of_words
from tryage.errors import AttemptTimeoutError, DeadlineExceededError, InvalidAnswerError

# The request itself is refused: every model would refuse it.
_REFUSED_STATUS = frozenset({400, 405, 406, 411, 415, 422, 451})
_REFUSED_NAMES = ("BadRequest", "InvalidRequest", "InvalidArgument", "UnprocessableEntity")
_REFUSED_CODE = "invalid_request_error"  # in a stream, where there is no status

_TOO_LARGE_STATUS = 413

# A content filter judged the request, or the answer was cut off: no other model may be tried.
_CONTENT_ERROR_NAMES = ("ContentFilter", "ContentPolicy", "LengthFinishReason", "StopCandidate")

# The context is too short: another model may have a longer one.
_CONTEXT_LENGTH_NAMES = ("ContextOverflow", "ContextWindowExceeded")

# LangGraph pauses a graph by raising this.
_CONTROL_FLOW_NAMES = ("GraphBubbleUp",)

# Transport errors that some libraries derive from ValueError and similar classes.
_TRANSPORT_NAMES = (
    "Timeout",
    "Connection",
    "RateLimit",
    "Overloaded",
    "Unavailable",
    "JSONDecode",
    "UnicodeDecode",
    "UnknownApiResponse",  # Google's for a stream that is no JSON
)

_PROGRAMMING_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    NameError,
)

# Python's words for a call with wrong arguments: these are a mistake wherever they are raised.
_WRONG_ARGUMENTS = re.compile(
    r"unexpected keyword argument|missing \d+ required|takes .* argument|not JSON serializable"
)

# Installed packages that check values or retry for others: their caller raised the error.
_HELPER_PACKAGES = frozenset({"pydantic", "pydantic_core", "tenacity"})
_OWN_PACKAGES = frozenset({"tryage", "tryage_langchain", "tryage_llamaindex"})
_INSTALLED_FOLDERS = ("site-packages", "dist-packages")

_MAX_CAUSES = 8  # a cycle of causes ends

# Where providers put codes and messages; all else may echo the prompt.
_CONTAINER_KEYS = (
    *("error", "Error", "innererror", "details", "detail", "errors", "metadata", "raw"),
    "message",  # Mistral puts an object there
)
_CODE_KEYS = ("code", "Code", "type", "status", "reason", "error_type")
_MESSAGE_KEYS = ("Message", "msg", *_CONTAINER_KEYS)

_RESET_HEADER = re.compile(r"(?:x|anthropic)-ratelimit-(?:reset-)?(\w[\w-]*?)(?:-reset)?")
_DURATION_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def should_fall_back(error: BaseException, *, unverified: bool = False) -> bool:
    """Return whether the next model may be tried after this error of a model.

    True for errors that concern one model: timeouts, rate limits, failed servers, a refused key or
    account, an unknown model, an input that is too long, an unsupported parameter, an answer that
    is no answer. False for malformed messages, a content filter, and mistakes in the program.
    `unverified` means that the model is not known to meet the requirements: then it may refuse a
    request that the next model accepts.
    """
    scope = error_scope(error)
    return scope in (ErrorScope.MODEL, ErrorScope.PAIR) or (
        unverified and scope is ErrorScope.REQUEST
    )


def marks_unhealthy(error: BaseException) -> bool:
    """Return whether the model will probably fail for the next request, too."""
    return error_scope(error) is ErrorScope.MODEL


def error_scope(error: BaseException) -> ErrorScope:
    """Return what an error concerns: the model, this request to this model, or the request."""
    own_scope = _scope_of_own_error(error)
    if own_scope is not None:
        return own_scope
    evidence = _Evidence.of(error)
    if evidence.has_name(_CONTENT_ERROR_NAMES):
        return ErrorScope.FINAL
    scope = scope_of_words(evidence.codes, "\n".join(evidence.messages))
    if scope is None and evidence.has_name(_CONTEXT_LENGTH_NAMES):
        return ErrorScope.PAIR
    return scope or _scope_without_words(error, evidence)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error, None if it has none, for errors of any client library."""
    response = _attribute(error, "response")
    if isinstance(response, Mapping):  # boto
        response = response.get("ResponseMetadata", {})
        values = [response.get("HTTPStatusCode") if isinstance(response, Mapping) else None]
    else:
        values = [_attribute(error, name) for name in ("status_code", "status", "http_status")]
        values += [_attribute(response, "status_code"), _attribute(error, "code")]
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return int(value)
    return None


def retry_after(error: BaseException) -> float | None:
    """Return the seconds after which the provider allows the next request, None if unknown.

    Read from `Retry-After` (seconds, or a date, counted from the answer's own `Date`), from
    `retry-after-ms`, from Google's RetryInfo, and from the headers of used up rate limits, of the
    error or of its causes.
    """
    for link in _causes(error):
        waits = (
            _finite_seconds(_attribute(link, "retry_after")),
            _header_seconds(_headers_of(link)),
            next(_retry_delays(_bodies_of(link)), None),
        )
        for wait in waits:
            if wait is not None:
                return wait
    return None


# The judgement --------------------------------------------------------------------------------


@dataclass
class _Evidence:
    """What an error and its causes say: class names, the first status, codes and messages."""

    names: list[str] = field(default_factory=list)
    status: int | None = None
    codes: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, error: BaseException) -> _Evidence:
        evidence = cls()
        for link in _causes(error):
            evidence.names += [kind.__name__ for kind in type(link).__mro__]
            evidence.status = evidence.status or status_of(link)
            found = (_attribute(link, name) for name in ("code", "type", "status"))
            evidence.codes += [value for value in found if isinstance(value, str)]
            n_before = len(evidence.messages)
            for body in _bodies_of(link):
                evidence.read_body(body)
            if len(evidence.messages) == n_before:
                with suppress(Exception):  # a message that cannot be made says nothing
                    evidence.messages.append(str(link))
        return evidence

    def read_body(self, body: object) -> None:
        """Add the codes and messages of a response's body, at any depth that providers use."""
        for part in _parts_of(body):
            self.codes += [str(part[key]) for key in _CODE_KEYS if isinstance(part.get(key), str)]
            texts = (part.get(key) for key in _MESSAGE_KEYS)
            self.messages += [text for text in texts if isinstance(text, str)]

    def has_name(self, words: tuple[str, ...]) -> bool:
        return _matches_any(words, self.names)


def _scope_of_own_error(error: BaseException) -> ErrorScope | None:
    """Return the scope of errors that are known by their class, None of all others."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if not isinstance(error, Exception) or _matches_any(_CONTROL_FLOW_NAMES, names):
        return ErrorScope.FINAL
    if isinstance(error, DeadlineExceededError):
        return ErrorScope.FINAL
    if isinstance(error, AttemptTimeoutError):
        return ErrorScope.MODEL
    return ErrorScope.PAIR if isinstance(error, InvalidAnswerError) else None


def _scope_without_words(error: BaseException, evidence: _Evidence) -> ErrorScope:
    """Judge an error whose words are unknown: by its status, then by its class and origin."""
    if evidence.status is not None and evidence.status >= 400:
        return _scope_of_status(evidence.status)
    if evidence.has_name(_REFUSED_NAMES) or _REFUSED_CODE in evidence.codes:
        return ErrorScope.REQUEST
    if evidence.has_name(_TRANSPORT_NAMES):
        return ErrorScope.MODEL
    if isinstance(error, NotImplementedError):  # the next model may support the request
        return ErrorScope.PAIR
    is_mistake = isinstance(error, _PROGRAMMING_ERRORS)
    return _scope_of_programming_error(error) if is_mistake else ErrorScope.MODEL


def _scope_of_status(status: int) -> ErrorScope:
    if status in _REFUSED_STATUS:
        return ErrorScope.REQUEST
    return ErrorScope.PAIR if status == _TOO_LARGE_STATUS else ErrorScope.MODEL


def _scope_of_programming_error(error: BaseException) -> ErrorScope:
    """Tell an answer that a client's package could not read from a mistake in the program.

    Clients raise the same classes for both. What their own code raises is taken for an answer that
    is no answer, as HTML, null or no choices are; wrong arguments and errors of anybody else's code
    are mistakes.
    """
    if isinstance(error, TypeError) and _WRONG_ARGUMENTS.search(str(error)):
        return ErrorScope.FINAL
    return ErrorScope.PAIR if _comes_from_package(error) else ErrorScope.FINAL


def _comes_from_package(error: BaseException) -> bool:
    """Return whether an installed package's code raised an error, and not the program's own."""
    origin = None
    traceback = error.__traceback__
    while traceback is not None:
        package = str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in sys.stdlib_module_names and package not in _HELPER_PACKAGES:
            origin = package, traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next
    if origin is None or origin[0] in _OWN_PACKAGES:
        return False
    return any(folder in origin[1] for folder in _INSTALLED_FOLDERS)


def _matches_any(words: tuple[str, ...], names: list[str]) -> bool:
    return any(word in name for word in words for name in names)


# What errors carry ----------------------------------------------------------------------------


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: frameworks wrap the errors of clients."""
    link: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if link is None:
            return
        yield link
        link = link.__cause__


def _attribute(carrier: object, name: str) -> Any:  # noqa: ANN401 - of any client's error
    """Return an attribute, None if it is missing or cannot be read, as the text of a stream."""
    with suppress(Exception):
        return getattr(carrier, name, None)
    return None


def _bodies_of(error: BaseException) -> list[Any]:
    """Return what the provider answered, as the client keeps it, or as the response has it."""
    response = _attribute(error, "response")
    if isinstance(response, Mapping):  # boto
        return [response]
    kept = [_attribute(error, name) for name in ("body", "details", "error")]
    bodies = [_parse_json(body) for body in kept if isinstance(body, (str, Mapping))]
    if bodies:
        return bodies
    text = _attribute(response, "text")
    parsed = _parse_json(text) if isinstance(text, str) else None
    return [parsed] if isinstance(parsed, (Mapping, list)) else []


def _parts_of(body: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a body in which providers put codes and messages."""
    if isinstance(body, str):
        yield {"message": body}
    elif isinstance(body, list):
        for item in body:
            yield from _parts_of(item)
    elif isinstance(body, Mapping):
        yield body
        for key in _CONTAINER_KEYS:
            inner = _parse_json(body.get(key))  # OpenRouter quotes the provider's answer as text
            if isinstance(inner, (Mapping, list)):
                yield from _parts_of(inner)


def _parse_json(value: object) -> Any:  # noqa: ANN401 - JSON may be of any type
    """Return what a text of JSON says, and anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


# When to ask again ----------------------------------------------------------------------------


def _headers_of(error: BaseException) -> Mapping[str, str]:
    """Return the headers of the response with names in lower case."""
    response = _attribute(error, "response")
    if isinstance(response, Mapping):  # boto
        metadata = response.get("ResponseMetadata")
        headers = metadata.get("HTTPHeaders") if isinstance(metadata, Mapping) else None
    else:
        headers = _attribute(response, "headers") or _attribute(error, "headers")
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _header_seconds(headers: Mapping[str, str]) -> float | None:
    milliseconds = _finite_seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1e3
    value = headers.get("retry-after", "").strip()
    seconds = _finite_seconds(value)
    if seconds is None:
        seconds = _seconds_until(_parse_date(value), headers)
    return _seconds_until_reset(headers) if seconds is None else seconds


def _seconds_until_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the last of the used up limits is filled again."""
    waits = []
    for name, value in headers.items():
        match = _RESET_HEADER.fullmatch(name)
        if match is None or "reset" not in name:
            continue
        prefix = name.partition("-ratelimit-")[0]
        remaining = headers.get(f"{prefix}-ratelimit-remaining-{match[1]}") or headers.get(
            f"{prefix}-ratelimit-{match[1]}-remaining"
        )
        if remaining == "0":
            seconds = _parse_duration(value)
            waits.append(
                _seconds_until(_parse_date(value), headers) if seconds is None else seconds
            )
    return max((wait for wait in waits if wait is not None), default=None)


def _retry_delays(bodies: list[Any]) -> Iterator[float]:
    """Yield the delays of Google's RetryInfo, "37s" or "1.203608125s"."""
    for body in bodies:
        for part in _parts_of(body):
            seconds = _parse_duration(str(part.get("retryDelay", "")))
            if seconds is not None:
                yield seconds


def _finite_seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0.0 else None


def _parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as "6m0s", "1.57s" or "172ms", None of other texts."""
    if _DURATION_PARTS.sub("", text) or not text:
        return None
    return sum(
        float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PARTS.findall(text)
    )


def _parse_date(text: str) -> datetime | None:
    """Return the time of an HTTP date or of an ISO timestamp; without a zone it is UTC."""
    for parse in (parsedate_to_datetime, _parse_timestamp):
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            parsed = parse(text)
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    return None


def _parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _seconds_until(moment: datetime | None, headers: Mapping[str, str]) -> float | None:
    """Return the seconds from the answer's `Date` to a moment: no local clock has to be right."""
    sent_at = _parse_date(headers.get("date", ""))
    if moment is None or sent_at is None:
        return None
    return max(0.0, (moment - sent_at).total_seconds())
