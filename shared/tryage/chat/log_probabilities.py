"""Log probabilities of an answer's tokens, as OpenAI's protocol and its many copies report them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from tryage.core.client_errors import status_of
from tryage.core.usage import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ARGUMENTS: Mapping[str, Any] = {"logprobs": True, "top_logprobs": 2}
"""What asks a client for them, and for those of the two most likely tokens at each place."""

_NAMES = re.compile(r"log_?prob", re.IGNORECASE)

_REFUSALS = (400, 404, 422)  # status codes for an argument that a server does not take


class LogProbabilities(NamedTuple):
    """Those of an answer's tokens, in nats, and of the most likely tokens at each place."""

    tokens: tuple[float, ...]
    top: tuple[tuple[float, ...], ...]


def read_log_probabilities(reports: Iterable[Any]) -> LogProbabilities | None:
    """Return what a provider reports of the tokens of an answer, None if nothing.

    Each report is a mapping or an object with a list `content`, one for each chunk of a stream.
    """
    places = [fields_of(place) for one in reports for place in fields_of(one).get("content") or ()]
    known = [place for place in places if _is_number(place.get("logprob"))]
    if not known:
        return None
    return LogProbabilities(
        tuple(float(place["logprob"]) for place in known),
        tuple(_top(place.get("top_logprobs") or ()) for place in known),
    )


def _top(alternatives: Iterable[Any]) -> tuple[float, ...]:
    """Return the log probabilities of the alternatives at one place, the highest first."""
    values = (fields_of(one).get("logprob") for one in alternatives)
    return tuple(sorted((float(value) for value in values if _is_number(value)), reverse=True))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not math.isnan(value)


def refuses_log_probabilities(error: Exception) -> bool:
    """Tell whether a client or its server does not take the arguments that ask for them."""
    is_refusal = isinstance(error, TypeError) or status_of(error) in _REFUSALS
    return is_refusal and _NAMES.search(str(error)) is not None
