"""The trained perception: one encoder pass, then a few small products for all experts at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError, PerceptionError
from tryage.perception.abilities import EVERY, Columns
from tryage.perception.acquaintance import Acquaintances, Acquainted
from tryage.perception.base import Floats, Prediction
from tryage.perception.forecast import one_wider
from tryage.perception.kinship import of_the_crowd
from tryage.perception.sight import Sight, look
from tryage.perception.traits import read_traits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.experts import Expert, Library
    from tryage.perception.abilities import Abilities, Gaussian
    from tryage.perception.caution import Caution, Leaders
    from tryage.perception.encoder import Encoder
    from tryage.perception.estimators import Seen
    from tryage.perception.features import Features
    from tryage.perception.head import Head
    from tryage.perception.kinship import Kinship
    from tryage.perception.link import Link

Matrix = NDArray[np.floating[Any]]


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
        forecasts: Mapping[str, Floats] | None = None,
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

    def describe(self, prompts: Sequence[str]) -> Floats:
        """Read prompts once: features `phi(z)`, `(batch, d)`."""
        vectors = self.encoder.encode(prompts)
        return self.features.join(prompts, vectors, self.encoder.token_ids(prompts))

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, in one encoder pass."""
        return self.predict_from(self.describe(prompts))

    def predict_some(self, prompts: Sequence[str], columns: Columns) -> Prediction:
        """Predict some of the experts, by their positions: the same losses, in less time."""
        return self.predict_from(self.describe(prompts), columns)

    def predict_from(self, x: Floats, columns: Columns = EVERY) -> Prediction:
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
        from tryage.experts import Expert, Library
        from tryage.perception.heredity import fit_kinship

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

    def forecast(self, measure: str, seen: Seen) -> Floats | None:
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
        from tryage.experts import Library

        return self.kinship.relatives(read_traits(Library([expert])))[0]

    def places(self, prompts: Sequence[str]) -> Matrix:
        """Place prompts in the ability space: `[1, g(phi(z))]`, `(batch, 1 + rank)`."""
        views = self.head.views(self.head.see(self.describe(prompts))).astype(np.float64)
        return look(views, self.head.weights).places

    def _taught(self, ability: Gaussian, places: Matrix, losses: Sequence[float]) -> Gaussian:
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
