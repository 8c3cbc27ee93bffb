"""The constraints: secondary goals as numbers in [0, 1], 0 best, in pure numpy.

Every constraint `C_j` is scaled over the library, so that weights are comparable; what is unknown
is NaN.
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
from tryage.core.cache import remember
from tryage.core.library import Library
from tryage.core.validation import did_you_mean
from tryage.errors import InputError

REFERENCE_PROMPT_TOKENS = 1_000

_SMALL, _LARGE = 1e-20, 1e20  # USD of a request, well within single precision

REFERENCE_OUTPUT_TOKENS = 500  # also the answer length of an expert whose own is not known


@dataclass(frozen=True, slots=True)
class Request:
    """What a batch of prompts asks of any expert: the lengths, in tokens.

    `prompt_tokens` is `(batch,)`; `output_tokens` is a forecast `(batch, n_experts)`, NaN where
    there is none, or None: then each expert's typical answer length is used. `thread` is None when
    no prompt continues a conversation.
    """

    prompt_tokens: FloatArray
    output_tokens: FloatArray | None = None
    thread: Thread | None = None

    def rows(self, rows: NDArray[np.intp] | slice) -> Request:
        """Return the request of some prompts of the batch."""
        forecast, thread = self.output_tokens, self.thread
        return Request(
            self.prompt_tokens[rows],
            None if forecast is None else forecast[rows],
            thread and Thread(thread.current[rows], thread.cached_tokens[rows]),
        )


Constraint: TypeAlias = Callable[[Library, Request], FloatArray]
"""A secondary goal: `(n_experts,)` or `(batch, n_experts)` in [0, 1], 0 best, NaN unknown."""

Experts: TypeAlias = slice | NDArray[np.intp]

Kind: TypeAlias = type[np.floating[Any]]

EVERYONE = slice(None)


class _Decorated:
    """A function under a decorator that keeps its name."""

    def __init__(self, compute: Callable[..., FloatArray]) -> None:
        self.compute = compute
        update_wrapper(self, compute)  # type: ignore[arg-type]  # its subclasses can be called

    def __reduce__(self) -> str:
        """Pickle as the module-level name that the decorator left behind."""
        return self.compute.__qualname__


class PerLibrary(_Decorated):
    """A constraint that depends on the library alone: computed and checked once per library.

    Use it as a decorator on your own `(library) -> (n_experts,)` to get the same speed.
    """

    def __call__(self, library: Library, request: Request | None = None) -> FloatArray:  # noqa: ARG002 - the Constraint signature
        """Return the scaled column, `(n_experts,)`, NaN unknown."""
        return remember(library, self, lambda: self.compute(library))


class InParts(_Decorated):
    """A constraint that is measured for some experts at a time, of a million a block after another.

    A decorator on `(library, request, experts) -> (k,)` or `(batch, k)`.
    """

    def __call__(self, library: Library, request: Request) -> FloatArray:
        """Return the values of all experts, NaN unknown."""
        return self.compute(library, request, EVERYONE, np.float64)


@PerLibrary
def size(library: Library) -> FloatArray:
    """Smaller is better; linear in the log of the parameter count, which spans 1e6 to 1e12."""
    parameters = library.column("parameters")
    return scale(np.log(np.where(parameters > 0, parameters, np.nan)))


@PerLibrary
def recency(library: Library) -> FloatArray:
    """Newer is better; linear in days since the release."""
    return scale(-library.column("released"))


@PerLibrary
def security(library: Library) -> FloatArray:
    """Safer is better; linear in the share of passed scans."""
    return scale(-library.column("security"))


@PerLibrary
def verbosity(library: Library) -> FloatArray:
    """Terser is better; linear in the tokens of a typical answer."""
    return scale(library.column("output_tokens"))


@PerLibrary
def readability(library: Library) -> FloatArray:
    """Easier to read is better; linear in the Flesch reading ease."""
    return scale(-library.column("readability"))


@PerLibrary
def latency(library: Library) -> FloatArray:
    """Faster is better; linear in the seconds to a typical answer."""
    return scale(library.column("latency"))


@PerLibrary
def popularity(library: Library) -> FloatArray:
    """More used is better; linear in the log of the downloads."""
    return scale(-np.log1p(library.column("downloads")))


@InParts
def cost(library: Library, request: Request, experts: Experts, kind: Kind) -> FloatArray:
    """Cheaper is better; proportional to the USD of *this* request, `(batch, n_experts)`.

    1 is the price of the dearest known expert on a reference request of 1,000 prompt tokens and its
    typical answer; a request that costs more than that stays at 1.
    """
    reference = remember(library, "reference cost", lambda: _reference_cost(library))
    usd = _usd(library, request, experts, kind if _SMALL < reference < _LARGE else np.float64)
    if reference <= 0:
        return usd * 0.0
    usd /= reference
    return np.minimum(usd, 1.0, out=usd)


@InParts
def switching(library: Library, request: Request, experts: Experts, kind: Kind) -> FloatArray:
    """Staying is better: the prompt-cache discount that leaving loses, `(batch, n_experts)`.

    0 for the expert that serves the conversation, and for all when nobody does yet. For the others
    its cached tokens x (input price - cached price), on the scale of `cost`: at the same weight the
    two add up to the dollars. Of an unknown cached price the whole input price is at stake.
    """
    positions = remember(library, "positions", lambda: np.arange(len(library)))[experts]
    thread = request.thread
    if thread is None:
        return np.zeros(len(positions), kind)
    discount = remember(library, "discount", lambda: _discount(library))
    reference = remember(library, "reference cost", lambda: _reference_cost(library))
    usd = np.where(thread.cached_tokens > 0, thread.cached_tokens * discount[thread.current], 0.0)
    lost = np.minimum(usd / reference, 1.0) if reference > 0 else usd * 0.0
    lost = np.where(thread.current < 0, 0.0, lost)
    return np.where(positions != thread.current[:, None], lost[:, None], 0.0).astype(kind)


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


def expected_cost(library: Library, request: Request) -> NDArray[np.float64]:
    """Forecast the USD of each prompt on each expert, `(batch, n_experts)`, NaN price unknown.

    An expert without a forecast or a typical answer length is taken to answer in 500 tokens.
    """
    return np.asarray(_usd(library, request, EVERYONE, np.float64), dtype=np.float64)


def _usd(library: Library, request: Request, experts: Experts, kind: Kind) -> FloatArray:
    prices = _prices(library, experts, kind)
    prompt_tokens = np.asarray(request.prompt_tokens, dtype=kind)[:, None]
    usd: FloatArray = prompt_tokens * prices.prompt_token
    if request.output_tokens is None:
        usd += prices.typical_answer
    else:
        answer: FloatArray = request.output_tokens[:, experts].astype(kind)
        answer = np.where(np.isfinite(answer), answer, prices.typical_tokens)
        usd += answer * prices.output_token
    return usd


def scale(badness: FloatArray) -> FloatArray:
    """Scale a column to [0, 1], lowest 0 and highest 1; a constant one is 0, NaN stays NaN."""
    known = badness[np.isfinite(badness)]
    if known.size == 0:
        return np.full(badness.shape, np.nan)
    low, span = known.min(), np.ptp(known)
    scaled = (badness - low) / (span if span > 0 else 1.0)
    return np.where(np.isfinite(badness), scaled, np.nan)


class _Prices(NamedTuple):
    """USD per token of the prompt and of the answer, and the usual answer, each `(n_experts,)`."""

    prompt_token: FloatArray
    output_token: FloatArray
    typical_tokens: FloatArray
    typical_answer: FloatArray  # in USD


def _prices(library: Library, experts: Experts, kind: Kind) -> _Prices:
    """Look up the prices of some experts; those in single precision are there for everyone."""
    if kind is np.float32:
        whole = remember(library, "prices", lambda: _computed(library, EVERYONE, kind))
        return _Prices(*(column[experts] for column in whole))
    return _computed(library, experts, kind)


def _computed(library: Library, experts: Experts, kind: Kind) -> _Prices:
    prompt = library.column("input_price")[experts] / 1e6
    output = library.column("output_price")[experts] / 1e6
    typical = library.column("output_tokens")[experts]
    typical = np.where(np.isnan(typical), REFERENCE_OUTPUT_TOKENS, typical)
    columns = (prompt, output, typical, typical * output)
    return _Prices(*(column.astype(kind) for column in columns))


def _discount(library: Library) -> FloatArray:
    """USD saved per prompt token that the provider still holds, `(n_experts,)`, NaN unknown."""
    cached = library.column("cached_input_price")
    saved = library.column("input_price") - np.where(np.isnan(cached), 0.0, cached)
    return np.maximum(saved, 0.0) / 1e6


def _reference_cost(library: Library) -> float:
    """USD of the dearest expert whose price is known, on the reference request; 0 if none is."""
    reference = Request(np.array([float(REFERENCE_PROMPT_TOKENS)]))
    usd = expected_cost(library, reference)
    return float(np.max(usd, where=np.isfinite(usd), initial=0.0))


@dataclass(frozen=True, slots=True)
class Thread:
    """Which expert has served each conversation of a batch so far, both `(batch,)`.

    `current` is its position in the library, -1 if there is none; `cached_tokens` are the tokens
    of the conversation that it has read already.
    """

    current: NDArray[np.intp]
    cached_tokens: FloatArray


def active(weights: Mapping[str, float], constraints: Mapping[str, Constraint]) -> dict[str, float]:
    """Return the weights above zero, each checked to be finite and to name a constraint."""
    chosen = {}
    for name, weight in weights.items():
        if name not in constraints:
            known = ", ".join(sorted(constraints)) or "none"
            near = did_you_mean(str(name), constraints)
            raise InputError(f"No constraint is called {name!r}; there is {known}.{near}")
        if not 0 <= weight < math.inf:
            raise InputError(f"weight {name}={weight} must be a finite number, 0 or more")
        if weight > 0:
            chosen[name] = float(weight)
    return chosen
