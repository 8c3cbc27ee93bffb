"""Experts without measurements: predicted from metadata, then known better by feedback."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tryage.core.cache import cached_property
from tryage.core.perception import Perception, Prediction
from tryage.perception.abilities import Gaussian
from tryage.perception.head import LatentPositions
from tryage.perception.metadata import metadata_features
from tryage.perception.preferred import MEASURE, preferred_losses
from tryage.perception.wrappers import match_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.core.uncertainty import UncertaintyCalibration
    from tryage.perception.abilities import Abilities, Link, ReferencePredictions, SoftThreshold
    from tryage.perception.head import EstimatorInputs
    from tryage.perception.metadata_prior import MetadataPrior, PriorAbilities
    from tryage.perception.references import Reference

_BLOCK_SIZE = 131_072  # numbers; a block fits into the L2 cache, and a million experts are few

_MIN_BLOCK_WIDTH = 256  # experts

_MAX_LAZY = 2_000  # experts; the facts of a million take seconds, which no prompt should wait for


class LibraryPerception(Perception):
    """What a `LearnedPerception` predicts for every expert of a library, in library order.

    A million unmeasured experts share a few numbers per prompt. Their predictions are one small
    product, a gather, the shrinkage and the link, block by block, so that intermediate results stay
    in the cache. This object has learned nothing itself: it predicts with what the perception has
    learned, and passes feedback on to the perception.

    What the facts of the experts tell is computed at the first use, unless there are very many: a
    router of which only a subset routes never needs it.

    Raises:
        InputError: an expert is about as good as a model that nobody knows.
    """

    def __init__(self, perception: MeasuredPerception, library: Library) -> None:
        self.experts = library.names
        self._perception, self._library = perception, library
        columns = match_columns(perception.experts, library)
        self._known_rows = np.flatnonzero(columns >= 0)  # positions of known experts in the library
        self._known_columns = columns[self._known_rows]
        self._first_abilities = perception.beliefs.abilities  # feedback replaces the beliefs
        self._references = self._find_references()
        self._last_measured: MeasuredExperts | None = None
        if len(library) > _MAX_LAZY:
            self._measured_experts()

    def _find_references(self) -> dict[str, Reference]:
        """Return the references of the experts that have one.

        Raises:
            InputError: one of them is a model that nobody knows.
        """
        if not self._library.references:
            return {}
        from tryage.perception.references import find_references  # few libraries need it

        perception = self._perception
        return find_references(
            self._library,
            perception.experts,
            perception.metadata_prior,
            lambda: self._prior_abilities,
        )

    @cached_property
    def _prior_abilities(self) -> PriorAbilities:
        """The belief about all experts of the library before any measurement."""
        prior, features = self._perception.metadata_prior, metadata_features(self._library)
        abilities = prior.predict(features)
        if prior.number_correlation is None:  # earlier versions told strangers by their facts
            return abilities
        return abilities.with_strangers_like_peers(
            features.is_stranger,
            self._known_rows,
            self._first_abilities.means[self._known_columns],
        )

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert of the library, in one encoder pass."""
        return self._predict_from_inputs(self._perception.estimator_inputs(prompts))

    def predict_preferred(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert in a blind comparison, in one encoder pass."""
        inputs = self._perception.estimator_inputs(prompts)
        prediction = self._predict_from_inputs(inputs)
        compared = self._perception.forecast(MEASURE, inputs)
        if compared is None:
            return prediction
        losses = preferred_losses(prediction.losses, self._align_forecast(compared))
        return replace(prediction, losses=losses)

    def _predict_from_inputs(self, inputs: EstimatorInputs) -> Prediction:
        perception = self._perception
        positions = perception.locate(inputs)
        losses, std = self._predict_at(positions)
        typicality = perception.typicality(inputs)
        tokens, costs = (self._forecast(measure, inputs) for measure in ("output_tokens", "costs"))
        widened = perception.widened_std(std, typicality)
        calibration, located = perception.uncertainty, positions.positions
        kinds = perception.kinds(inputs)
        return Prediction(losses, widened, tokens, costs, typicality, calibration, located, kinds)

    def losses_at(self, positions: FloatArray) -> Float32Array:
        """Return the losses of every expert for prompts at `positions`, in library order."""
        return self._predict_at(LatentPositions.certain(positions))[0]

    def ability_std_at(self, positions: FloatArray) -> Float32Array:
        """Return how uncertain abilities are for prompts at `positions`, in library order."""
        return self._predict_at(LatentPositions.certain(positions))[1]()

    def _predict_at(
        self, positions: LatentPositions
    ) -> tuple[Float32Array, Callable[[], Float32Array]]:
        """Return losses `(batch, n)`, in library order, and what computes their std."""
        measured = self._measured_experts()
        prediction, references = self._perception.predict_from_positions(
            positions, measured.beliefs
        )
        from_prior, prior_std = None, None
        if len(measured.prior):
            from_prior, prior_std = self._predict_from_prior(positions, references, measured)
        losses = measured.join(prediction.losses, from_prior)
        return losses, lambda: measured.join(prediction.std, prior_std)

    def _forecast(self, measure: str, inputs: EstimatorInputs) -> Float32Array | None:
        """Return a forecast in library order, None if no expert of the library has one."""
        table = self._perception.forecast(measure, inputs) if self._known_rows.size else None
        return None if table is None else self._align_forecast(table)

    def _measured_experts(self) -> MeasuredExperts:
        """Return which experts are measured or like a measured one; it changes with feedback."""
        source, last = self._perception.beliefs, self._last_measured
        if last is None or last.source is not source:
            beliefs = replace(source, observed_experts=self._observed_experts(source))
            rows, columns = self._measured_rows_and_columns(beliefs.observed_experts)
            is_measured = np.zeros(len(self.experts), np.bool_)
            is_measured[rows] = True
            others = np.flatnonzero(~is_measured)
            # Of many, all are predicted: selecting them would take longer.
            prior = self._prior_abilities
            prior = prior.take(others) if 2 * others.size < len(prior) else prior
            last = MeasuredExperts(source, beliefs, rows, columns, others, prior)
            self._last_measured = last
        return last

    def _observed_experts(self, beliefs: Beliefs) -> ObservedExperts:
        """Return the experts with feedback, and those that are like a known model."""
        observed = set(beliefs.observed_experts.names)
        new_names = [name for name in self._references if name not in observed]
        priors = [self._prior_ability(name, beliefs.abilities) for name in new_names]
        return beliefs.observed_experts.with_new(new_names, priors)

    def prior_ability(self, name: str) -> Gaussian:
        """Return the belief about an unmeasured expert before any feedback."""
        return self._prior_ability(name, self._perception.beliefs.abilities)

    def _prior_ability(self, name: str, known: Abilities) -> Gaussian:
        reference = self._references.get(name)
        if reference is None:
            return self._prior_abilities[self._library.index(name)]
        spread = self._prior_abilities.residual_covariance
        slope = getattr(self._perception.link, "slope", 1.0)  # only the loss of answers has one
        return reference.ability(known, spread, slope)

    def _predict_from_prior(
        self,
        positions: LatentPositions,
        references: ReferencePredictions,
        measured: MeasuredExperts,
    ) -> tuple[Float32Array, Float32Array]:
        """Predict experts from their metadata, `(batch, n)`, with the standard deviations."""
        prior, beliefs, link = measured.prior, measured.beliefs, self._perception.link
        best = references.best.astype(np.float32)
        slopes = (positions.positions @ prior.slopes.T).astype(np.float32)
        offsets = (positions.positions @ prior.offsets.T).astype(np.float32)
        mean_ability = Gaussian(beliefs.abilities.prior.mean, prior.residual_covariance)
        batch_std = positions.prior_std(mean_ability)[:, None].astype(np.float32)
        losses = np.empty((len(slopes), len(prior)), np.float32)
        std = np.empty_like(losses)
        width = max(_BLOCK_SIZE // max(len(slopes), 1), _MIN_BLOCK_WIDTH)
        for start in range(0, len(prior), width):
            block = slice(start, start + width)
            y, y_std = losses[:, block], std[:, block]
            np.matmul(slopes, prior.inputs[:, block], out=y)
            y += offsets.take(prior.profile_index[block], axis=1)
            np.multiply(batch_std, prior.std_factors[block], out=y_std)
            beliefs.soft_threshold.apply_inplace(y, references.incumbent)
            link.apply_inplace(y, y_std, best)
        return losses, std

    def _measured_rows_and_columns(
        self, observed_experts: ObservedExperts
    ) -> tuple[IndexArray, IndexArray]:
        """Return the library positions of the known and observed experts, and their columns.

        The columns are in the order of `predict_from_positions`.
        """
        n_known, library = len(self._perception.experts), self._library
        index_pairs = [
            (library.index(name), n_known + j)
            for j, name in enumerate(observed_experts.names)
            if name in library
        ]
        rows, columns = np.array(index_pairs, dtype=np.intp).reshape(-1, 2).T
        return (
            np.concatenate([self._known_rows, rows]),
            np.concatenate([self._known_columns, columns]),
        )

    def _align_forecast(self, tokens: Float32Array) -> Float32Array:
        """Put forecasts in library order, NaN for unmeasured experts."""
        aligned_tokens = np.full((len(tokens), len(self.experts)), np.nan, np.float32)
        aligned_tokens[:, self._known_rows] = tokens[:, self._known_columns]
        return aligned_tokens

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Learn from one measured loss of an expert of the library, in place.

        The perception may have measured the expert before or not.
        """
        i = self._library.index(expert)
        known_index = np.flatnonzero(self._known_rows == i)
        if known_index.size:
            column = int(self._known_columns[known_index[0]])
            self._perception.observe(prompt, self._perception.experts[column], loss)
        else:
            name = self.experts[i]
            self._perception.observe_unmeasured(prompt, name, loss, self.prior_ability(name))

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[Any]:
        """Count the tokens of each prompt, `(batch,)` for language models."""
        return self._perception.count_tokens(prompts)


@dataclass(frozen=True, slots=True)
class MeasuredExperts:
    """Which experts of a library are measured, and the belief about all others.

    `beliefs` are those about the measured ones, and `source` what they were made from: those of the
    perception. The expert at position `rows[i]` of the library is the one at `columns[i]` of
    `LearnedPerception.predict_from_positions`. `prior` is the belief about the `others`, or about
    all experts.
    """

    source: Beliefs
    beliefs: Beliefs
    rows: IndexArray
    columns: IndexArray
    others: IndexArray
    prior: PriorAbilities

    def join(self, measured: Float32Array, from_prior: Float32Array | None) -> Float32Array:
        """Return predictions of all experts in library order, `(batch, n)`."""
        n = self.rows.size + self.others.size
        if from_prior is not None and from_prior.shape[1] == n:
            table = from_prior
        else:
            table = np.empty((len(measured), n), np.float32)
            if from_prior is not None:
                table[:, self.others] = from_prior
        table[:, self.rows] = measured[:, self.columns]
        return table


class MeasuredPerception(Protocol):
    """What a `LibraryPerception` needs of the `LearnedPerception` of the measured experts."""

    experts: tuple[str, ...]
    beliefs: Beliefs
    link: Link
    metadata_prior: MetadataPrior
    uncertainty: UncertaintyCalibration | None

    def estimator_inputs(self, prompts: Sequence[str]) -> EstimatorInputs:
        """Encode prompts once, and return what all estimators of the head use."""
        ...

    def locate(self, inputs: EstimatorInputs) -> LatentPositions:
        """Return the positions of prompts in the ability space."""
        ...

    def predict_from_positions(
        self, positions: LatentPositions, beliefs: Beliefs
    ) -> tuple[Prediction, ReferencePredictions]:
        """Predict all experts that `beliefs` are about, the known ones first."""
        ...

    def kinds(self, inputs: EstimatorInputs) -> NDArray[Any]:
        """Return the name of the most probable category of each prompt, `(batch,)`."""
        ...

    def typicality(self, inputs: EstimatorInputs) -> FloatArray | None:
        """Return the typicality of all prompts, `(batch,)`, None if it is unknown."""
        ...

    def widened_std(
        self, compute: Callable[[], Float32Array], typicality: FloatArray | None
    ) -> Float32Array | Callable[[], Float32Array]:
        """Return the std raised for untypical prompts, or what computes that at the first read."""
        ...

    def forecast(self, measure: str, inputs: EstimatorInputs) -> Float32Array | None:
        """Forecast a measure of the known experts, `(batch, n_experts)`, None if it is unknown."""
        ...

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[Any]:
        """Count the tokens of each prompt, `(batch,)`."""
        ...

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Learn from one measured loss of a known expert, in place."""
        ...

    def observe_unmeasured(self, prompt: str, name: str, loss: float, prior: Gaussian) -> None:
        """Learn from one measured loss of an unmeasured expert: the update starts from `prior`."""
        ...


@dataclass(frozen=True, slots=True)
class ObservedExperts:
    """Experts that were not onboarded, but for which feedback arrived, with their abilities."""

    names: tuple[str, ...]
    abilities: Abilities

    def index(self, name: str) -> int | None:
        """Return the position of an expert, None if it is not among them."""
        return self.names.index(name) if name in self.names else None

    def with_ability(self, name: str, ability: Gaussian) -> ObservedExperts:
        """Replace the ability of an expert, or add the expert."""
        i = self.index(name)
        names = self.names if i is not None else (*self.names, name)
        return ObservedExperts(names, self.abilities.with_ability(i, ability))

    def with_new(self, names: Sequence[str], abilities: Sequence[Gaussian]) -> ObservedExperts:
        """Add experts that are not among them yet."""
        if not names:
            return self
        own = self.abilities
        means = np.concatenate([own.means, [ability.mean for ability in abilities]])
        covariances = np.concatenate(
            [own.covariances, [ability.covariance for ability in abilities]]
        )
        return ObservedExperts(
            (*self.names, *names), replace(own, means=means, covariances=covariances)
        )

    def without_expert(self, name: str) -> ObservedExperts:
        """Remove an expert, if it is among them."""
        indices = [i for i, other_name in enumerate(self.names) if other_name != name]
        return ObservedExperts(tuple(self.names[i] for i in indices), self.abilities.take(indices))


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What a perception believes of its experts at one moment; feedback replaces all of it at once.

    `abilities` are those of the known experts. `soft_threshold` names the one that others have to
    beat. `observed_experts` are the others for which feedback arrived.
    """

    abilities: Abilities
    soft_threshold: SoftThreshold
    observed_experts: ObservedExperts

    def parts(self) -> dict[str, Any]:
        """Return the fields by their names."""
        return {
            "abilities": self.abilities,
            "soft_threshold": self.soft_threshold,
            "observed_experts": self.observed_experts,
        }
