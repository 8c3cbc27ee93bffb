"""What an error of a chat model means: another model may answer, or the request is at fault.

Known by status codes and class names, so that no client library need be installed: those of
openai, anthropic, google, boto and httpx, and of LangChain and LlamaIndex around them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The request itself is refused: every model would refuse it.
_REFUSED_STATUS = frozenset({400, 405, 406, 411, 415, 422, 451})

_REFUSED_NAMES = ("BadRequest", "InvalidRequest", "InvalidArgument", "UnprocessableEntity")

# A judgement on the content is not to be shopped around for; nor is an answer that was cut off.
_CONTENT_ERROR_NAMES = ("ContentFilter", "ContentPolicy", "LengthFinishReason", "StopCandidate")

_CONTENT_ERROR_CODES = ("content_filter", "content_policy", "responsible_ai", "moderation")

# Another model may have the room.
_CONTEXT_LENGTH_CODES = ("contextoverflow", "contextwindowexceeded", "context_length_exceeded")

# A graph that pauses says so by raising.
_CONTROL_FLOW = ("GraphBubbleUp",)

# Transport errors that some libraries derive from ValueError and the like.
_TRANSPORT_NAMES = ("Timeout", "Connection", "RateLimit", "Overloaded", "Unavailable", "JSONDecode")

# What LangChain makes of a stream that ends before it begins, as a ValueError.
_EMPTY_STREAM_MESSAGE = "No generation chunks were returned"

_PROGRAMMING_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    NameError,
)

_SECRET_PATTERN = re.compile(
    r"""(?ix)
    \b(?:(?:sk|pk|rk|gsk|hf|xai|pplx|nvapi|r8)[-_]|AIza)[\w*.-]{4,}    # keys by their prefix
    | \bbearer\s+[^\s"',;]+
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)                                  # user:password in an address
    | (?<=[?&])(?:key|api[-_]?key|token|access_token|sig|signature)=[^&\s"']+
    | \b(?:api[-_ ]?key|token|secret|password|authorization)\b["']?\s*[:=]\s*["']?[^\s"',;}]+
    | \b[0-9a-f]{32,}\b
    """
)

_SECRET_WORDS = ("key", "token", "secret", "password", "credential", "credentials", "authorization")

_MAX_CHECKED_CHARS = 10_000  # signs of a value that are looked at, as many as `redacted` returns

_NON_LETTERS = re.compile(r"[^a-z]+")


def should_fall_back(error: BaseException, *, unverified: bool = False) -> bool:
    """Tell whether the next model is worth asking after this error of one.

    Yes for what concerns one model alone: timeouts, limits (429), failed servers (5xx), lost
    connections, a key or a model that is refused (401, 403, 404), a context too short. No for a
    request that is malformed (400, 422), content that was judged, and mistakes in the program.
    A model taken `on_trust`, without knowing that it can do what is needed, may refuse what the
    next one accepts.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    if not isinstance(error, Exception) or _matches_any(_CONTROL_FLOW, names):
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
    # What cannot be done at all says NotImplementedError, a kind of RuntimeError.
    transport = _matches_any(_TRANSPORT_NAMES, names) or _EMPTY_STREAM_MESSAGE in str(error)
    return transport or not isinstance(error, _PROGRAMMING_ERRORS)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, wherever its library puts it."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # boto
        response = response.get("ResponseMetadata", {})
        places = [response.get("HTTPStatusCode") if isinstance(response, Mapping) else None]
    else:
        places = [getattr(error, name, None) for name in ("status_code", "status", "http_status")]
        places += [getattr(response, "status_code", None), getattr(error, "code", None)]
    for place in places:
        if isinstance(place, int) and not isinstance(place, bool) and 100 <= place <= 599:
            return int(place)
    return None


def describe_error(error: BaseException) -> str:
    """Return an error in one line without secrets: its kind and the start of its message."""
    message = " ".join(redact(str(error)).split())
    return f"{type(error).__name__}: {message[:300]}" if message else type(error).__name__


def redact(text: str) -> str:
    """Return a text with everything that looks like a credential blotted out."""
    return _SECRET_PATTERN.sub("***", text[:10_000])


def _matches_any(words: tuple[str, ...], names: list[str]) -> bool:
    return any(word in name for word in words for name in names)


def _has_code(error: BaseException, codes: tuple[str, ...]) -> bool:
    """Tell whether the error, or the body it carries, has one of the codes."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    found = [getattr(error, "code", None), getattr(error, "type", None)]
    if isinstance(inner, Mapping):
        found += [inner.get("code"), inner.get("type")]
    return any(code in str(value).casefold() for value in found if value for code in codes)


def is_secret(name: str, value: object) -> bool:
    """Tell whether a setting is a credential: by its type, its name, or what it looks like."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr
        return True
    if value is None or isinstance(value, (bool, int, float)):  # max_tokens, eos_token_id
        return False
    named = any(part.endswith(_SECRET_WORDS) for part in _NON_LETTERS.split(name.casefold()))
    return named or (isinstance(value, str) and redact(value) != value[:_MAX_CHECKED_CHARS])


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that are credentials, at any depth."""
    return {
        name: _without_nested_secrets(value)
        for name, value in settings.items()
        if not is_secret(str(name), value)
    }


def _without_nested_secrets(value: Any) -> Any:  # noqa: ANN401 - settings are of any type
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, (list, tuple)):
        kept = [_without_nested_secrets(inner) for inner in value if not is_secret("", inner)]
        return tuple(kept) if isinstance(value, tuple) else kept
    return value
