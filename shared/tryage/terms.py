"""The weighted constraints of a decision: a rough total of everyone, the exact one of who is near.

Among a million experts it is memory that takes the time, not arithmetic. So everyone's total is
first added up roughly, in single precision, and only those who could be among the best by more than
its rounding are added up exactly. What is returned is always exact, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Floats: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]
Experts: TypeAlias = slice | NDArray[np.intp]
Kind: TypeAlias = type[np.floating[Any]]

EVERYONE = slice(None)
_BLOCK = 1 << 15  # numbers: with what lies between them, they fit into the second level cache
_SINGLE = 1e30  # weights beyond this leave the range of single precision


class Term(Protocol):
    """One constraint in force, `lambda_j C_j`: `C_j` of some experts, `(k,)` or `(batch, k)`."""

    @property
    def weight(self) -> float:
        """The `lambda_j`."""
        ...

    def values(self, experts: Experts) -> Floats:
        """Return `C_j` in [0, 1], 1 where it is unknown."""
        ...

    def about(self, experts: Experts, kind: Kind) -> Floats:
        """Return `C_j` in another precision, off by a few roundings."""
        ...

    def unknown(self, experts: Experts) -> Mask:
        """Tell where the pessimistic end stands in for the value."""
        ...

    def row(self, i: int) -> Term:
        """Return the term of prompt `i` of the batch."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A term whose values are there already, `(n_experts,)` or `(batch, n_experts)`."""

    weight: float
    known: Floats
    gaps: Mask

    def values(self, experts: Experts) -> Floats:
        """Return the values."""
        return self.known[..., experts]

    def about(self, experts: Experts, kind: Kind) -> Floats:
        """Return the values, rounded."""
        return self.known[..., experts].astype(kind)

    def unknown(self, experts: Experts) -> Mask:
        """Tell which ones are unknown."""
        return self.gaps[..., experts]

    def row(self, i: int) -> Whole:
        """Return the term of prompt `i`."""
        if self.known.ndim == 1:
            return self
        return replace(self, known=self.known[i : i + 1], gaps=self.gaps[i : i + 1])


@dataclass(frozen=True, slots=True)
class Parted:
    """A term that is measured for those who are looked at; NaN is unknown, and none is above 1.

    `compute` takes prompts, experts and the precision to compute in; single precision may cost it
    six roundings of a value.
    """

    weight: float
    compute: Callable[[slice, Experts, Kind], Floats]
    prompts: slice

    def values(self, experts: Experts) -> Floats:
        """Return the values."""
        return self.about(experts, np.float64)

    def about(self, experts: Experts, kind: Kind) -> Floats:
        """Return the values as they come out in this precision."""
        values = self.compute(self.prompts, experts, kind)
        known: Floats = np.fmin(values, values.dtype.type(1))  # of NaN and 1, the 1
        return known

    def unknown(self, experts: Experts) -> Mask:
        """Tell which ones are unknown."""
        return np.isnan(self.compute(self.prompts, experts, np.float64))

    def row(self, i: int) -> Parted:
        """Return the term of prompt `i`."""
        return replace(self, prompts=slice(i, i + 1))


@dataclass(frozen=True, slots=True)
class Terms:
    """The routing loss of a batch: predicted losses `(batch, n_experts)` and the weighted terms.

    `rough` is about the total, in the same shape.
    """

    losses: Floats
    terms: Mapping[str, Term]
    rough: Floats

    @property
    def total(self) -> NDArray[np.float64]:
        """The exact total, `(batch, n_experts)`, added up when read."""
        return self.totals(EVERYONE)

    @property
    def weighted(self) -> dict[str, Floats]:
        """`lambda_j C_j` by name, `(n_experts,)` or `(batch, n_experts)`, multiplied when read."""
        return self.parts(EVERYONE)

    @property
    def unknown(self) -> dict[str, Mask]:
        """Where the pessimistic end stands in, in the same shapes."""
        return self.gaps(EVERYONE)

    def totals(self, experts: Experts) -> NDArray[np.float64]:
        """Add up the exact totals of some experts, `(batch, k)`."""
        total = np.array(self.losses[:, experts], dtype=np.float64)
        for term in self.terms.values():
            total += term.weight * term.values(experts)
        return total

    def parts(self, experts: Experts) -> dict[str, Floats]:
        """Return `lambda_j C_j` of some experts by name, `(k,)` or `(batch, k)`."""
        return {name: term.weight * term.values(experts) for name, term in self.terms.items()}

    def gaps(self, experts: Experts) -> dict[str, Mask]:
        """Tell what is unknown of some experts, `(k,)` or `(batch, k)`."""
        return {name: term.unknown(experts) for name, term in self.terms.items()}

    def slack(self, rough: float) -> float:
        """By how much, near this rough total, an exact one may differ from its rough one.

        A sum is off by half an epsilon of its size in every step, and what is added by some more:
        eight roundings a term are enough. The size is at most that of the total and, as losses may
        be negative, the weights.
        """
        if not self.terms:
            return 0.0
        weights = sum(term.weight for term in self.terms.values())
        epsilon = float(np.finfo(self.rough.dtype).eps)
        return (4 * len(self.terms) + 2) * epsilon * (abs(rough) + 2 * weights)

    def row(self, i: int) -> Terms:
        """Return the terms of prompt `i`, a batch of one."""
        if len(self.losses) == 1:
            return self
        terms = {name: term.row(i) for name, term in self.terms.items()}
        return Terms(self.losses[i : i + 1], terms, self.rough[i : i + 1])


def precision(losses: Floats, terms: Iterable[Term]) -> Kind:
    """Return the type to add up roughly in: single, if losses and weights are in its range."""
    small = sum(term.weight for term in terms) < _SINGLE
    return np.float32 if losses.dtype == np.float32 and small else np.float64


def together(terms: Sequence[Term], n: int, kind: Kind) -> Floats:
    """Add up terms that no prompt changes, all `(n,)`, in double precision, and round once."""
    total = np.zeros(n)
    for term in terms:
        total += term.weight * term.values(EVERYONE)
    return total.astype(kind)


def added(losses: Floats, base: Floats, moving: Sequence[Term]) -> Floats:
    """Add up roughly: losses `(batch, n)`, what no prompt changes `(n,)`, and the other terms."""
    batch, n = losses.shape
    rough = np.empty((batch, n), dtype=base.dtype)
    width = max(_BLOCK // max(batch, 1), 256)
    for start in range(0, n, width):
        experts = slice(start, start + width)
        block = rough[:, experts]
        np.add(losses[:, experts], base[experts], out=block, casting="same_kind")
        for term in moving:
            part = term.about(experts, base.dtype.type)
            part *= term.weight
            block += part
    return rough
