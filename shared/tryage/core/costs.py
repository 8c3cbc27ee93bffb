"""What a request costs at each expert, in USD, with cached, reasoning and output tokens.

The tokens of the answer are those forecast for this prompt, else those of the expert's typical
answer (reasoning included), else `REFERENCE_OUTPUT_TOKENS`. Forecast tokens times the present price
are the best estimate. Where no tokens are forecast, a cost forecast from measured costs replaces
typical tokens times the price; where the price is unknown, it replaces the price.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tryage.core.cache import cached_property, get_or_compute
from tryage.core.request_batch import ALL, ExpertIndex, FloatDType, RequestBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import FloatArray
    from tryage.core.library import Library
    from tryage.core.perception import Prediction

REFERENCE_OUTPUT_TOKENS = 500  # also the answer length of an expert without a known one

# USD per million tokens that are assumed where the price is unknown: those of a dear model, the
# same in every library. Unknown is never free.
UNKNOWN_INPUT_PRICE, UNKNOWN_OUTPUT_PRICE = 15.0, 75.0
UNKNOWN_PRICES = f"{UNKNOWN_INPUT_PRICE:g} and {UNKNOWN_OUTPUT_PRICE:g} USD per million tokens"
UNKNOWN_LATENCY = 30.0  # seconds to an answer that are assumed where they are unknown

_TYPICAL_PROMPT_TOKENS = 500.0

_MAX_CACHED_EXPERTS = 10_000  # in double precision
_MAX_EAGER_EXPERTS = 1_024  # all costs of a prompt take hardly longer than one
_FLOAT32_MAX_PRICE = 1e20  # USD per million tokens, well within single precision


def expected_costs(
    library: Library, request: RequestBatch, prediction: Prediction | None = None
) -> NDArray[np.float64]:
    """Forecast the USD of each prompt on each expert, `(batch, n_experts)`, NaN unknown.

    The `prediction` gives forecasts that the request does not have. An expert without a forecast or
    a typical answer length is assumed to answer in 500 tokens. Tokens that the expert of a
    conversation has read already are billed at its cached price.
    """
    if prediction is not None:
        request = with_forecasts(request, prediction)
    return np.asarray(request_costs(library, request, ALL, np.float64), dtype=np.float64)


expected_cost = expected_costs  # the former name


def with_forecasts(request: RequestBatch, prediction: Prediction) -> RequestBatch:
    """Return the request with the forecasts of a prediction, where it has none of its own."""
    tokens, costs = request.output_tokens, request.costs
    return replace(
        request,
        output_tokens=prediction.output_tokens if tokens is None else tokens,
        costs=prediction.costs if costs is None else costs,
    )


def has_known_costs(library: Library, prediction: Prediction) -> bool:
    """Return whether the cost of any expert is known, from its prices or from a forecast."""
    if prediction.costs is not None and bool(np.isfinite(prediction.costs).any()):
        return True
    return get_or_compute(library, "is priced", lambda: _is_priced(library))


@dataclass(frozen=True)
class PromptCosts:
    """What one prompt costs at the experts of a library; `request` is a batch of one.

    The costs in a small library are computed once, at the first read.
    """

    library: Library
    request: RequestBatch

    def known(self, experts: ExpertIndex) -> FloatArray:
        """Return the USD at some experts, `(k,)`, NaN where it is unknown."""
        if len(self.library) > _MAX_EAGER_EXPERTS:
            usd: FloatArray = request_costs(self.library, self.request, experts, np.float64)[0]
            return usd
        return self._all_known[experts]

    @cached_property
    def _all_known(self) -> FloatArray:
        usd: FloatArray = request_costs(self.library, self.request, ALL, np.float64)[0]
        return usd

    def counted(self, experts: ExpertIndex) -> FloatArray:
        """Return the USD at some experts, `(k,)`, where it is unknown what it counts as."""
        known = self.known(experts)
        return np.where(np.isnan(known), assumed_costs(self.request), known)


def request_costs(
    library: Library, request: RequestBatch, experts: ExpertIndex, dtype: FloatDType
) -> FloatArray:
    """Return the USD of each prompt on some experts, `(batch, k)`, NaN where it is unknown."""
    prices = _prices(library, experts, dtype)
    prompt_tokens = np.asarray(request.prompt_tokens, dtype=dtype)[:, None]
    usd: FloatArray = prompt_tokens * prices.prompt_token_price
    if request.conversation is not None:
        _bill_cached_tokens(usd, library, request, experts)
    if request.output_tokens is None:
        usd += prices.typical_answer_cost
        tokens_are_forecast = None
    else:
        forecast_tokens = request.output_tokens[:, experts]
        tokens_are_forecast = np.isfinite(forecast_tokens)
        answer = np.where(tokens_are_forecast, forecast_tokens, prices.typical_tokens)
        usd += answer * prices.output_token_price
    if request.costs is None:
        return usd
    forecast = request.costs[:, experts]
    is_better = np.isfinite(forecast)
    if tokens_are_forecast is not None:
        is_better &= ~tokens_are_forecast | np.isnan(usd)
    return np.where(is_better, forecast, usd).astype(dtype)


def assumed_costs(request: RequestBatch) -> NDArray[np.float64]:
    """Return the USD of each prompt where the cost is unknown, `(batch,)`.

    They are the same for every such expert and in every library.
    """
    prompt_tokens = np.asarray(request.prompt_tokens, dtype=np.float64)
    answer = REFERENCE_OUTPUT_TOKENS * UNKNOWN_OUTPUT_PRICE
    usd: NDArray[np.float64] = (prompt_tokens * UNKNOWN_INPUT_PRICE + answer) / 1e6
    return usd


def counted_costs(
    library: Library, request: RequestBatch, experts: ExpertIndex, dtype: FloatDType
) -> FloatArray:
    """Return the USD of each prompt on some experts, `(batch, k)`, or what counts as such.

    Without a forecast and a conversation, unknown prices are replaced once per library, which takes
    a third of the time for a million experts; the result may differ by a few roundings.
    """
    given = (request.output_tokens, request.costs, request.conversation)
    if any(part is not None for part in given):
        usd = request_costs(library, request, experts, dtype)
        return np.where(np.isnan(usd), assumed_costs(request)[:, None], usd).astype(dtype)
    prices = get_or_compute(
        library, ("counted prices", dtype), lambda: _compute_counted_prices(library, dtype)
    )
    prompt_tokens = np.asarray(request.prompt_tokens, dtype=dtype)[:, None]
    counted: FloatArray = prompt_tokens * prices.prompt_token_price[experts]
    counted += prices.typical_answer_cost[experts]
    return counted


def typical_costs(library: Library) -> FloatArray:
    """Return the USD of a usual request on each expert, `(n_experts,)`, or what counts as such.

    They are the same for every prompt: nobody who writes one can change their order.
    """
    request = RequestBatch(np.array([_TYPICAL_PROMPT_TOKENS]))
    return get_or_compute(
        library, "typical costs", lambda: counted_costs(library, request, ALL, np.float64)[0]
    )


def _compute_counted_prices(library: Library, dtype: FloatDType) -> _Prices:
    """Compute the prices of all experts, where one is unknown those that it counts as."""
    prices = _compute_prices(library, ALL, np.float64)
    is_unknown = np.isnan(prices.prompt_token_price + prices.output_token_price)
    prompt = np.where(is_unknown, UNKNOWN_INPUT_PRICE / 1e6, prices.prompt_token_price)
    answer = REFERENCE_OUTPUT_TOKENS * UNKNOWN_OUTPUT_PRICE / 1e6
    columns = (
        prompt,
        np.where(is_unknown, UNKNOWN_OUTPUT_PRICE / 1e6, prices.output_token_price),
        prices.typical_tokens,
        np.where(is_unknown, answer, prices.typical_answer_cost),
    )
    return _Prices(*(column.astype(dtype) for column in columns))


def cost_dtype(library: Library, dtype: FloatDType) -> FloatDType:
    """Return double precision instead of `dtype` where prices exceed single precision."""
    highest = get_or_compute(library, "highest price", lambda: _highest_price(library))
    return dtype if highest < _FLOAT32_MAX_PRICE else np.float64


def cache_discount(library: Library) -> FloatArray:
    """Return the USD saved per cached prompt token, `(n_experts,)`, NaN where a price is unknown.

    An unknown cached price counts as free here.
    """
    cached = library.column("cached_input_price")
    saved = library.column("input_price") - np.where(np.isnan(cached), 0.0, cached)
    return np.maximum(saved, 0.0) / 1e6


def _bill_cached_tokens(
    usd: FloatArray, library: Library, request: RequestBatch, experts: ExpertIndex
) -> None:
    """Replace the USD of the prompts at the experts that have read a part of them already."""
    conversation = request.conversation
    if conversation is None:
        return
    positions = get_or_compute(library, "positions", lambda: np.arange(len(library)))[experts]
    rows, columns = np.nonzero(positions == conversation.current[:, None])
    experts_now = positions[columns]
    full = library.column("input_price")[experts_now]
    cached_price = library.column("cached_input_price")[experts_now]
    cached_price = np.where(np.isnan(cached_price), full, np.minimum(cached_price, full))
    tokens = np.asarray(request.prompt_tokens, dtype=np.float64)[rows]
    cached = np.minimum(conversation.cached_tokens[rows], tokens)
    usd[rows, columns] = ((tokens - cached) * full + cached * cached_price) / 1e6


class _Prices(NamedTuple):
    """Prices of experts, each `(k,)`: USD per token, and the length and USD of a typical answer."""

    prompt_token_price: FloatArray
    output_token_price: FloatArray
    typical_tokens: FloatArray
    typical_answer_cost: FloatArray


def _prices(library: Library, experts: ExpertIndex, dtype: FloatDType) -> _Prices:
    """Return the prices of some experts; those of a small library, and rounded ones, are cached."""
    if dtype is np.float32 or len(library) <= _MAX_CACHED_EXPERTS:
        compute = partial(_compute_prices, library, ALL, dtype)
        whole = get_or_compute(library, ("prices", dtype), compute)
        return whole if experts is ALL else _Prices(*(column[experts] for column in whole))
    return _compute_prices(library, experts, dtype)


def _compute_prices(library: Library, experts: ExpertIndex, dtype: FloatDType) -> _Prices:
    """Compute the prices of some experts in double precision, then round them to `dtype`."""
    prompt = library.column("input_price")[experts] / 1e6
    output = library.column("output_price")[experts] / 1e6
    typical = library.column("output_tokens")[experts]
    typical = np.where(np.isnan(typical), REFERENCE_OUTPUT_TOKENS, typical)
    columns = (prompt, output, typical, typical * output)
    return _Prices(*(column.astype(dtype) for column in columns))


def _is_priced(library: Library) -> bool:
    prices = library.column("input_price") + library.column("output_price")
    return bool(np.isfinite(prices).any())


def _highest_price(library: Library) -> float:
    columns = [library.column(name) for name in ("input_price", "output_price", "output_tokens")]
    return max(float(np.max(c, where=np.isfinite(c), initial=0.0)) for c in columns)
