"""The routing loss: predicted loss plus weighted constraints, in pure numpy.

    total(z, M_i) = Q^(z, M_i) + sum_j lambda_j C_j(M_i)        (arXiv 2308.11601, the router)

What is unknown of an expert gets the pessimistic end, 1, and is named.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.constraints import (
    DEFAULT_CONSTRAINTS,
    Constraint,
    InParts,
    PerLibrary,
    cost,
    expected_cost,
    latency,
    popularity,
    readability,
    recency,
    scale,
    security,
    size,
    switching,
    verbosity,
)
from tryage.errors import InputError
from tryage.experts import Library, did_you_mean
from tryage.memo import remember, remember_last
from tryage.request import Request, Thread
from tryage.terms import (
    EVERYONE,
    Experts,
    Kind,
    Parted,
    Term,
    Terms,
    Whole,
    added,
    precision,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_CONSTRAINTS",
    "Constraint",
    "InParts",
    "PerLibrary",
    "Request",
    "Thread",
    "active",
    "cost",
    "expected_cost",
    "latency",
    "measure",
    "needs_request",
    "popularity",
    "readability",
    "recency",
    "scale",
    "score",
    "security",
    "size",
    "switching",
    "verbosity",
]

Floats: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]
_Scored: TypeAlias = tuple[Floats, Mask]  # values with unknown = 1, and where that happened


def score(
    predicted: Floats,
    library: Library,
    weights: Mapping[str, float],
    constraints: Mapping[str, Constraint],
    request: Request,
) -> Terms:
    """Add the weighted constraints to the predicted losses `(batch, n_experts)`.

    Raises:
        InputError: a weight without a constraint, a weight that is negative or not finite, or a
            constraint that returned the wrong shape or a value outside [0, 1].
    """
    losses = np.asarray(predicted)
    if losses.ndim != 2 or losses.shape[1] != len(library):
        raise InputError(
            f"predicted losses have shape {losses.shape}; expected (batch, {len(library)})"
        )
    chosen = active(weights, constraints) if weights else {}
    if not chosen:
        return Terms(losses, {}, losses)
    terms = {
        name: _term(weight, name, constraints[name], library, request)
        for name, weight in chosen.items()
    }
    kind = precision(losses, terms.values())
    still = [name for name in chosen if isinstance(constraints[name], PerLibrary)]
    moving = [term for name, term in terms.items() if name not in still]

    def add_still() -> Floats:
        return together([terms[name] for name in still], len(library), kind)

    key = (kind, *((constraints[name], chosen[name]) for name in still))
    return Terms(losses, terms, added(losses, remember_last(library, key, add_still), moving))


def _term(
    weight: float, name: str, constraint: Constraint, library: Library, request: Request
) -> Term:
    """Put a constraint in force; ours are known to be in range, so they need not be whole."""
    if not isinstance(constraint, InParts):
        return Whole(weight, *measure(name, constraint, library, request))

    def compute(prompts: slice, experts: Experts, kind: Kind) -> Floats:
        return constraint.compute(library, request.rows(prompts), experts, kind)

    return Parted(weight, compute, EVERYONE)


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


def measure(name: str, constraint: Constraint, library: Library, request: Request) -> _Scored:
    """Evaluate one constraint: its values with unknown = 1, and the mask of the unknown ones.

    Raises:
        InputError: the constraint returned the wrong shape or a value outside [0, 1].
    """
    if isinstance(constraint, PerLibrary):
        key = (constraint, "scored")
        return remember(
            library, key, lambda: _scored(name, constraint.compute(library), (), library)
        )
    return _scored(name, constraint(library, request), request.prompt_tokens.shape, library)


def needs_request(weights: Mapping[str, float], constraints: Mapping[str, Constraint]) -> bool:
    """Tell whether any weighted constraint looks at the lengths of the prompts."""
    return any(w > 0 and not isinstance(constraints.get(k), PerLibrary) for k, w in weights.items())


def _scored(name: str, raw: object, batch: tuple[int, ...], library: Library) -> _Scored:
    """Check what a constraint returned and put 1 for what it does not know."""
    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        got = type(raw).__name__
        raise InputError(f"constraint {name!r} returned {got}, expected numbers") from error
    n = len(library)
    if values.shape not in ((n,), (*batch, n)):
        expected = f"({n},)" + (f" or {(*batch, n)}" if batch else "")
        raise InputError(f"constraint {name!r} returned shape {values.shape}; expected {expected}")
    unknown = np.isnan(values)
    values = np.where(unknown, 1.0, values)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        *_, i = np.argwhere((values < 0) | (values > 1))[0]
        worst = values[..., i].flat[np.argmax(np.abs(values[..., i] - 0.5))]
        raise InputError(
            f"constraint {name!r} returned {worst} for {library.names[i]!r}; "
            "expected values in [0, 1], or NaN for unknown"
        )
    values.flags.writeable = unknown.flags.writeable = False
    return values, unknown
