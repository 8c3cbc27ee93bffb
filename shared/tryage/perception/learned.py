"""The trained perception: one encoder pass, then a few small products for all experts at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError, PerceptionError
from tryage.perception.base import Floats, Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.experts import Expert
    from tryage.perception.abilities import Abilities
    from tryage.perception.caution import Caution
    from tryage.perception.encoder import Encoder
    from tryage.perception.features import Features
    from tryage.perception.head import Head
    from tryage.perception.link import Link

Matrix = NDArray[np.floating[Any]]


class LearnedPerception:
    """Predicts losses from the prompt: `Q^(z, M_i) = link(a_i . [1, g(phi(z))])` (design.md).

    The uncertainty has two sources: how well an expert's ability is known, and how far the
    estimators of the prompt's place disagree.
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
        self.forecasts = dict(forecasts or {})  # name -> (n_categories, n_experts), see forecast.py
        self.report = dict(report or {})  # measured while training, on prompts not trained on
        self._learning = threading.Lock()

    def __repr__(self) -> str:
        """Name the size and the encoder."""
        return f"LearnedPerception({len(self.experts)} experts, {type(self.encoder).__name__})"

    def describe(self, prompts: Sequence[str]) -> Floats:
        """Read prompts once: features `phi(z)`, `(batch, d)`."""
        vectors = self.encoder.encode(prompts)
        return self.features.join(prompts, vectors, self.encoder.token_ids(prompts))

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, in one encoder pass."""
        return self.predict_from(self.describe(prompts))

    def predict_from(self, x: Floats) -> Prediction:
        """Predict from features `(batch, d)` that `describe` has read."""
        abilities = self.abilities  # one snapshot: `observe` may replace it in another thread
        views = self.head.views(x)
        places = self._mixed(views)
        y = abilities.losses(places)
        doubt = abilities.variances(places) + _disagreement(
            views, self.head.weights, y, abilities.means
        )
        std = self.link.std(y, np.sqrt(np.maximum(doubt, 0)))
        losses = self.link.losses(self.caution(y))
        tokens = self.forecast("output_tokens", x)
        return Prediction(losses.astype(np.float32), std.astype(np.float32), tokens)

    def forecast(self, measure: str, x: Floats) -> Floats | None:
        """Forecast `output_tokens`, `costs` (USD) or `latencies` (seconds), `(batch, n_experts)`.

        None if the Q-table had none; NaN for experts without a measurement.
        """
        table = self.forecasts.get(measure)
        return None if table is None else self.head.categories.probabilities(x) @ table

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.integer[Any]]:
        """Count the tokens of each prompt, `(batch,)`, in the encoder's tokenizer."""
        return self.encoder.count_tokens(prompts)

    def prior(self) -> tuple[float, float]:
        """Guess the loss of an expert nobody has measured, and how wide the guess is."""
        prior = self.abilities.prior
        y, variance = np.array(prior.mean[:1]), np.array(prior.covariance[:1, 0])
        return float(self.link.losses(y)[0]), float(self.link.std(y, np.sqrt(variance))[0])

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> LearnedPerception:
        """Return a perception that knows `expert` too, from its measured loss per prompt.

        The aptitude test: a posterior update of its ability, or of the prior of a stranger.

        Raises:
            InputError: no loss was given, or one is not finite.
        """
        if not losses:
            raise InputError(f"No loss of {expert.name!r} was given; measure it on a few prompts.")
        index = self._index(expert.name)
        ability = self.abilities.prior if index is None else self.abilities.of(index)
        places = self._places(list(losses))
        values = np.array([float(value) for value in losses.values()])
        ability = ability.updated(places, values, self.abilities.noise)
        abilities = self.abilities.with_ability(index, ability)
        return LearnedPerception(
            self.experts if index is not None else (*self.experts, expert.name),
            self.encoder,
            self.features,
            self.head,
            abilities,
            _reseated(self.caution, abilities),
            self.link,
            forecasts=self.forecasts if index is not None else _one_wider(self.forecasts),
            report=self.report,
        )

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Take in one measured loss of a known expert: the same update, in place.

        Raises:
            PerceptionError: the expert is unknown.
        """
        index = self._index(expert)
        if index is None:
            raise PerceptionError(f"{expert!r} is unknown here; onboard it first.")
        places = self._places([prompt])
        with self._learning:
            ability = self.abilities.of(index)
            ability = ability.updated(places, np.array([float(loss)]), self.abilities.noise)
            self.abilities = self.abilities.with_ability(index, ability)
            self.caution = _reseated(self.caution, self.abilities)

    def _places(self, prompts: Sequence[str]) -> Matrix:
        return self._mixed(self.head.views(self.describe(prompts)).astype(np.float64))

    def _mixed(self, views: Matrix) -> Matrix:
        """Mix what the estimators see into places `[1, g]`, `(batch, 1 + rank)`."""
        mixed = np.tensordot(self.head.weights, views, 1)
        return np.concatenate([np.ones((len(mixed), 1), mixed.dtype), mixed], axis=1)

    def _index(self, name: str) -> int | None:
        return self.experts.index(name) if name in self.experts else None


def _reseated(caution: Caution, abilities: Abilities) -> Caution:
    """Judge the incumbent anew by the first dimension, an expert's loss on the whole."""
    return caution.reseated(abilities.means[:, 0], abilities.covariances[:, 0, 0])


def _one_wider(forecasts: Mapping[str, Floats]) -> dict[str, Floats]:
    """Add the column of an expert of whom nothing is known."""
    return {
        name: np.concatenate([table, np.full((len(table), 1), np.nan, np.float32)], axis=1)
        for name, table in forecasts.items()
    }


def _disagreement(views: Matrix, weights: Floats, y: Matrix, means: Matrix) -> Matrix:
    """Weighted variance `(batch, n_experts)` of what the estimators say."""
    said = means[:, 0] + views @ means[:, 1:].T
    return np.asarray(np.tensordot(weights, (said - y) ** 2, 1))
