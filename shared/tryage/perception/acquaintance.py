"""A perception over a whole library: what is known of some experts, what is believed of the rest.

A million strangers share a few numbers per prompt: their predictions are one small product, a
gather, the caution and the link, block by block so that what lies between stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tryage.perception.abilities import Gaussian
from tryage.perception.base import Prediction
from tryage.perception.matching import match
from tryage.perception.traits import read_traits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.experts import Library
    from tryage.perception.abilities import Abilities
    from tryage.perception.base import Floats
    from tryage.perception.caution import Leaders
    from tryage.perception.learned import LearnedPerception
    from tryage.perception.sight import Matrix

Places = NDArray[np.intp]

_LEAST = 256
_BLOCK = 65_536  # numbers; a few blocks of that size fit into the second level of the cache


@dataclass(frozen=True, slots=True)
class Acquaintances:
    """Experts that nobody onboarded, but of whom feedback came: `names` and their abilities."""

    names: tuple[str, ...]
    abilities: Abilities

    def index(self, name: str) -> int | None:
        """Return the position of an expert, None if it is none of them."""
        return self.names.index(name) if name in self.names else None

    def with_ability(self, name: str, ability: Gaussian) -> Acquaintances:
        """Replace what is believed of an expert, or add one."""
        i = self.index(name)
        names = self.names if i is not None else (*self.names, name)
        return Acquaintances(names, self.abilities.with_ability(i, ability))

    def without(self, name: str) -> Acquaintances:
        """Leave one out, who becomes a known expert."""
        kept = [i for i, other in enumerate(self.names) if other != name]
        return Acquaintances(tuple(self.names[i] for i in kept), self.abilities.take(kept))


class Acquainted:
    """What a `LearnedPerception` predicts for every expert of a library, in library order.

    It has no memory of its own: what the perception learns shows here, and feedback given here is
    learned there.
    """

    def __init__(self, perception: LearnedPerception, library: Library) -> None:
        self._perception = perception
        self._library = library
        columns = match(perception.experts, library)
        self._rows = np.flatnonzero(columns >= 0)  # where in the library the known experts are
        self._columns = columns[self._rows]
        self._relatives = perception.kinship.relatives(read_traits(library))

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts of the library."""
        return self._library.names

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert of the library, in one encoder pass."""
        perception = self._perception
        seen = perception.head.see(perception.describe(prompts))
        sight, met = perception.look(seen), perception.acquaintances
        surely, leaders = perception.judge(sight, met)
        crowd = Gaussian(perception.abilities.prior.mean, self._relatives.spread)
        losses, std = self._guess(sight.places, sight.doubt(crowd), leaders)
        rows, columns = self._measured(met)
        losses[:, rows], std[:, rows] = surely.losses[:, columns], surely.std[:, columns]
        tokens = perception.forecast("output_tokens", seen) if self._rows.size else None
        return Prediction(losses, std, None if tokens is None else self._spread(tokens))

    def observe(self, prompt: str, i: int, loss: float) -> None:
        """Take in one measured loss of expert `i` of the library, known or not, in place."""
        known = np.flatnonzero(self._rows == i)
        if known.size:
            column = int(self._columns[known[0]])
            self._perception.observe(prompt, self._perception.experts[column], loss)
        else:
            self._perception.meet(prompt, self.experts[i], loss, self._relatives[i])

    def _measured(self, met: Acquaintances) -> tuple[Places, Places]:
        """Return positions in the library, and columns among the known and then the met."""
        first, library = len(self._perception.experts), self._library
        more = [
            (library.index(name), first + j) for j, name in enumerate(met.names) if name in library
        ]
        rows, columns = np.array(more, dtype=np.intp).reshape(-1, 2).T
        return np.concatenate([self._rows, rows]), np.concatenate([self._columns, columns])

    def _spread(self, tokens: Floats) -> Floats:
        """Put what the known experts' answers take in library order, NaN for strangers."""
        spread = np.full((len(tokens), len(self._relatives)), np.nan, np.float32)
        spread[:, self._rows] = tokens[:, self._columns]
        return spread

    def _guess(self, places: Matrix, doubt: Matrix, leaders: Leaders) -> tuple[Floats, Floats]:
        """Predict all experts from their traits, `(batch, n)`, with the standard deviations."""
        caution, link = self._perception.caution, self._perception.link
        kin, best = self._relatives, leaders.best.astype(np.float32)
        slopes = (places @ kin.slopes.T).astype(np.float32)
        offsets = (places @ kin.offsets.T).astype(np.float32)
        wide = doubt[:, None].astype(np.float32)
        losses = np.empty((len(places), len(kin)), np.float32)
        std = np.empty_like(losses)
        width = max(_BLOCK // max(len(places), 1), _LEAST)
        for start in range(0, len(kin), width):
            part = slice(start, start + width)
            y, spread = losses[:, part], std[:, part]
            np.matmul(slopes, kin.inputs[:, part], out=y)
            y += offsets.take(kin.kinds[part], axis=1)
            np.multiply(wide, kin.widths[part], out=spread)
            caution.soften(y, leaders.incumbent)
            link.carry(y, spread, best)
        return losses, std
