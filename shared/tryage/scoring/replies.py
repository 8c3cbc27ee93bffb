"""The reply of any client: its text, tokens and price; and which errors are worth a retry."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tryage.core.client_errors import error_scope, retry_after, should_fall_back, status_of
from tryage.core.error_phrases import ErrorScope
from tryage.core.usage import read_usage
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.expert import Expert

Reply: TypeAlias = Any
"""LangChain's message, LlamaIndex's response, a client's own object, a dict or a text."""

T = TypeVar("T")

# Where clients put the usage, and what they call its numbers where one of them is missing.
_USAGE = ("usage_metadata", "usage", "token_usage")
_USAGE_PARENTS = ("response_metadata", "additional_kwargs", "raw", "message")
_INPUT = ("input_tokens", "prompt_tokens", "prompt_token_count")
_OUTPUT = ("output_tokens", "completion_tokens", "candidates_token_count")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a retry

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
    """The answer of a model; None means unknown, tokens are never estimated.

    `input_tokens` includes the `cached_tokens`; `cost` is in USD, if the provider reports it.
    `has_other_rates` says that prices per token do not tell the cost, such as of audio.
    """

    text: str
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached_tokens: float | None = None
    cost: float | None = None
    has_other_rates: bool = False


def as_callable(model: object) -> Callable[[str], Reply]:
    """Return the function that asks a model: `invoke` (LangChain), `complete` (LlamaIndex), itself.

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
            "tryage.scoring.Answer)."
        )
    return model


def parse_reply(reply: Reply) -> Answer:
    """Read the text, the tokens and the cost of a reply.

    Raises:
        InputError: the reply holds no text.
    """
    if isinstance(reply, Answer):
        return reply
    text = _extract_text(reply)
    if text is None:
        raise InputError(
            f"A model replied with a {type(reply).__name__} without text. Expected a text, a "
            "message, a completion, or tryage.scoring.Answer."
        )
    usage = _find_usage(reply)
    cost, known = _first_number(usage, ("cost",)), read_usage(usage)
    if known is None:
        tokens = _first_number(usage, _INPUT), _first_number(usage, _OUTPUT)
        return Answer(text, *tokens, cost=cost)
    tokens = known.input_tokens, known.output_tokens
    return Answer(text, *tokens, known.cached_tokens, cost, known.has_other_rates)


def reply_cost(answer: Answer, expert: Expert) -> float | None:
    """Return the cost of an answer in USD; None means unknown.

    The cost that the provider reports comes first; else it follows from tokens and prices. Cached
    tokens cost the expert's cached price, if that is known, else the full price.
    """
    if answer.cost is not None:
        return answer.cost
    input_price, output_price = expert.input_price, expert.output_price
    if input_price == output_price == 0.0:
        return 0.0
    if answer.has_other_rates or answer.input_tokens is None or answer.output_tokens is None:
        return None
    if input_price is None or output_price is None:
        return None
    cached_price = expert.cached_input_price
    n_cached = 0.0 if cached_price is None else answer.cached_tokens or 0.0
    usd = (answer.input_tokens - n_cached) * input_price + n_cached * (cached_price or 0.0)
    return (usd + answer.output_tokens * output_price) / 1e6


def call_with_retries(
    call: Callable[[], T],
    retries: int,
    sleep: Callable[[float], bool],
    delay: float = FIRST_WAIT,
) -> T:
    """Return what the call returns; after a transient error wait, and try again.

    `sleep` waits for some seconds and returns whether to go on. The `delay` in seconds doubles each
    time. It is drawn at random, so that many clients do not return at once, and is at least the
    provider's Retry-After, up to a maximum.

    Raises:
        Exception: the last error of the call.
    """
    try:
        return call()
    except Exception as error:
        if retries <= 0 or not is_transient(error) or not sleep(_backoff_seconds(error, delay)):
            raise
    return call_with_retries(call, retries - 1, sleep, delay * 2.0)


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later."""
    status = status_of(error)
    if status is not None:
        return status in _TRANSIENT_STATUSES or status >= 500
    return not is_prompt_error(error) and should_fall_back(error)


def is_prompt_error(error: BaseException) -> bool:
    """Return whether the error concerns this prompt only, so that other prompts may be answered."""
    if error_scope(error) is ErrorScope.MODEL:  # no credit, an unknown model: also with status 400
        return False
    class_names = [cls.__name__ for cls in type(error).__mro__]
    return status_of(error) in _PROMPT_STATUSES or any(
        fragment in name for fragment in _PROMPT_ERROR_NAMES for name in class_names
    )


def _extract_text(reply: Reply) -> str | None:
    """Return the text of a reply, without blocks of other kinds, such as reasoning."""
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
    """Return the usage in the reply, or in one of the parts that hold it."""
    for container in (reply, *(_get(reply, name) for name in _USAGE_PARENTS)):
        for name in _USAGE:
            if (usage := _get(container, name)) is not None:
                return usage
    # LlamaIndex's OpenAI client puts the counts directly among the additional_kwargs.
    return _get(reply, "additional_kwargs")


def _first_number(container: object, names: tuple[str, ...]) -> float | None:
    for name in names:
        value = _get(container, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None


def _get(container: object, name: str) -> Any:  # noqa: ANN401 - replies are of any type
    """Return the value of a key or an attribute, None if there is none."""
    if container is None or isinstance(container, str):
        return None
    return container.get(name) if isinstance(container, Mapping) else getattr(container, name, None)


def _backoff_seconds(error: BaseException, base_seconds: float) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
    return float(min(max(retry_after(error) or 0.0, base_seconds * jitter), LONGEST_WAIT))
