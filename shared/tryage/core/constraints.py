"""Constraints: secondary goals such as size and cost as numbers in [0, 1], 0 best, in pure numpy.

Every constraint `C_j` is scaled over the library, so that weights are comparable. Unknown is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.core.arrays import FloatArray
from tryage.core.cache import get_or_compute
from tryage.core.library import Library
from tryage.core.validation import did_you_mean
from tryage.errors import InputError

REFERENCE_PROMPT_TOKENS = 1_000
REFERENCE_OUTPUT_TOKENS = 500  # also the answer length of an expert without a known one

ExpertIndex: TypeAlias = slice | NDArray[np.intp]  # library positions of some experts
FloatDType: TypeAlias = type[np.floating[Any]]
ALL = slice(None)

_FLOAT32_MIN_COST, _FLOAT32_MAX_COST = 1e-20, 1e20  # USD of a request, well within single precision


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """The lengths of a batch of prompts, in tokens, on which some constraints depend.

    `prompt_tokens` is `(batch,)`; `output_tokens` is a forecast `(batch, n_experts)`, NaN where
    there is none, or None: then each expert's typical answer length is used. `conversation` is None
    when no prompt continues a conversation.
    """

    prompt_tokens: FloatArray
    output_tokens: FloatArray | None = None
    conversation: ConversationState | None = None

    def take(self, rows: NDArray[np.intp] | slice) -> RequestBatch:
        """Return the part of the batch for some of its prompts."""
        forecast, conversation = self.output_tokens, self.conversation
        return RequestBatch(
            self.prompt_tokens[rows],
            None if forecast is None else forecast[rows],
            conversation
            and ConversationState(conversation.current[rows], conversation.cached_tokens[rows]),
        )


@dataclass(frozen=True, slots=True)
class ConversationState:
    """The expert that has served each conversation of a batch so far.

    `current` `(batch,)` is its position in the library, -1 if there is none; `cached_tokens`
    `(batch,)` is the number of tokens of the conversation that it has read already.
    """

    current: NDArray[np.intp]
    cached_tokens: FloatArray


Constraint: TypeAlias = Callable[[Library, RequestBatch], FloatArray]
"""A secondary goal: `(n_experts,)` or `(batch, n_experts)` in [0, 1], 0 best, NaN unknown."""


class _ConstraintDecorator:
    """A decorated function that keeps its name and is pickled by it."""

    def __init__(self, compute: Callable[..., FloatArray]) -> None:
        self.compute = compute
        update_wrapper(self, compute)  # type: ignore[arg-type]  # its subclasses are callable

    def __reduce__(self) -> str:
        """Pickle as the module-level name that the decorator has replaced."""
        return self.compute.__qualname__


class StaticConstraint(_ConstraintDecorator):
    """A constraint that depends on the library alone: computed and checked once per library.

    Use it as a decorator on your own `(library) -> (n_experts,)` to get the same speed.
    """

    def __call__(self, library: Library, request: RequestBatch | None = None) -> FloatArray:  # noqa: ARG002 - the Constraint signature
        """Return the scaled column, `(n_experts,)`, NaN unknown."""
        return get_or_compute(library, self, lambda: self.compute(library))


class BlockwiseConstraint(_ConstraintDecorator):
    """A constraint that can be computed for some experts only, so a million take little memory.

    A decorator on `(library, request, experts, dtype) -> (k,)` or `(batch, k)`.
    """

    def __call__(self, library: Library, request: RequestBatch) -> FloatArray:
        """Return the values of all experts, NaN unknown."""
        return self.compute(library, request, ALL, np.float64)


@StaticConstraint
def size(library: Library) -> FloatArray:
    """Smaller is better; linear in the log of the parameter count, which spans 1e6 to 1e12."""
    parameters = library.column("parameters")
    return minmax_scale(np.log(np.where(parameters > 0, parameters, np.nan)))


@StaticConstraint
def recency(library: Library) -> FloatArray:
    """Newer is better; linear in days since the release."""
    return minmax_scale(-library.column("released"))


@StaticConstraint
def security(library: Library) -> FloatArray:
    """Safer is better; linear in the share of passed scans."""
    return minmax_scale(-library.column("security"))


@StaticConstraint
def verbosity(library: Library) -> FloatArray:
    """Shorter is better; linear in the tokens of a typical answer."""
    return minmax_scale(library.column("output_tokens"))


@StaticConstraint
def readability(library: Library) -> FloatArray:
    """Easier to read is better; linear in the Flesch reading ease."""
    return minmax_scale(-library.column("readability"))


@StaticConstraint
def latency(library: Library) -> FloatArray:
    """Faster is better; linear in the seconds to a typical answer."""
    return minmax_scale(library.column("latency"))


@StaticConstraint
def popularity(library: Library) -> FloatArray:
    """More used is better; linear in the log of the downloads."""
    return minmax_scale(-np.log1p(library.column("downloads")))


@BlockwiseConstraint
def cost(
    library: Library, request: RequestBatch, experts: ExpertIndex, dtype: FloatDType
) -> FloatArray:
    """Cheaper is better; proportional to the USD of *this* request, `(batch, n_experts)`.

    1 is the price of the most expensive known expert on a reference request: 1,000 prompt tokens
    and its typical answer. A request that costs more stays at 1.
    """
    reference = get_or_compute(library, "reference cost", lambda: _reference_cost(library))
    in_range = _FLOAT32_MIN_COST < reference < _FLOAT32_MAX_COST
    usd = _request_cost(library, request, experts, dtype if in_range else np.float64)
    if reference <= 0:
        return usd * 0.0
    usd /= reference
    return np.minimum(usd, 1.0, out=usd)


@BlockwiseConstraint
def switching(
    library: Library, request: RequestBatch, experts: ExpertIndex, dtype: FloatDType
) -> FloatArray:
    """Staying is better: the prompt-cache discount that a switch loses, `(batch, n_experts)`.

    0 for the expert that serves the conversation, and for all experts when none serves it yet. For
    the others it is the cached tokens of the serving expert x (input price - cached price), on the
    scale of `cost`: with the same weight the two add up to the dollars. If the cached price is
    unknown, the whole input price is lost.
    """
    positions = get_or_compute(library, "positions", lambda: np.arange(len(library)))[experts]
    conversation = request.conversation
    if conversation is None:
        return np.zeros(len(positions), dtype)
    discount = get_or_compute(library, "discount", lambda: _cache_discount(library))
    reference = get_or_compute(library, "reference cost", lambda: _reference_cost(library))
    usd = np.where(
        conversation.cached_tokens > 0,
        conversation.cached_tokens * discount[conversation.current],
        0.0,
    )
    lost = np.minimum(usd / reference, 1.0) if reference > 0 else usd * 0.0
    lost = np.where(conversation.current < 0, 0.0, lost)
    return np.where(positions != conversation.current[:, None], lost[:, None], 0.0).astype(dtype)


DEFAULT_CONSTRAINTS: Mapping[str, Constraint] = MappingProxyType(
    {
        "size": size,
        "recency": recency,
        "security": security,
        "verbosity": verbosity,
        "readability": readability,
        "cost": cost,
        "latency": latency,
        "popularity": popularity,
        "switching": switching,
    }
)


def active_weights(
    weights: Mapping[str, float], constraints: Mapping[str, Constraint]
) -> dict[str, float]:
    """Return the weights above zero.

    Raises:
        InputError: a weight names no constraint, is negative or is not finite.
    """
    active = {}
    for name, weight in weights.items():
        if name not in constraints:
            known = ", ".join(sorted(constraints)) or "none"
            near = did_you_mean(str(name), constraints)
            raise InputError(f"{name!r} is not a constraint; expected one of {known}.{near}")
        if not 0 <= weight < math.inf:
            raise InputError(f"weight {name}={weight} must be a finite number, 0 or more")
        if weight > 0:
            active[name] = float(weight)
    return active


def expected_cost(library: Library, request: RequestBatch) -> NDArray[np.float64]:
    """Forecast the USD of each prompt on each expert, `(batch, n_experts)`, NaN price unknown.

    An expert without a forecast or a typical answer length is assumed to answer in 500 tokens.
    """
    return np.asarray(_request_cost(library, request, ALL, np.float64), dtype=np.float64)


def minmax_scale(column: FloatArray) -> FloatArray:
    """Scale a column to [0, 1], lowest 0 and highest 1; a constant column is 0, NaN stays NaN."""
    known = column[np.isfinite(column)]
    if known.size == 0:
        return np.full(column.shape, np.nan)
    low, span = known.min(), np.ptp(known)
    scaled = (column - low) / (span if span > 0 else 1.0)
    return np.where(np.isfinite(column), scaled, np.nan)


def _request_cost(
    library: Library, request: RequestBatch, experts: ExpertIndex, dtype: FloatDType
) -> FloatArray:
    """Return the USD of each prompt on some experts, `(batch, k)`, NaN where a price is unknown."""
    prices = _prices(library, experts, dtype)
    prompt_tokens = np.asarray(request.prompt_tokens, dtype=dtype)[:, None]
    usd: FloatArray = prompt_tokens * prices.prompt_token_price
    if request.output_tokens is None:
        usd += prices.typical_answer_cost
    else:
        answer: FloatArray = request.output_tokens[:, experts].astype(dtype)
        answer = np.where(np.isfinite(answer), answer, prices.typical_tokens)
        usd += answer * prices.output_token_price
    return usd


class _Prices(NamedTuple):
    """Prices of experts, each `(k,)`: USD per token, and the length and USD of a typical answer."""

    prompt_token_price: FloatArray
    output_token_price: FloatArray
    typical_tokens: FloatArray
    typical_answer_cost: FloatArray


def _prices(library: Library, experts: ExpertIndex, dtype: FloatDType) -> _Prices:
    """Return the prices of some experts; single-precision ones are cached for the library."""
    if dtype is np.float32:
        whole = get_or_compute(library, "prices", lambda: _compute_prices(library, ALL, dtype))
        return _Prices(*(column[experts] for column in whole))
    return _compute_prices(library, experts, dtype)


def _compute_prices(library: Library, experts: ExpertIndex, dtype: FloatDType) -> _Prices:
    """Compute the prices of some experts in double precision, then round them to `dtype`."""
    prompt = library.column("input_price")[experts] / 1e6
    output = library.column("output_price")[experts] / 1e6
    typical = library.column("output_tokens")[experts]
    typical = np.where(np.isnan(typical), REFERENCE_OUTPUT_TOKENS, typical)
    columns = (prompt, output, typical, typical * output)
    return _Prices(*(column.astype(dtype) for column in columns))


def _reference_cost(library: Library) -> float:
    """Return the highest known USD of the reference request, 0 if no price is known."""
    reference = RequestBatch(np.array([float(REFERENCE_PROMPT_TOKENS)]))
    usd = expected_cost(library, reference)
    return float(np.max(usd, where=np.isfinite(usd), initial=0.0))


def _cache_discount(library: Library) -> FloatArray:
    """Return the USD saved per cached prompt token, `(n_experts,)`, NaN unknown."""
    cached = library.column("cached_input_price")
    saved = library.column("input_price") - np.where(np.isnan(cached), 0.0, cached)
    return np.maximum(saved, 0.0) / 1e6
