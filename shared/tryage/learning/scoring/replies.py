"""What a model answered and what it used, from whatever shape its client returns."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tryage.core.client_errors import another_may_answer, status_of
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.expert import Expert

# A reply: LangChain's message, LlamaIndex's response, a client's own object, a dict or a text.
Reply: TypeAlias = Any

_USAGE = ("usage_metadata", "usage", "token_usage")

_AROUND = ("response_metadata", "additional_kwargs", "raw", "message")

_INPUT = ("input_tokens", "prompt_tokens", "prompt_token_count")

_OUTPUT = ("output_tokens", "completion_tokens", "candidates_token_count")

_DETAILS = ("input_token_details", "input_tokens_details", "prompt_tokens_details")

_CACHED = ("cache_read", "cached_tokens")

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds

_PASSING = frozenset({408, 409, 425, 429})

_OF_THE_PROMPT = frozenset({400, 413, 422, 451})

_JUDGED = ("ContentFilter", "ContentPolicy", "BadRequest", "LengthFinishReason", "ContextOverflow")


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


def asking(model: object) -> Callable[[str], Reply]:
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


def answer(reply: Reply) -> Answer:
    """Read a reply.

    Raises:
        InputError: there is no text in it.
    """
    if isinstance(reply, Answer):
        return reply
    text = _text(reply)
    if text is None:
        raise InputError(
            f"A model replied with a {type(reply).__name__} without text. Expected a text, a "
            "message, a completion, or tryage.learning.scoring.replies.Answer."
        )
    usage = _usage(reply)
    details = next((found for name in _DETAILS if (found := _get(usage, name)) is not None), None)
    return Answer(
        text,
        _number(usage, _INPUT),
        _number(usage, _OUTPUT),
        _number(details, _CACHED),
        _number(usage, ("cost",)),
    )


def cost(given: Answer, expert: Expert) -> float | None:
    """Return the USD of an answer: as the provider tells, or from tokens and prices; None unknown.

    Tokens that the provider still held cost the expert's cached price, if that is known.
    """
    if given.cost is not None:
        return given.cost
    read, written = given.input_tokens, given.output_tokens
    price, output_price, cached_price = (
        expert.input_price,
        expert.output_price,
        expert.cached_input_price,
    )
    if price == output_price == 0.0:
        return 0.0
    if read is None or written is None or price is None or output_price is None:
        return None
    cached = 0.0 if cached_price is None else given.cached_tokens or 0.0
    usd = (read - cached) * price + cached * (cached_price or 0.0) + written * output_price
    return usd / 1e6


def _text(reply: Reply) -> str | None:
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
    return None if message is None else _text(message)


def _usage(reply: Reply) -> object:
    """Find what was used, in the reply or one level around."""
    for holder in (reply, *(_get(reply, name) for name in _AROUND)):
        for name in _USAGE:
            if (usage := _get(holder, name)) is not None:
                return usage
    # LlamaIndex's OpenAI puts the counts themselves among the extras.
    return _get(reply, "additional_kwargs")


def _number(holder: object, names: tuple[str, ...]) -> float | None:
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
