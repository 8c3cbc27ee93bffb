"""The trained perception: one encoder pass, then a few small products for all experts at once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.library import Library
from tryage.core.perception import Perception, Prediction
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import InputError, PerceptionError
from tryage.locks import ForkSafeLock
from tryage.perception.abilities import (
    ALL_COLUMNS,
    LEVEL_STD,
    MAX_SURPRISE,
    WIDE_LEVEL_STD,
    ColumnIndex,
    Gaussian,
)
from tryage.perception.head import LatentPositions, mix_positions
from tryage.perception.metadata_prior import pooled_prior
from tryage.perception.preferred import MEASURE, preferred_losses
from tryage.perception.question import find_questions
from tryage.perception.typical_prompts import TYPICAL_PROMPTS
from tryage.perception.unmeasured import Beliefs, LibraryPerception, ObservedExperts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.core.expert import Expert
    from tryage.core.perception import SecondStage
    from tryage.core.uncertainty import UncertaintyCalibration
    from tryage.perception.abilities import Abilities, Link, ReferencePredictions, SoftThreshold
    from tryage.perception.encoder import Encoder
    from tryage.perception.features import FeatureExtractor
    from tryage.perception.head import EstimatorInputs, Head
    from tryage.perception.metadata_prior import MetadataPrior


class LearnedPerception(Perception):
    """Predicts losses from the prompt: `Q^(z, M_i) = link(a_i . [1, g(phi(z))])`.

    The `feature_extractor` is `phi`, the `head` is `g`, and `abilities` are the `a_i`
    (docs/concepts.md). What feedback changes are the `beliefs`, and these are replaced as a whole:
    threads that predict meanwhile see those of one moment. The `metadata_prior` is the belief about
    experts that were never measured; without one, each of them is expected to be like the mean of
    the known experts. `observed_experts` are the unmeasured experts for which feedback arrived.
    `forecasts` are means by category `(n_categories, n_experts)` of a measure, such as
    `output_tokens`. `report` holds figures that were measured while training, on prompts that were
    not trained on. The `second_stage` is a slower perception that a router asks where two experts
    are close.
    `uncertainty` was fitted on prompts that were not trained on; perceptions of earlier versions
    have none.
    """

    def __init__(  # noqa: PLR0913 - the parts of the equation, one each
        self,
        experts: Sequence[str],
        encoder: Encoder,
        feature_extractor: FeatureExtractor,
        head: Head,
        abilities: Abilities,
        soft_threshold: SoftThreshold,
        link: Link,
        *,
        metadata_prior: MetadataPrior | None = None,
        observed_experts: ObservedExperts | None = None,
        forecasts: Mapping[str, Float32Array] | None = None,
        report: Mapping[str, float] | None = None,
        second_stage: SecondStage | None = None,
        uncertainty: UncertaintyCalibration | None = None,
    ) -> None:
        if len(experts) != len(abilities):
            raise PerceptionError(f"{len(experts)} experts with {len(abilities)} abilities")
        self.experts = tuple(experts)
        self.encoder = encoder
        self.feature_extractor = feature_extractor
        self.head = head
        self.link = link
        self.metadata_prior = metadata_prior or pooled_prior(abilities.prior)
        observed = observed_experts or ObservedExperts((), abilities.take([]))
        self.beliefs = self._trained_beliefs = Beliefs(abilities, soft_threshold, observed)
        self.forecasts = dict(forecasts or {})
        self.report = dict(report or {})
        self.second_stage = second_stage
        self.uncertainty = uncertainty
        self._lock = ForkSafeLock()

    @property
    def abilities(self) -> Abilities:
        """The abilities of the known experts, as they are believed now."""
        return self.beliefs.abilities

    @property
    def soft_threshold(self) -> SoftThreshold:
        """What shrinks the predictions, and the expert that others have to beat now."""
        return self.beliefs.soft_threshold

    @property
    def observed_experts(self) -> ObservedExperts:
        """The unmeasured experts for which feedback arrived, as they are believed now."""
        return self.beliefs.observed_experts

    def replace(self, **changes: Any) -> LearnedPerception:  # noqa: ANN401 - arguments of __init__
        """Return a copy of this perception with some parts replaced."""
        names = (
            *("experts", "encoder", "feature_extractor", "head", "link", "metadata_prior"),
            *("forecasts", "report", "second_stage", "uncertainty"),
        )
        parts = {name: getattr(self, name) for name in names} | self.beliefs.parts()
        return LearnedPerception(**parts | changes)

    def __repr__(self) -> str:
        """Name the number of experts and the encoder."""
        return f"LearnedPerception({len(self.experts)} experts, {type(self.encoder).__name__})"

    # Predicting

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, in one encoder pass."""
        return self.predict_from_features(self.extract_features(prompts))

    def predict_preferred(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert in a blind comparison of answers, `(batch, n_experts)`.

        The same as `predict` if no comparison was trained on.
        """
        inputs = self.estimator_inputs(prompts)
        prediction = self._predict_from_inputs(inputs)
        compared = self.forecast(MEASURE, inputs)
        if compared is None:
            return prediction
        return replace(prediction, losses=preferred_losses(prediction.losses, compared))

    def predict_columns(self, prompts: Sequence[str], columns: ColumnIndex) -> Prediction:
        """Predict the experts at some positions: the same losses, in less time."""
        return self.predict_from_features(self.extract_features(prompts), columns)

    def extract_features(self, prompts: Sequence[str]) -> Float32Array:
        """Encode prompts once, and return their features `phi(z)`, `(batch, d)`.

        Of a prompt that brings retrieved text along, the question is read.
        """
        prompts = find_questions(prompts)
        embeddings = self.encoder.encode(prompts)
        return self.feature_extractor.extract(prompts, embeddings, self.encoder.token_ids(prompts))

    def estimator_inputs(self, prompts: Sequence[str]) -> EstimatorInputs:
        """Encode prompts once, and return what all estimators of the head use."""
        return self.head.prepare(self.extract_features(prompts))

    def predict_from_features(
        self, x: Float32Array, columns: ColumnIndex = ALL_COLUMNS
    ) -> Prediction:
        """Predict from features `(batch, d)` that `extract_features` returned."""
        return self._predict_from_inputs(self.head.prepare(x), columns)

    def _predict_from_inputs(
        self, inputs: EstimatorInputs, columns: ColumnIndex = ALL_COLUMNS
    ) -> Prediction:
        positions = self.locate(inputs)
        prediction, _ = self.predict_from_positions(positions, columns=columns)
        forecasts = [self.forecast(measure, inputs) for measure in ("output_tokens", "costs")]
        tokens, costs = (None if table is None else table[:, columns] for table in forecasts)
        typicality = self.typicality(inputs)
        return Prediction(
            prediction.losses,
            self.widened_std(lambda: prediction.std, typicality),
            tokens,
            costs,
            typicality,
            self.uncertainty,
            positions.positions,
            self.kinds(inputs),
        )

    def kinds(self, inputs: EstimatorInputs) -> NDArray[Any]:
        """Return the name of the most probable category of each prompt, `(batch,)`."""
        names = self.head.category_classifier.names
        most_probable = inputs.category_probabilities.argmax(axis=1)
        return np.array([names[i] for i in most_probable.tolist()], dtype=object)

    def losses_at(self, positions: FloatArray) -> Float32Array:
        """Return the losses of every expert for prompts at `positions`, `(batch, n_experts)`."""
        beliefs = self.beliefs
        y = beliefs.abilities.linear_predictions(positions)
        best = beliefs.soft_threshold.reference_predictions(y).best
        return np.asarray(self.link.losses(beliefs.soft_threshold(y), best), np.float32)

    def ability_std_at(self, positions: FloatArray) -> Float32Array:
        """Return how uncertain abilities are for prompts at `positions`, `(batch, n_experts)`."""
        prediction, _ = self.predict_from_positions(LatentPositions.certain(positions))
        return prediction.std

    def copy(self) -> LearnedPerception:
        """Return a perception that does not change when this one learns."""
        return self.replace()

    def typicality(self, inputs: EstimatorInputs) -> FloatArray | None:
        """Return the typicality of all prompts, `(batch,)`, None if it is unknown."""
        if self.uncertainty is None:
            return None
        return self.uncertainty.typicality(inputs.highest_similarities)

    def widened_std(
        self, compute: Callable[[], Float32Array], typicality: FloatArray | None
    ) -> Float32Array | Callable[[], Float32Array]:
        """Return the std of predictions, raised for untypical prompts, or what computes that.

        Most decisions never read it. After feedback it is computed at once: a function keeps the
        beliefs of its time alive, and each piece of feedback leaves other beliefs.
        """

        def widen() -> Float32Array:
            std, uncertainty = compute(), self.uncertainty
            if uncertainty is None or typicality is None:
                return std
            return np.asarray(uncertainty.widened(std, typicality), np.float32)

        return widen if self.beliefs is self._trained_beliefs else widen()

    def locate(self, inputs: EstimatorInputs) -> LatentPositions:
        """Return the positions of prompts in the ability space."""
        scale = 1.0 if self.uncertainty is None else self.uncertainty.disagreement_scale
        return mix_positions(self.head.estimator_positions(inputs), self.head.weights, scale)

    def predict_from_positions(
        self,
        positions: LatentPositions,
        beliefs: Beliefs | None = None,
        columns: ColumnIndex = ALL_COLUMNS,
    ) -> tuple[Prediction, ReferencePredictions]:
        """Predict some `columns` of the known experts, or all experts that `beliefs` are about.

        Losses are `(batch, n_known + n_observed)`, the known experts first. Also returns the linear
        predictions of the incumbent and of the best expert.
        """
        observed = () if beliefs is None else beliefs.observed_experts.names
        beliefs = self.beliefs if beliefs is None else beliefs
        groups = [beliefs.abilities, *([beliefs.observed_experts.abilities] if observed else [])]
        y = _side_by_side([one.linear_predictions(positions.positions) for one in groups])
        soft_threshold = beliefs.soft_threshold
        references, shrunk_y = soft_threshold.reference_predictions(y), soft_threshold(y)

        def std() -> Float32Array:
            y_std = _side_by_side([positions.std(one, columns) for one in groups])
            return self.link.std(y[:, columns], y_std, references.best).astype(np.float32)

        losses = self.link.losses(shrunk_y[:, columns], references.best)
        return Prediction(losses.astype(np.float32), std), references

    def forecast(self, measure: str, inputs: EstimatorInputs) -> Float32Array | None:
        """Forecast what an answer takes by the category of the prompt, `(batch, n_experts)`.

        The measure is `output_tokens` or `costs` (USD). None if the Q-table did not have it; NaN
        for experts without a measurement.
        """
        table = self.forecasts.get(measure)
        return None if table is None else inputs.category_probabilities @ table

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[Any]:
        """Estimate the tokens of each prompt for language models, `(batch,)`.

        Not in the tokenizer of the encoder: it knows English alone, and counts Russian threefold.
        """
        return np.array([estimate_tokens(prompt) for prompt in prompts], np.float64)

    def typical_prompts(self) -> Sequence[str]:
        """Return everyday and hard prompts of many kinds."""
        return TYPICAL_PROMPTS

    def prior(self) -> tuple[float, float]:
        """Return the loss that is expected of an unmeasured expert, and its standard deviation."""
        abilities = self.abilities
        prior = abilities.prior
        y, variance = np.array(prior.mean[:1]), np.array(prior.covariance[:1, 0])
        best = abilities.means[:, 0].min(keepdims=True)
        std = self.link.std(y, np.sqrt(variance), best)
        return float(self.link.losses(y, best)[0]), float(std[0])

    def loss_range(self) -> tuple[float, float]:
        """Return the losses that feedback may have; any for real-valued losses of older files."""
        return self.link.loss_range or (-math.inf, math.inf)

    def for_library(self, library: Library) -> LibraryPerception:
        """Return a perception over a library, which predicts unmeasured experts from metadata.

        Building it reads the metadata of all experts once: some seconds for a million experts.
        """
        return LibraryPerception(self, library)

    # Learning

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> LearnedPerception:
        """Return a perception that also knows `expert`, from its measured loss per prompt.

        The aptitude test: a posterior update of its ability. For an unmeasured expert the update
        starts from what its metadata and the feedback so far suggest.

        Raises:
            InputError: no loss was given, or one is not finite.
        """
        if not losses:
            raise InputError(f"No loss of {expert.name!r} was given; measure it on a few prompts.")
        now = self.copy()  # what feedback changes meanwhile stays out
        positions = now.latent_positions(list(losses))
        ability = now._update_ability(now.ability(expert), positions, list(losses.values()))  # noqa: SLF001 - of its own class
        values = np.array(list(losses.values()), np.float64)
        # A known expert was measured on other kinds of prompts, too, of which these tell little.
        max_std = LEVEL_STD if expert.name in self.experts else WIDE_LEVEL_STD
        ability = now.with_level(ability, positions, values, max_std)
        return now.with_ability(expert.name, ability).replace(
            second_stage=now.second_stage and now.second_stage.onboard(expert, losses)
        )

    def with_level(
        self,
        ability: Gaussian,
        positions: FloatArray,
        losses: FloatArray,
        max_std: float = WIDE_LEVEL_STD,
    ) -> Gaussian:
        """Return an ability whose predictions have the mean of its losses `(n,)` at positions."""
        y, mean = positions @ ability.mean, ability.mean.copy()
        mean[0] += self.link.level_shift(y, losses, self.abilities.noise, max_std)
        return Gaussian(mean, ability.covariance)

    def with_ability(self, name: str, ability: Gaussian) -> LearnedPerception:
        """Return a perception with this belief about an expert, which may be new; others stay."""
        index, beliefs = self._index(name), self.beliefs
        abilities, is_known = beliefs.abilities.with_ability(index, ability), index is not None
        return self.replace(
            experts=self.experts if is_known else (*self.experts, name),
            abilities=abilities,
            soft_threshold=_update_incumbent(beliefs.soft_threshold, abilities),
            observed_experts=beliefs.observed_experts.without_expert(name),
            forecasts=self.forecasts if is_known else _append_unknown_expert(self.forecasts),
        )

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Learn from one measured loss of a known expert: the same update, in place.

        A loss that surprises by more than `MAX_SURPRISE` standard deviations counts as that many.

        Raises:
            PerceptionError: the expert is unknown.
        """
        index = self._index(expert)
        if index is None:
            raise PerceptionError(f"{expert!r} is unknown here; onboard it first.")
        positions = self.latent_positions([prompt])
        with self._lock:
            beliefs = self.beliefs
            ability = self._update_ability(
                beliefs.abilities.ability(index), positions, [loss], MAX_SURPRISE
            )
            abilities = beliefs.abilities.with_ability(index, ability)
            soft_threshold = _update_incumbent(beliefs.soft_threshold, abilities)
            self.beliefs = Beliefs(abilities, soft_threshold, beliefs.observed_experts)

    def observe_unmeasured(self, prompt: str, name: str, loss: float, prior: Gaussian) -> None:
        """Learn from one measured loss of an unmeasured expert: the update starts from `prior`."""
        positions = self.latent_positions([prompt])
        with self._lock:
            observed = self.observed_experts
            index = observed.index(name)
            ability = prior if index is None else observed.abilities.ability(index)
            ability = self._update_ability(ability, positions, [loss], MAX_SURPRISE)
            observed = observed.with_ability(name, ability)
            self.beliefs = replace(self.beliefs, observed_experts=observed)

    def replace_beliefs(self, beliefs: Beliefs) -> None:
        """Put other beliefs about the same experts in the place of the present ones.

        Other threads may predict meanwhile, each with the beliefs of one moment.
        """
        with self._lock:
            self.beliefs = beliefs

    def latent_positions(self, prompts: Sequence[str]) -> FloatArray:
        """Return the positions `[1, g(phi(z))]` of prompts, float64, `(batch, 1 + rank)`."""
        inputs = self.estimator_inputs(prompts)
        estimator_positions = self.head.estimator_positions(inputs).astype(np.float64)
        return mix_positions(estimator_positions, self.head.weights).positions

    def _index(self, name: str) -> int | None:
        return self.experts.index(name) if name in self.experts else None

    def ability(self, expert: Expert) -> Gaussian:
        """Return the belief about an expert: measured, from feedback, or from its facts."""
        index, observed = self._index(expert.name), self.observed_experts
        if index is not None:
            return self.abilities.ability(index)
        observed_index = observed.index(expert.name)
        if observed_index is not None:
            return observed.abilities.ability(observed_index)
        return self.for_library(Library([expert])).prior_ability(expert.name)

    def _update_ability(
        self,
        ability: Gaussian,
        positions: FloatArray,
        losses: Sequence[float],
        max_surprise: float = math.inf,
    ) -> Gaussian:
        """Update an ability by losses measured at positions `(batch, 1 + rank)`."""
        measured_losses, beliefs = np.array([[float(loss)] for loss in losses]), self.beliefs
        best = beliefs.soft_threshold.reference_predictions(
            beliefs.abilities.linear_predictions(positions)
        ).best
        targets = self.link.training_targets(measured_losses, best)[:, 0]
        return ability.posterior(positions, targets, beliefs.abilities.noise, max_surprise)


def _update_incumbent(soft_threshold: SoftThreshold, abilities: Abilities) -> SoftThreshold:
    """Choose the incumbent again by the first dimension, an expert's loss over all prompts."""
    return soft_threshold.update_incumbent(abilities.means[:, 0], abilities.covariances[:, 0, 0])


def _append_unknown_expert(forecasts: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Append the column of an expert without measurements."""
    return {
        name: np.concatenate([table, np.full((len(table), 1), np.nan, np.float32)], axis=1)
        for name, table in forecasts.items()
    }


def _side_by_side(tables: Sequence[FloatArray]) -> FloatArray:
    """Return tables `(batch, n)` as one."""
    return tables[0] if len(tables) == 1 else np.concatenate(tables, axis=1)
