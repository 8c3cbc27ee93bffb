"""The trained perception: one encoder pass, then a few small products for all experts at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.objective import Prediction
from tryage.errors import InputError, PerceptionError
from tryage.perception.abilities import EVERY, Columns, Gaussian, Sight, look
from tryage.perception.base import match
from tryage.perception.metadata import read_traits
from tryage.perception.metadata_prior import of_the_crowd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, FloatArray, IndexArray
    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.perception.abilities import Abilities, Caution, Leaders, Link
    from tryage.perception.encoder import Encoder
    from tryage.perception.features import Features
    from tryage.perception.head import Head, Seen
    from tryage.perception.metadata_prior import Kinship

_LEAST = 256

_BLOCK = 65_536  # numbers; a few blocks of that size fit into the second level of the cache


class LearnedPerception:
    """Predicts losses from the prompt: `Q^(z, M_i) = link(a_i . [1, g(phi(z))])` (design.md).

    `kinship` says what to believe of experts that it does not know; without one they are all taken
    to be like the crowd. `acquaintances` are those of them on whom feedback came.
    """

    def __init__(  # noqa: PLR0913 - the parts of the equation, one each
        self,
        experts: Sequence[str],
        encoder: Encoder,
        features: Features,
        head: Head,
        abilities: Abilities,
        caution: Caution,
        link: Link,
        *,
        kinship: Kinship | None = None,
        acquaintances: Acquaintances | None = None,
        forecasts: Mapping[str, Float32Array] | None = None,
        report: Mapping[str, float] | None = None,
    ) -> None:
        if len(experts) != len(abilities):
            raise PerceptionError(f"{len(experts)} experts with {len(abilities)} abilities")
        self.experts = tuple(experts)
        self.encoder = encoder
        self.features = features
        self.head = head
        self.abilities = abilities
        self.caution = caution
        self.link = link
        self.kinship = kinship or of_the_crowd(abilities.prior)
        self.acquaintances = acquaintances or Acquaintances((), abilities.take([]))
        self.forecasts = dict(forecasts or {})  # name -> (n_categories, n_experts), see forecast.py
        self.report = dict(report or {})  # measured while training, on prompts not trained on
        self._learning = threading.Lock()

    def __repr__(self) -> str:
        """Name the size and the encoder."""
        return f"LearnedPerception({len(self.experts)} experts, {type(self.encoder).__name__})"

    def __getstate__(self) -> dict[str, Any]:
        """Copy all but the lock."""
        return {name: part for name, part in self.__dict__.items() if name != "_learning"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the parts over, with a lock of its own."""
        self.__dict__.update(state)
        self._learning = threading.Lock()

    def describe(self, prompts: Sequence[str]) -> Float32Array:
        """Read prompts once: features `phi(z)`, `(batch, d)`."""
        vectors = self.encoder.encode(prompts)
        return self.features.join(prompts, vectors, self.encoder.token_ids(prompts))

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, in one encoder pass."""
        return self.predict_from(self.describe(prompts))

    def predict_some(self, prompts: Sequence[str], columns: Columns) -> Prediction:
        """Predict some of the experts, by their positions: the same losses, in less time."""
        return self.predict_from(self.describe(prompts), columns)

    def predict_from(self, x: Float32Array, columns: Columns = EVERY) -> Prediction:
        """Predict from features `(batch, d)` that `describe` has read."""
        seen = self.head.see(x)
        prediction, _ = self.judge(self.look(seen), columns=columns)
        tokens = self.forecast("output_tokens", seen)
        return replace(prediction, output_tokens=None if tokens is None else tokens[:, columns])

    def related(self, library: Library) -> LearnedPerception:
        """Return this perception, which guesses at strangers as its own experts' facts suggest.

        The prior is learned from the abilities as they are now; of an expert that is not in the
        library nothing but its name is known.
        """
        from tryage.core.expert import Expert
        from tryage.core.library import Library
        from tryage.learning.training.metadata_prior import fit_kinship

        facts = [library[name] if name in library else Expert(name) for name in self.experts]
        own = Library(
            [replace(e, name=n, aliases=()) for e, n in zip(facts, self.experts, strict=True)]
        )
        kinship = fit_kinship(read_traits(own), self.abilities)
        return self._with(kinship=kinship)

    def acquainted(self, library: Library) -> Acquainted:
        """Return this perception over a whole library: its strangers are guessed from their traits.

        Building it reads all traits once, some seconds for a million experts.
        """
        return Acquainted(self, library)

    def look(self, seen: Seen) -> Sight:
        """Place prompts in the ability space."""
        return look(self.head.views(seen), self.head.weights)

    def judge(
        self, sight: Sight, met: Acquaintances | None = None, columns: Columns = EVERY
    ) -> tuple[Prediction, Leaders]:
        """Predict the known experts and then those `met`, `(batch, n_known + n_met)`.

        Or, if nobody was met, some `columns` of the known. Also returns what the incumbent and the
        best are predicted.
        """
        y, doubt = sight.judge(self.abilities, columns)
        if met is not None and met.names:
            more = sight.judge(met.abilities)
            y, doubt = (np.concatenate(pair, axis=1) for pair in zip((y, doubt), more, strict=True))
        leaders, careful = self.caution.lead(y), self.caution(y)
        std = self.link.std(y[:, columns], doubt, leaders.best)
        losses = self.link.losses(careful[:, columns], leaders.best)
        return Prediction(losses.astype(np.float32), std.astype(np.float32)), leaders

    def forecast(self, measure: str, seen: Seen) -> Float32Array | None:
        """Forecast `output_tokens`, `costs` (USD) or `latencies` (seconds), `(batch, n_experts)`.

        None if the Q-table had none; NaN for experts without a measurement.
        """
        table = self.forecasts.get(measure)
        return None if table is None else seen.categories @ table

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.integer[Any]]:
        """Count the tokens of each prompt, `(batch,)`, in the encoder's tokenizer."""
        return self.encoder.count_tokens(prompts)

    def prior(self) -> tuple[float, float]:
        """Guess the loss of an expert nobody has measured, and how wide the guess is."""
        prior = self.abilities.prior
        y, variance = np.array(prior.mean[:1]), np.array(prior.covariance[:1, 0])
        best = self.abilities.means[:, 0].min(keepdims=True)
        std = self.link.std(y, np.sqrt(variance), best)
        return float(self.link.losses(y, best)[0]), float(std[0])

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> LearnedPerception:
        """Return a perception that knows `expert` too, from its measured loss per prompt.

        The aptitude test: a posterior update of its ability; that of a stranger begins where its
        traits and the feedback on it have left it.

        Raises:
            InputError: no loss was given, or one is not finite.
        """
        if not losses:
            raise InputError(f"No loss of {expert.name!r} was given; measure it on a few prompts.")
        index = self._index(expert.name)
        ability = self._ability(expert, index)
        places = self.places(list(losses))
        ability = self._taught(ability, places, list(losses.values()))
        abilities = self.abilities.with_ability(index, ability)
        known = index is not None
        return self._with(
            experts=self.experts if known else (*self.experts, expert.name),
            abilities=abilities,
            caution=_reseated(self.caution, abilities),
            acquaintances=self.acquaintances.without(expert.name),
            forecasts=self.forecasts if known else one_wider(self.forecasts),
        )

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Take in one measured loss of a known expert: the same update, in place.

        Raises:
            PerceptionError: the expert is unknown.
        """
        index = self._index(expert)
        if index is None:
            raise PerceptionError(f"{expert!r} is unknown here; onboard it first.")
        places = self.places([prompt])
        with self._learning:
            ability = self._taught(self.abilities.of(index), places, [loss])
            self.abilities = self.abilities.with_ability(index, ability)
            self.caution = _reseated(self.caution, self.abilities)

    def meet(self, prompt: str, name: str, loss: float, first: Gaussian) -> None:
        """Take in one measured loss of a stranger: the same update, which begins at `first`."""
        places = self.places([prompt])
        with self._learning:
            index = self.acquaintances.index(name)
            ability = first if index is None else self.acquaintances.abilities.of(index)
            ability = self._taught(ability, places, [loss])
            self.acquaintances = self.acquaintances.with_ability(name, ability)

    def _with(self, **changed: Any) -> LearnedPerception:  # noqa: ANN401 - arguments of __init__
        """Return this perception with some parts replaced."""
        names = (
            *("experts", "encoder", "features", "head", "abilities", "caution", "link"),
            *("kinship", "acquaintances", "forecasts", "report"),
        )
        return LearnedPerception(**{name: getattr(self, name) for name in names} | changed)

    def _ability(self, expert: Expert, index: int | None) -> Gaussian:
        """Return what is believed of an expert now, at `index` among the known if it is one."""
        if index is not None:
            return self.abilities.of(index)
        met = self.acquaintances.index(expert.name)
        if met is not None:
            return self.acquaintances.abilities.of(met)
        from tryage.core.library import Library

        return self.kinship.relatives(read_traits(Library([expert])))[0]

    def places(self, prompts: Sequence[str]) -> FloatArray:
        """Place prompts in the ability space: `[1, g(phi(z))]`, `(batch, 1 + rank)`."""
        views = self.head.views(self.head.see(self.describe(prompts))).astype(np.float64)
        return look(views, self.head.weights).places

    def _taught(self, ability: Gaussian, places: FloatArray, losses: Sequence[float]) -> Gaussian:
        """Update an ability by losses measured at `places` `(batch, 1 + rank)`."""
        measured = np.array([[float(loss)] for loss in losses])
        best = self.caution.lead(self.abilities.losses(places)).best
        lessons = self.link.learned(measured, best)[:, 0]
        return ability.updated(places, lessons, self.abilities.noise)

    def _index(self, name: str) -> int | None:
        return self.experts.index(name) if name in self.experts else None


def _reseated(caution: Caution, abilities: Abilities) -> Caution:
    """Judge the incumbent anew by the first dimension, an expert's loss on the whole."""
    return caution.reseated(abilities.means[:, 0], abilities.covariances[:, 0, 0])


def one_wider(forecasts: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Add the column of an expert of whom nothing is known."""
    return {
        name: np.concatenate([table, np.full((len(table), 1), np.nan, np.float32)], axis=1)
        for name, table in forecasts.items()
    }


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

    def _measured(self, met: Acquaintances) -> tuple[IndexArray, IndexArray]:
        """Return positions in the library, and columns among the known and then the met."""
        first, library = len(self._perception.experts), self._library
        more = [
            (library.index(name), first + j) for j, name in enumerate(met.names) if name in library
        ]
        rows, columns = np.array(more, dtype=np.intp).reshape(-1, 2).T
        return np.concatenate([self._rows, rows]), np.concatenate([self._columns, columns])

    def _spread(self, tokens: Float32Array) -> Float32Array:
        """Put what the known experts' answers take in library order, NaN for strangers."""
        spread = np.full((len(tokens), len(self._relatives)), np.nan, np.float32)
        spread[:, self._rows] = tokens[:, self._columns]
        return spread

    def _guess(
        self, places: FloatArray, doubt: FloatArray, leaders: Leaders
    ) -> tuple[Float32Array, Float32Array]:
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
