"""Constraints: secondary goals such as size and cost as numbers in [0, 1], 0 best, in pure numpy.

Every constraint `C_j` has a fixed scale, the same in every library: an expert that is added or
removed never changes the values of the others. Values beyond the ends of a scale count as its ends.
Unknown is NaN.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import update_wrapper
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from tryage.core.arrays import FloatArray
from tryage.core.cache import get_or_compute
from tryage.core.costs import (
    REFERENCE_OUTPUT_TOKENS as REFERENCE_OUTPUT_TOKENS,  # noqa: PLC0414 - its former place
)
from tryage.core.costs import cache_discount, cost_dtype, request_costs
from tryage.core.costs import (
    expected_cost as expected_cost,  # noqa: PLC0414 - its former place, exported for users
)
from tryage.core.library import Library
from tryage.core.request_batch import (
    ALL,
    ExpertIndex,
    FloatDType,
)
from tryage.core.request_batch import (
    ConversationState as ConversationState,  # noqa: PLC0414 - its former place, exported for users
)
from tryage.core.request_batch import (
    RequestBatch as RequestBatch,  # noqa: PLC0414 - its former place, exported for users
)
from tryage.core.validation import did_you_mean
from tryage.errors import InputError

# The scales: the value that is 0, and the one that is 1.
SIZE_SCALE = (1e6, 1e12)  # parameters, in the logarithm
RELEASE_SCALE = (datetime.date(2030, 1, 1), datetime.date(2018, 1, 1))
ANSWER_LENGTH_SCALE = (0.0, 4_000.0)  # tokens of a typical answer
READING_EASE_SCALE = (100.0, 0.0)  # Flesch
LATENCY_SCALE = (0.0, 30.0)  # seconds
DOWNLOADS_SCALE = (1e9, 0.0)  # in the logarithm of downloads + 1
COST_SCALE = (0.0, 0.05)  # USD of the request; 1 is about a reference request to a dear model

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
    """Smaller is better; linear in the log of the parameter count: 0 at a million, 1 at 1e12."""
    parameters = library.column("parameters")
    low, high = SIZE_SCALE
    return linear_scale(
        np.log(np.where(parameters > 0, parameters, np.nan)), math.log(low), math.log(high)
    )


@StaticConstraint
def recency(library: Library) -> FloatArray:
    """Newer is better; linear in days since the release: 0 in 2030, 1 in 2018, a year is 1/12."""
    newest, oldest = (float(date.toordinal()) for date in RELEASE_SCALE)
    return linear_scale(library.column("released"), newest, oldest)


@StaticConstraint
def security(library: Library) -> FloatArray:
    """Safer is better; the share of failed scans."""
    return linear_scale(library.column("security"), 1.0, 0.0)


@StaticConstraint
def verbosity(library: Library) -> FloatArray:
    """Shorter is better; linear in the tokens of a typical answer: 1 at 4,000."""
    return linear_scale(library.column("output_tokens"), *ANSWER_LENGTH_SCALE)


@StaticConstraint
def readability(library: Library) -> FloatArray:
    """Easier to read is better; linear in the Flesch reading ease: 0 at 100, 1 at 0."""
    return linear_scale(library.column("readability"), *READING_EASE_SCALE)


@StaticConstraint
def latency(library: Library) -> FloatArray:
    """Faster is better; linear in the seconds to a typical answer: 1 at 30 seconds."""
    return linear_scale(library.column("latency"), *LATENCY_SCALE)


@StaticConstraint
def popularity(library: Library) -> FloatArray:
    """More used is better; linear in the log of the downloads: 0 at 1e9, 1 at none."""
    most, none = (math.log1p(downloads) for downloads in DOWNLOADS_SCALE)
    return linear_scale(np.log1p(library.column("downloads")), most, none)


@BlockwiseConstraint
def cost(
    library: Library, request: RequestBatch, experts: ExpertIndex, dtype: FloatDType
) -> FloatArray:
    """Cheaper is better; proportional to the USD of *this* request, `(batch, n_experts)`.

    1 is 5 cents: about what 1,000 prompt tokens and an answer of 500 tokens cost at a dear model
    (15 and 75 USD per million tokens). A request that costs more stays at 1. Cached tokens are
    billed in full, because `switching` says what leaving a cache costs.
    """
    usd = request_costs(
        library, replace(request, conversation=None), experts, cost_dtype(library, dtype)
    )
    usd /= COST_SCALE[1]
    return np.clip(usd, -np.inf, 1.0, out=usd)  # numpy has no fast loop for a minimum with 1


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
    discount = get_or_compute(library, "discount", lambda: cache_discount(library))
    usd = np.where(
        conversation.cached_tokens > 0,
        conversation.cached_tokens * discount[conversation.current],
        0.0,
    )
    lost = np.where(conversation.current < 0, 0.0, np.minimum(usd / COST_SCALE[1], 1.0))
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


def linear_scale(column: FloatArray, best: float, worst: float) -> FloatArray:
    """Scale a column linearly: `best` is 0, `worst` is 1, beyond them 0 and 1, NaN stays NaN."""
    scaled: FloatArray = np.clip((column - best) / (worst - best), 0.0, 1.0)
    return scaled
