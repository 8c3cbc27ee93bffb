"""Errors of model clients: whether another model may answer, and when to ask again.

Errors are recognised by status codes and class names, so no client library has to be installed:
openai, anthropic, google, boto, httpx, and LangChain and LlamaIndex around them.
"""

from __future__ import annotations

from collections.abc import Mapping

# The request itself is refused: every model would refuse it.
_REFUSED_STATUS = frozenset({400, 405, 406, 411, 415, 422, 451})
_REFUSED_NAMES = ("BadRequest", "InvalidRequest", "InvalidArgument", "UnprocessableEntity")

# A content filter judged the request, or the answer was cut off: no other model may be tried.
_CONTENT_ERROR_NAMES = ("ContentFilter", "ContentPolicy", "LengthFinishReason", "StopCandidate")
_CONTENT_ERROR_CODES = ("content_filter", "content_policy", "responsible_ai", "moderation")

# The context is too short: another model may have a longer one.
_CONTEXT_LENGTH_CODES = ("contextoverflow", "contextwindowexceeded", "context_length_exceeded")

# LangGraph pauses a graph by raising this.
_CONTROL_FLOW_NAMES = ("GraphBubbleUp",)

# Transport errors that some libraries derive from ValueError and similar classes.
_TRANSPORT_NAMES = ("Timeout", "Connection", "RateLimit", "Overloaded", "Unavailable", "JSONDecode")

# LangChain raises a ValueError with this message for a stream that ends before it begins.
_EMPTY_STREAM_MESSAGE = "No generation chunks were returned"

_PROGRAMMING_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    NameError,
)


def should_fall_back(error: BaseException, *, unverified: bool = False) -> bool:
    """Return whether the next model may be tried after this error of a model.

    True for errors that concern one model alone: timeouts, rate limits (429), failed servers (5xx),
    lost connections, a refused key or model (401, 403, 404), a context that is too short. False
    for a malformed request (400, 422), a content filter, and mistakes in the program. `unverified`
    means that the model is not known to meet the requirements: then it may refuse a request that
    the next model accepts.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    if not isinstance(error, Exception) or _matches_any(_CONTROL_FLOW_NAMES, names):
        return False
    if _matches_any(_CONTENT_ERROR_NAMES, names) or _has_code(error, _CONTENT_ERROR_CODES):
        return False
    if _matches_any(_CONTEXT_LENGTH_CODES, [name.casefold() for name in names]) or _has_code(
        error, _CONTEXT_LENGTH_CODES
    ):
        return True
    status = status_of(error)
    if status is not None:
        return unverified or status not in _REFUSED_STATUS
    if _matches_any(_REFUSED_NAMES, names):
        return unverified
    # NotImplementedError, a RuntimeError, falls back: the next model may support the request.
    transport = _matches_any(_TRANSPORT_NAMES, names) or _EMPTY_STREAM_MESSAGE in str(error)
    return transport or not isinstance(error, _PROGRAMMING_ERRORS)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error, None if it has none, for errors of any client library."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # boto
        response = response.get("ResponseMetadata", {})
        values = [response.get("HTTPStatusCode") if isinstance(response, Mapping) else None]
    else:
        values = [getattr(error, name, None) for name in ("status_code", "status", "http_status")]
        values += [getattr(response, "status_code", None), getattr(error, "code", None)]
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return int(value)
    return None


def _matches_any(words: tuple[str, ...], names: list[str]) -> bool:
    return any(word in name for word in words for name in names)


def _has_code(error: BaseException, codes: tuple[str, ...]) -> bool:
    """Return whether the error or its response body has one of the codes."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    found = [getattr(error, "code", None), getattr(error, "type", None)]
    if isinstance(inner, Mapping):
        found += [inner.get("code"), inner.get("type")]
    return any(code in str(value).casefold() for value in found if value for code in codes)


def retry_after(error: BaseException) -> float | None:
    """Return the seconds after which the provider allows the next request, None if unknown."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    value = str(headers.get("retry-after", "")).strip()
    return float(value) if value.isdecimal() else None


def marks_unhealthy(error: BaseException) -> bool:
    """Return whether the model will probably fail for the next request, too."""
    status = status_of(error)
    return should_fall_back(error) and status not in {400, 413, 422}
