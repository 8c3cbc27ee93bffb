"""Errors as answers of OpenAI's protocol: a status, a type, and words without credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from tryage.core.client_errors import retry_after, status_of
from tryage.core.redaction import describe_error, redact
from tryage.errors import (
    AttemptTimeoutError,
    BudgetExceededError,
    DeadlineExceededError,
    InputError,
    LibraryError,
    NoExpertError,
    TrafficError,
    TryageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BAD_GATEWAY = 502

# The first class that fits decides.
_STATUSES: tuple[tuple[type[TryageError], int], ...] = (
    (LibraryError, 404),
    (BudgetExceededError, 429),
    (NoExpertError, 422),
    (InputError, 400),
    (DeadlineExceededError, 504),
    (AttemptTimeoutError, 504),
    (TrafficError, 503),
)

# What OpenAI's clients call these errors.
_CODES = {LibraryError: "model_not_found", BudgetExceededError: "insufficient_quota"}

# What a provider says of the request, the caller may know. A refused key is the operator's.
_PASSED_ON_STATUSES = frozenset({400, 413, 422, 429})

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

_FIRST_SERVER_STATUS = 500


def error_status(error: BaseException) -> int:
    """Return the HTTP status of an error."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    status_of_provider = status_of(error)
    if status_of_provider in _PASSED_ON_STATUSES:
        return int(status_of_provider or _BAD_GATEWAY)
    is_of_a_model = isinstance(error, TryageError) or status_of_provider is not None
    return _BAD_GATEWAY if is_of_a_model else _FIRST_SERVER_STATUS


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return what OpenAI's clients read of an error."""
    default = "server_error" if status >= _FIRST_SERVER_STATUS else "invalid_request_error"
    kind = _TYPES.get(status, default)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_response(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as a response."""
    found = None if headers is None else dict(headers)
    return JSONResponse(error_body(status, message, code), status, found)


def exception_response(error: BaseException) -> JSONResponse:
    """Return an exception as a response; what went wrong inside the server stays there."""
    status = error_status(error)
    if status == _FIRST_SERVER_STATUS:
        return error_response(status, f"The server failed with {type(error).__name__}.")
    seconds = retry_after(error)
    headers = {} if seconds is None else {"Retry-After": f"{seconds:.0f}"}
    code = next((word for kind, word in _CODES.items() if isinstance(error, kind)), None)
    is_own = isinstance(error, TryageError)  # whose class says nothing to a caller
    message = redact(str(error)) if is_own else describe_error(error)
    return error_response(status, message, code, headers)


def describe_invalid(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return which fields of a request are wrong, without their values."""
    return "; ".join(map(_describe_one, errors))


def _describe_one(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        what = error.get("ctx", {}).get("error", error["msg"])
        return f"the body is not JSON: {what}, at character {error['loc'][-1]}"
    where = ".".join(str(part) for part in error["loc"][1:])
    return f"{where or 'the body'}: {error['msg']}"
