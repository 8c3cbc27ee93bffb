"""Asking again: which errors pass, and how long to wait."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from tryage.chat.failures import another_may_answer, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds

_PASSING = frozenset({408, 409, 425, 429})
_OF_THE_PROMPT = frozenset({400, 413, 422, 451})
_JUDGED = ("ContentFilter", "ContentPolicy", "BadRequest", "LengthFinishReason", "ContextOverflow")


def retried(
    call: Callable[[], T],
    retries: int,
    pause: Callable[[float], bool],
    wait: float = FIRST_WAIT,
) -> T:
    """Return what the call returns; an error that passes is waited for and tried again.

    `pause` waits so many seconds and tells whether to go on. The wait doubles each time, is spread
    at random so that many do not come back at once, and heeds the provider's Retry-After.

    Raises:
        Exception: the last error of the call.
    """
    try:
        return call()
    except Exception as error:
        if retries <= 0 or not passes(error) or not pause(_wait(error, wait)):
            raise
    return retried(call, retries - 1, pause, wait * 2.0)


def passes(error: BaseException) -> bool:
    """Tell whether the same request may succeed a little later."""
    status = status_of(error)
    if status is not None:
        return status in _PASSING or status >= 500
    return not of_the_prompt(error) and another_may_answer(error)


def of_the_prompt(error: BaseException) -> bool:
    """Tell whether the error concerns one prompt, so that others may be answered."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return status_of(error) in _OF_THE_PROMPT or any(w in n for w in _JUDGED for n in names)


def _wait(error: BaseException, wait: float) -> float:
    told = getattr(error, "retry_after", None)
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        least = float(headers.get("retry-after", 0) if told is None else told)
    except (TypeError, ValueError):  # a date, which nobody sends
        least = 0.0
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - chance, no secret
    return float(min(max(least, wait * spread), LONGEST_WAIT))
