"""Who could be chosen, best first, and who could not: long lists, made only as far as read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tryage.core.constraints import EVERYONE
from tryage.errors import LibraryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, FloatArray
    from tryage.core.constraints import Experts
    from tryage.core.library import Library
    from tryage.core.objective import Terms
    from tryage.core.preferences import Requirement

NO_PREDICTION = "no usable prediction"

_AHEAD, _FEW = 16, 128  # so few are sorted sooner than the best of them are looked for


@dataclass(frozen=True, slots=True)
class Ranked:
    """One expert that could be chosen: `total` = `predicted_loss` + the sum of `terms`.

    `std` is the standard deviation of the predicted loss, None if unknown; `terms[name]` is
    `lambda_j C_j`; `unknown` names the constraints for which the worst value stands in.
    """

    name: str
    predicted_loss: float
    std: float | None
    terms: Mapping[str, float]
    total: float
    unknown: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-safe."""
        return {
            "name": self.name,
            "predicted_loss": self.predicted_loss,
            "std": self.std,
            "terms": dict(self.terms),
            "total": self.total,
            "unknown": list(self.unknown),
        }


class Ranking(Sequence[Ranked]):
    """Every expert that could be chosen, best first; sorted only as far as it is read.

    Ties in the total go to the lower predicted loss, then to library order. All arrays are
    `(n_experts,)`, `terms` of a batch of one; `eligible` marks who met the requirements and has a
    prediction.
    """

    def __init__(
        self,
        library: Library,
        losses: FloatArray,
        std: FloatArray,
        terms: Terms,
        eligible: BoolArray,
    ) -> None:
        self._library, self._losses, self._std = library, losses, std
        self._terms, self._eligible = terms, eligible
        self._size = int(np.count_nonzero(eligible))
        self._order: NDArray[np.intp] = np.empty(0, np.intp)  # the best, as many as were asked for
        self._read: dict[int, Ranked] = {}  # by position in the library

    def __len__(self) -> int:
        """Count the experts that could be chosen."""
        return self._size

    @overload
    def __getitem__(self, place: int) -> Ranked: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, place: int | slice) -> Ranked | tuple[Ranked, ...]:
        """Return the expert at a place, 0 the chosen one, or several."""
        places = range(self._size)[place]
        if isinstance(places, int):
            return self._at(int(self.first(places + 1)[places]))
        order = self.first(max(places, default=-1) + 1)
        return tuple(self._at(int(order[j])) for j in places)

    def __iter__(self) -> Iterator[Ranked]:
        """Yield the experts, best first."""
        for place in range(self._size):
            yield self._at(int(self.first(place + 1)[place]))

    def __repr__(self) -> str:
        """Show the size and the best few."""
        return f"Ranking({self._size} experts: {', '.join(r.name for r in self[:3])})"

    def of(self, name: str) -> Ranked:
        """Return how one expert stands, by name or alias.

        Raises:
            LibraryError: no such expert, or it was rejected.
        """
        i = self._library.index(name)
        if not self._eligible[i]:
            raise LibraryError(f"{name!r} was rejected and has no place; see decision.rejected")
        return self._at(i)

    def first(self, k: int) -> NDArray[np.intp]:
        """Return the library positions of the `k` best, in order; cheap for small `k`."""
        order = self._order  # a local name: another thread may put a shorter one in its place
        if order.size < min(k, self._size):
            # who reads the second reads the third: twice as many, so that reading all stays cheap
            ahead = max(k, _AHEAD, 2 * order.size) if k > 1 else k
            whole = self._size <= max(ahead, _FEW)
            order = self._order = self._sorted(self._size if whole else ahead)
        return order[:k]

    def _sorted(self, k: int) -> NDArray[np.intp]:
        if k == self._losses.size:
            return self._by_total(EVERYONE)
        near = self._near(k) if k < self._size else np.flatnonzero(self._eligible)
        best: NDArray[np.intp] = near[self._by_total(near)[:k]]
        return best

    def _by_total(self, experts: Experts) -> NDArray[np.intp]:
        losses = self._losses[experts]
        if not self._terms.terms:
            return losses.argsort(kind="stable")
        return np.lexsort((losses, self._terms.totals(experts)[0]))  # then library order

    def _near(self, k: int) -> NDArray[np.intp]:
        """Return the positions of all that may be among the `k` best, in library order."""
        rough = self._terms.rough[0]
        if self._size < rough.size:
            # Of a million arbitrary answers a processor guesses half wrong: no branch, so no where.
            lowest = np.array([np.inf, -np.inf], rough.dtype).take(self._eligible)
            rough = np.maximum(rough, lowest)
        bound = float(np.fmin.reduce(rough) if k == 1 else np.partition(rough, k - 1)[k - 1])
        bound += 2 * self._terms.slack(bound)  # the k best are no further, whatever was rounded
        return np.flatnonzero((rough <= bound) & self._eligible)

    def _at(self, i: int) -> Ranked:
        if i not in self._read:
            self._read[i] = self._ranked(i)
        return self._read[i]

    def _ranked(self, i: int) -> Ranked:
        name, loss, std = self._library.names[i], float(self._losses[i]), float(self._std[i])
        known = std if math.isfinite(std) else None
        if not self._terms.terms:
            return Ranked(name, loss, known, {}, loss, ())
        one = slice(i, i + 1)
        return Ranked(
            name=name,
            predicted_loss=loss,
            std=known,
            terms={name: float(part.item()) for name, part in self._terms.parts(one).items()},
            total=float(self._terms.totals(one).item()),
            unknown=tuple(name for name, gap in self._terms.gaps(one).items() if gap.item()),
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """One expert that could not be chosen, with a sentence for each reason."""

    name: str
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-safe."""
        return {"name": self.name, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Check:
    """One filter on the library: a requirement, or (None) the need for a usable prediction.

    `passed` is `(n_experts,)`; `cost` is the expected USD `(n_experts,)` if the filter reads it.
    """

    requirement: Requirement | None
    passed: BoolArray
    cost: FloatArray | None = None

    @property
    def label(self) -> str:
        """What the filter looks at, in a word or three."""
        return NO_PREDICTION if self.requirement is None else self.requirement.field

    def reason(self, library: Library, i: int) -> str:
        """Say why expert `i` does not pass."""
        if self.requirement is None:
            return NO_PREDICTION
        return self.requirement.reason(library, i, None if self.cost is None else self.cost[i])


class Rejections(Sequence[Rejected]):
    """Every expert that did not pass, in library order; the sentences are made when read."""

    def __init__(self, library: Library, checks: Sequence[Check]) -> None:
        self._library, self.checks = library, tuple(checks)

    @cached_property
    def _rows(self) -> NDArray[np.intp]:
        """The positions of the rejected experts; looked for when somebody asks."""
        passed = [check.passed for check in self.checks]
        return np.flatnonzero(~np.logical_and.reduce(passed)) if passed else np.empty(0, np.intp)

    def __len__(self) -> int:
        """Count the rejected experts."""
        return self._rows.size

    @overload
    def __getitem__(self, place: int) -> Rejected: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Rejected, ...]: ...
    def __getitem__(self, place: int | slice) -> Rejected | tuple[Rejected, ...]:
        """Return one rejected expert, or several."""
        if isinstance(place, slice):
            return tuple(self[j] for j in range(*place.indices(len(self))))
        i = int(self._rows[place])
        failed = (check for check in self.checks if not check.passed[i])
        return Rejected(
            self._library.names[i], tuple(check.reason(self._library, i) for check in failed)
        )

    def __repr__(self) -> str:
        """Show the size and the first few."""
        return f"Rejections({len(self)} experts: {', '.join(r.name for r in self[:3])})"

    def unmet(self, i: int) -> tuple[str, ...]:
        """Say which requirements the expert at library position `i` does not meet."""
        failed = (check for check in self.checks if check.requirement and not check.passed[i])
        return tuple(check.reason(self._library, i) for check in failed)

    def grouped(self, examples: int = 3) -> list[tuple[str, int, tuple[tuple[str, str], ...]]]:
        """Return, per filter that rejects someone: label, count and a few (name, reason)."""
        groups = []
        for check in self.checks:
            failed = np.flatnonzero(~check.passed)
            shown = tuple(
                (self._library.names[i], check.reason(self._library, i))
                for i in failed[:examples].tolist()
            )
            if shown:
                groups.append((check.label, failed.size, shown))
        return groups
