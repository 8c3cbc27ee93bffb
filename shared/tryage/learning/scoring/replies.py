"""What a model answered and what it used, from whatever shape its client returns."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tryage.core.client_errors import should_fall_back, status_of
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.expert import Expert

# A reply: LangChain's message, LlamaIndex's response, a client's own object, a dict or a text.
Reply: TypeAlias = Any

_USAGE = ("usage_metadata", "usage", "token_usage")

_USAGE_PARENTS = ("response_metadata", "additional_kwargs", "raw", "message")

_INPUT = ("input_tokens", "prompt_tokens", "prompt_token_count")

_OUTPUT = ("output_tokens", "completion_tokens", "candidates_token_count")

_DETAILS = ("input_token_details", "input_tokens_details", "prompt_tokens_details")

_CACHED = ("cache_read", "cached_tokens")

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})

_PROMPT_STATUSES = frozenset({400, 413, 422, 451})

_PROMPT_ERROR_NAMES = (
    "ContentFilter",
    "ContentPolicy",
    "BadRequest",
    "LengthFinishReason",
    "ContextOverflow",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered; None is unknown, tokens are never estimated.

    `input_tokens` counts the `cached_tokens` too; `cost` in USD, if the provider tells it.
    """

    text: str
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached_tokens: float | None = None
    cost: float | None = None


def as_callable(model: object) -> Callable[[str], Reply]:
    """Return how to ask a model: `invoke` (LangChain), `complete` (LlamaIndex), or by a call.

    Raises:
        InputError: it has none of these.
    """
    for name in ("invoke", "complete"):
        method = getattr(model, name, None)
        if callable(method):
            ask: Callable[[str], Reply] = method
            return ask
    if not callable(model) or isinstance(model, type):
        raise InputError(
            f"A {type(model).__name__} cannot be asked. Expected a LangChain runnable, a "
            "LlamaIndex LLM, or a function from text to text (or to "
            "tryage.learning.scoring.Answer)."
        )
    return model


def parse_reply(reply: Reply) -> Answer:
    """Read a reply.

    Raises:
        InputError: there is no text in it.
    """
    if isinstance(reply, Answer):
        return reply
    text = _extract_text(reply)
    if text is None:
        raise InputError(
            f"A model replied with a {type(reply).__name__} without text. Expected a text, a "
            "message, a completion, or tryage.learning.scoring.replies.Answer."
        )
    usage = _find_usage(reply)
    details = next((found for name in _DETAILS if (found := _get(usage, name)) is not None), None)
    return Answer(
        text,
        _first_number(usage, _INPUT),
        _first_number(usage, _OUTPUT),
        _first_number(details, _CACHED),
        _first_number(usage, ("cost",)),
    )


def reply_cost(answer: Answer, expert: Expert) -> float | None:
    """Return the USD of an answer: as the provider tells, or from tokens and prices; None unknown.

    Tokens that the provider still held cost the expert's cached price, if that is known.
    """
    if answer.cost is not None:
        return answer.cost
    input_tokens, output_tokens = answer.input_tokens, answer.output_tokens
    price, output_price, cached_price = (
        expert.input_price,
        expert.output_price,
        expert.cached_input_price,
    )
    if price == output_price == 0.0:
        return 0.0
    if input_tokens is None or output_tokens is None or price is None or output_price is None:
        return None
    cached = 0.0 if cached_price is None else answer.cached_tokens or 0.0
    usd = (
        (input_tokens - cached) * price
        + cached * (cached_price or 0.0)
        + output_tokens * output_price
    )
    return usd / 1e6


def _extract_text(reply: Reply) -> str | None:
    """Return the text of a reply; blocks that are no text, such as reasoning, are left out."""
    if isinstance(reply, str):
        return reply
    if (content := _get(reply, "content")) is not None:
        blocks = content if isinstance(content, (list, tuple)) else [content]
        texts = [block if isinstance(block, str) else _get(block, "text") for block in blocks]
        return "".join(text for text in texts if isinstance(text, str))
    text = _get(reply, "text")
    if isinstance(text, str):
        return text
    message = _get(reply, "message")
    return None if message is None else _extract_text(message)


def _find_usage(reply: Reply) -> object:
    """Find what was used, in the reply or one level around."""
    for holder in (reply, *(_get(reply, name) for name in _USAGE_PARENTS)):
        for name in _USAGE:
            if (usage := _get(holder, name)) is not None:
                return usage
    # LlamaIndex's OpenAI puts the counts themselves among the extras.
    return _get(reply, "additional_kwargs")


def _first_number(holder: object, names: tuple[str, ...]) -> float | None:
    for name in names:
        value = _get(holder, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None


def _get(holder: object, name: str) -> Any:  # noqa: ANN401 - replies are of any type
    """Return a key or an attribute, None if there is none."""
    if holder is None or isinstance(holder, str):
        return None
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def call_with_retries(
    call: Callable[[], T],
    retries: int,
    sleep: Callable[[float], bool],
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
        if retries <= 0 or not is_transient(error) or not sleep(_backoff_seconds(error, wait)):
            raise
    return call_with_retries(call, retries - 1, sleep, wait * 2.0)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed a little later."""
    status = status_of(error)
    if status is not None:
        return status in _TRANSIENT_STATUSES or status >= 500
    return not is_prompt_error(error) and should_fall_back(error)


def is_prompt_error(error: BaseException) -> bool:
    """Tell whether the error concerns one prompt, so that others may be answered."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return status_of(error) in _PROMPT_STATUSES or any(
        w in n for w in _PROMPT_ERROR_NAMES for n in names
    )


def _backoff_seconds(error: BaseException, base_seconds: float) -> float:
    told = getattr(error, "retry_after", None)
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        least = float(headers.get("retry-after", 0) if told is None else told)
    except (TypeError, ValueError):  # a date, which nobody sends
        least = 0.0
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - chance, no secret
    return float(min(max(least, base_seconds * spread), LONGEST_WAIT))
