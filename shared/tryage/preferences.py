"""What the user asks for besides quality: soft weights and hard requirements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.experts import Library, number
from tryage.requirements import Bools, Floats, Requirement

if TYPE_CHECKING:
    import datetime

__all__ = ["Preferences", "Requirement"]


@dataclass(frozen=True, init=False)
class Preferences:
    """Weights of the constraints (0 = do not care) and requirements that every expert must meet.

    The keywords after `requirements` are short ways to write common requirements:
    `max_parameters` (count), `max_cost` (USD of the request), `max_latency` (seconds),
    `min_context` (tokens), `min_security` ([0, 1]), `min_downloads`, `released_since` (date),
    `licenses` (any of), `capabilities` (all of), `only` (names or aliases of experts).

    Raises:
        InputError: a weight that is not finite and at least 0, or a malformed requirement.
    """

    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    requirements: tuple[Requirement, ...] = ()

    def __init__(  # noqa: PLR0913 - each keyword is one requirement, none goes with another
        self,
        weights: Mapping[str, float] | None = None,
        requirements: Iterable[Requirement] = (),
        *,
        max_parameters: float | None = None,
        max_cost: float | None = None,
        max_latency: float | None = None,
        min_context: float | None = None,
        min_security: float | None = None,
        min_downloads: float | None = None,
        released_since: datetime.date | None = None,
        licenses: Iterable[str] | None = None,
        capabilities: Iterable[str] | None = None,
        only: Iterable[str] | None = None,
    ) -> None:
        short: tuple[tuple[str, str, Any], ...] = (
            ("parameters", "<=", max_parameters),
            ("cost", "<=", max_cost),
            ("latency", "<=", max_latency),
            ("context_length", ">=", min_context),
            ("security", ">=", min_security),
            ("downloads", ">=", min_downloads),
            ("released", ">=", released_since),
            ("license", "in", licenses),
            ("capabilities", "has", capabilities),
            ("name", "in", only),
        )
        written = [Requirement(*parts) for parts in short if parts[2] is not None]
        object.__setattr__(self, "weights", _weights(weights))
        object.__setattr__(self, "requirements", _unique((*_required(requirements), *written)))

    @property
    def needs_cost(self) -> bool:
        """Whether a requirement reads the cost of the request."""
        return any(requirement.field == "cost" for requirement in self.requirements)

    def satisfied(self, library: Library, cost: Floats | None = None) -> Bools:
        """Tell which experts meet every requirement, `(n,)`, or `(..., n)` with such a `cost`.

        Raises:
            InputError: a cost is required and none was given.
        """
        met = np.ones(len(library), dtype=np.bool_)
        for requirement in self.requirements:
            met = met & requirement.satisfied(library, cost)
        return met

    def reasons(self, library: Library, i: int, cost: Floats | None = None) -> tuple[str, ...]:
        """Say why expert `i` is rejected, one sentence per requirement it misses.

        Args:
            library: The n experts.
            i: The position of the expert.
            cost: Expected USD of this one request per expert `(n,)`, NaN unknown.
        """
        own = None if cost is None else float(cost[i])
        missed = (r for r in self.requirements if not r.satisfied(library, cost)[i])
        return tuple(requirement.reason(library, i, own) for requirement in missed)

    def tightened(self, other: Preferences) -> Preferences:
        """Return both together: the larger weight of each name, every requirement of either.

        An expert that `self` rejects is rejected by the result, whatever `other` says.
        """
        weights = dict(self.weights)
        for name, weight in other.weights.items():
            weights[name] = max(weight, weights.get(name, 0.0))
        return Preferences(weights, (*self.requirements, *other.requirements))

    def to_dict(self) -> dict[str, Any]:
        """Return them JSON-safe."""
        return {
            "weights": dict(self.weights),
            "requirements": [requirement.to_dict() for requirement in self.requirements],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preferences:
        """Build preferences from what `to_dict` wrote; either part may be missing.

        Raises:
            InputError: another key, or a malformed part.
        """
        if not isinstance(data, Mapping) or not set(data) <= {"weights", "requirements"}:
            raise InputError(f"Preferences are {{weights, requirements}}, got {data!r:.200}.")
        rows = data.get("requirements", ())
        return cls(data.get("weights"), [Requirement.from_dict(row) for row in rows])


def _weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return checked weights as a new dict."""
    if weights is None:
        return {}
    if not isinstance(weights, Mapping):
        raise InputError(f"weights must be a dict such as {{'cost': 0.3}}, got {weights!r:.80}.")
    for name in weights:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"A weight is named by a constraint, got {name!r:.80}.")
    return {name: number(f"weight of {name}", value) for name, value in weights.items()}


def _required(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Return the requirements as a tuple, or say what is none."""
    if isinstance(requirements, (str, Mapping, Requirement)):
        raise InputError(f"requirements must be a list of Requirement, got {requirements!r:.80}.")
    found = tuple(requirements)
    for item in found:
        if not isinstance(item, Requirement):
            raise InputError(f"requirements must hold Requirement, got {item!r:.80}.")
    return found


def _unique(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Drop repeated requirements, keeping the order."""
    return tuple(dict.fromkeys(requirements))
