"""The belief about the ability of an expert that was never measured, from its metadata.

The abilities of all experts are one Gaussian process over their metadata:

    a_i = intercept + slopes . numbers_i + flags_i + series_i + generation_i + residual_i

The variance of every part is a multiple of one covariance, that of the residual. So the posterior
is that of a matrix-normal regression (Rowe 2003, ch. 8): the mean is linear in the features, and
the covariance of an unseen expert is the residual covariance times one number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.perception.abilities import Gaussian
from tryage.perception.metadata import BINARY_FEATURES, NUMERIC_FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray
    from tryage.perception.metadata import MetadataFeatures

_N_SQUARED = 1  # only the first number, the size, also counts squared

N_INPUTS = len(NUMERIC_FEATURES) + _N_SQUARED

_UPPER_MARGINS = np.array(
    [1.5 if name in {"index", "rating"} else 0.0 for name in NUMERIC_FEATURES]
)

_EXPECTED_BY_NAME = np.array([name in {"age", "price", "context"} for name in NUMERIC_FEATURES])

# A series that was never measured lies between the mean over series and the mean over experts:
# series of many models are the better ones. One half predicted best when each series was left out.
_UNSEEN_SERIES_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class MetadataPrior:
    """A regression of abilities `(k,)` on metadata, with its own uncertainty.

    It reads the first `n_numbers` of `NUMERIC_FEATURES`; earlier versions saved fewer than there
    are now. `slopes` `(n_numbers + 1, k)` are of the numbers. `effects` `(1 + n_flags + n_groups,
    k)` are of the intercept, of the flags, and of the `groups`, which are series and generations.
    `coefficient_covariance` is the joint covariance of slopes and effects, in units of
    `residual_covariance` `(k, k)`.

    An expert without a known family gets the average group effect, weighted by the known experts'
    `group_frequencies` `(n_groups,)`; an expert of an unseen series gets half of that. Two parts
    are added to the variance: `unseen_group_variances` `(3,)`, for an unseen series, an unseen
    generation and a missing family name, and that of unknown numbers.

    An unknown number is expected from the known ones by their `number_correlation` `(n_numbers,
    n_numbers)`: a dear model of this year has good results, though nobody has published any. Priors
    of earlier versions have none; there an unknown number counts as the mean, and pairs of unknown
    numbers add `missing_value_covariance` `(n_numbers, n_numbers)` to the variance.
    """

    scaler: MetadataScaler
    groups: tuple[str, ...]
    group_frequencies: FloatArray
    slopes: FloatArray
    effects: FloatArray
    coefficient_covariance: FloatArray
    residual_covariance: FloatArray
    unseen_group_variances: FloatArray
    missing_value_covariance: FloatArray
    number_correlation: FloatArray | None = None

    def predict(self, features: MetadataFeatures) -> PriorAbilities:
        """Return the belief about experts, in one pass over their features."""
        numbers = features.numeric[:, : len(self.scaler.mean)]
        z, missing_variances = self._complete(numbers, features.is_expected)
        inputs = with_square(z)
        profiles, is_unseen = encode_profiles(features, self.groups, self.group_frequencies)
        variances = self._variances(features, inputs, profiles, is_unseen) + missing_variances
        return PriorAbilities(
            np.ascontiguousarray(inputs.T),
            features.profile_index,
            self.slopes,
            profiles @ self.effects,
            np.sqrt(np.maximum(variances, 1.0)).astype(np.float32),
            self.residual_covariance,
        )

    def _complete(
        self, numbers: Float32Array, is_expected: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """Return scaled numbers without gaps `(n, n_numbers)`, and the variance due to gaps."""
        z = self.scaler.standardize(numbers)
        if self.number_correlation is None:
            is_missing = np.isnan(numbers).astype(np.float32)
            weighted = is_missing @ self.missing_value_covariance
            return z, np.einsum("ij,ij->i", weighted, is_missing).astype(np.float32)
        is_known = ~np.isnan(numbers) & self.scaler.varies
        complete = complete_numbers(z, is_known, self.number_correlation)
        is_certain = is_known & ~(is_expected[:, None] & _EXPECTED_BY_NAME[: z.shape[1]])
        slopes = self.slopes[: z.shape[1], 0]
        variances = gap_variances(is_certain, self.number_correlation, slopes)
        return complete, (variances / self.residual_covariance[0, 0]).astype(np.float32)

    def _variances(
        self,
        features: MetadataFeatures,
        inputs: Float32Array,
        profiles: FloatArray,
        is_unseen: BoolArray,
    ) -> FloatArray:
        """Return each expert's variance in units of the residual's, without gaps, `(n,)`."""
        n, covariance = inputs.shape[1], self.coefficient_covariance
        slope_covariance, cross_covariance, effect_covariance = (
            covariance[:n, :n],
            covariance[:n, n:],
            covariance[n:, n:],
        )
        profile_variances = (
            1
            + is_unseen @ self.unseen_group_variances
            + np.einsum("ij,jl,il->i", profiles, effect_covariance, profiles)
        )
        variances = np.einsum("ij,ij->i", inputs @ slope_covariance.astype(np.float32), inputs)
        cross_terms = (profiles @ cross_covariance.T)[features.profile_index]
        variances += 2 * np.einsum("ij,ij->i", inputs, cross_terms)
        return np.asarray(variances + profile_variances[features.profile_index])


def complete_numbers(z: Float32Array, is_known: BoolArray, correlation: FloatArray) -> Float32Array:
    """Return scaled numbers `(n, n_numbers)` with each unknown one as expected from the known ones.

    The numbers are jointly normal with mean 0. Experts with the same gaps share one regression.
    """
    complete = np.where(is_known, z, np.float32(0))
    for known, rows in _experts_by_gaps(is_known):
        if known.any() and not known.all():
            weights, _ = condition(known, correlation)
            complete[np.ix_(rows, ~known)] = z[np.ix_(rows, known)] @ weights.T
    return complete


def gap_variances(is_known: BoolArray, correlation: FloatArray, slopes: FloatArray) -> FloatArray:
    """Return the variance of the level due to unknown numbers, `(n,)`; `slopes` `(n_numbers,)`."""
    variances = np.zeros(len(is_known))
    for known, rows in _experts_by_gaps(is_known):
        _, covariance = condition(known, correlation)
        variances[rows] = slopes[~known] @ covariance @ slopes[~known]
    return variances


def _experts_by_gaps(is_known: BoolArray) -> Iterator[tuple[BoolArray, IndexArray]]:
    """Yield each pattern of known numbers `(n_numbers,)` with the positions of its experts."""
    codes = is_known @ (1 << np.arange(is_known.shape[1]))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else ():
        yield is_known[rows[0]], rows


def condition(known: BoolArray, correlation: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the regression of the unknown numbers on the known ones, and their covariance."""
    cross = correlation[np.ix_(~known, known)]
    # Least squares, because a damaged file may hold numbers that have no inverse.
    weights = np.linalg.lstsq(correlation[np.ix_(known, known)], cross.T, rcond=None)[0].T
    return weights, correlation[np.ix_(~known, ~known)] - weights @ cross.T


@dataclass(frozen=True, slots=True)
class PriorAbilities:
    """The belief about the abilities of `n` experts, in parts that all of them share.

    The mean of expert `i` is `inputs[:, i] @ slopes + offsets[profile_index[i]]`, its covariance
    `std_factors[i]**2` times `residual_covariance`. `inputs` are `(N_INPUTS, n)`, `slopes`
    `(N_INPUTS, k)`, `offsets` `(n_profiles, k)`, `std_factors` `(n,)`.
    """

    inputs: Float32Array
    profile_index: IndexArray
    slopes: FloatArray
    offsets: FloatArray
    std_factors: Float32Array
    residual_covariance: FloatArray

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.profile_index)

    def __getitem__(self, i: int) -> Gaussian:
        """Return the belief about one expert."""
        mean = self.inputs[:, i] @ self.slopes + self.offsets[self.profile_index[i]]
        return Gaussian(mean, self.residual_covariance * float(self.std_factors[i]) ** 2)

    def take(self, indices: IndexArray) -> PriorAbilities:
        """Return the belief about some experts, by their positions."""
        return replace(
            self,
            inputs=self.inputs[:, indices],
            profile_index=self.profile_index[indices],
            std_factors=self.std_factors[indices],
        )

    def with_strangers_like_peers(
        self, is_stranger: BoolArray, measured: IndexArray, measured_means: FloatArray
    ) -> PriorAbilities:
        """Expect of each stranger, of which nothing is known, the mean ability of the others.

        No expert is less certain than they are. `measured` are the positions of experts whose
        abilities were measured, `measured_means` `(n_measured, k)`.
        """
        is_guessed = ~is_stranger
        is_guessed[measured] = False
        is_stranger = is_stranger.copy()
        is_stranger[measured] = False
        count = int(is_guessed.sum()) + len(measured)
        if not count or not is_stranger.any():
            return self
        total = self.inputs[:, is_guessed].sum(axis=1) @ self.slopes + measured_means.sum(axis=0)
        profile_counts = np.bincount(self.profile_index[is_guessed], minlength=len(self.offsets))
        mean = (total + profile_counts @ self.offsets) / count
        return replace(
            self,
            inputs=np.where(is_stranger, np.float32(0), self.inputs),
            profile_index=np.where(is_stranger, len(self.offsets), self.profile_index),
            std_factors=np.where(is_stranger, self.std_factors.max(), self.std_factors),
            offsets=np.concatenate([self.offsets, mean[None]]),
        )


@dataclass(frozen=True, slots=True)
class MetadataScaler:
    """Brings numbers to mean 0 and deviation 1 among the known experts, unknown ones to 0.

    All fields are `(n_numbers,)`, `lower` and `upper` in deviations. Values above the highest seen
    in training or far below the lowest are clipped: nothing is known about such experts.
    """

    mean: FloatArray
    std: FloatArray
    lower: FloatArray
    upper: FloatArray

    def __post_init__(self) -> None:
        """Refuse numbers that this version does not know."""
        if not 0 < len(self.mean) <= len(NUMERIC_FEATURES):
            raise InputError(
                f"the prior from metadata reads {len(self.mean)} numbers of an expert; this "
                f"version of Tryage knows {len(NUMERIC_FEATURES)}"
            )

    @property
    def varies(self) -> BoolArray:
        """Which numbers differ among the known experts, `(n_numbers,)`; others tell nothing."""
        return np.isfinite(self.std)

    def standardize(self, numbers: FloatArray) -> Float32Array:
        """Return the scaled numbers, 0 where they are unknown, `(n, n_numbers)`."""
        z = (numbers - self.mean) / self.std
        return np.nan_to_num(np.clip(z, self.lower, self.upper), copy=False).astype(np.float32)

    def __call__(self, numbers: FloatArray) -> Float32Array:
        """Return the scaled numbers and the square of the first, `(n, n_numbers + 1)`."""
        return with_square(self.standardize(numbers))


def with_square(z: Float32Array) -> Float32Array:
    """Add the square of the first scaled number, `(n, n_numbers + 1)`."""
    return np.concatenate([z, z[:, :_N_SQUARED] ** 2], axis=1)


def fit_metadata_scaler(numbers: FloatArray, lower_margin: float = 3.0) -> MetadataScaler:
    """Fit a scaler to the numbers `(n, n_numbers)` of the known experts; NaN is unknown.

    Values may lie `lower_margin` deviations below the lowest known one. Published results may lie
    above the highest known one: the best model of next month is better than all measured ones.
    """
    is_known = ~np.isnan(numbers)
    counts = np.maximum(is_known.sum(axis=0), 1)
    filled_numbers = np.where(is_known, numbers, 0.0).astype(np.float64)
    mean = filled_numbers.sum(axis=0) / counts
    std = np.sqrt((np.where(is_known, numbers - mean, 0.0) ** 2).sum(axis=0) / counts)
    std = np.where(std > 1e-6, std, np.inf)  # a number that does not vary has no information
    z = np.where(is_known, (filled_numbers - mean) / std, 0.0)
    upper = z.max(axis=0) + _UPPER_MARGINS[: z.shape[1]]
    return MetadataScaler(mean, std, z.min(axis=0) - lower_margin, upper)


def encode_profiles(
    features: MetadataFeatures, groups: tuple[str, ...], group_frequencies: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return the profiles as rows `(n_profiles, 1 + n_flags + n_groups)`, and which are unseen.

    The columns are an intercept, the flags and the groups. The mask of unseen ones is
    `(n_profiles, 3)`: the series is not among the groups, the generation is not among them, and the
    profile has no family name.
    """
    first_group = 1 + features.binary.shape[1]
    columns = {name: first_group + i for i, name in enumerate(groups)}
    design = np.zeros((len(features.binary), first_group + len(groups)))
    design[:, 0], design[:, 1:first_group] = 1.0, features.binary
    is_unseen = np.zeros((len(design), 3), np.bool_)
    for row, family in enumerate(features.families):
        if not family[0]:
            design[row, first_group:], is_unseen[row, 2] = group_frequencies, True
            continue
        for level, name in enumerate(group_names(family)):
            if name in columns:
                design[row, columns[name]] = 1.0
            else:
                is_unseen[row, level] = True
        if is_unseen[row, 0]:
            design[row, first_group:] = _UNSEEN_SERIES_WEIGHT * group_frequencies
    return design, is_unseen


def group_names(family: tuple[str, str]) -> tuple[str, str]:
    """Return the group names of a family's series and generation, which may be the same word.

    The series has a star, so that saved groups tell it from a generation.
    """
    series, generation = family
    return f"{series}*", generation


def pooled_prior(prior: Gaussian) -> MetadataPrior:
    """Return the prior of a perception that has not fitted one: every expert gets the same belief.

    It is complete pooling: metadata plays no part.
    """
    size, n_numbers, n_flags = len(prior.mean), len(NUMERIC_FEATURES), len(BINARY_FEATURES)
    effects = np.zeros((1 + n_flags, size))
    effects[0] = prior.mean
    return MetadataPrior(
        scaler=fit_metadata_scaler(np.full((1, n_numbers), np.nan)),
        groups=(),
        group_frequencies=np.zeros(0),
        slopes=np.zeros((N_INPUTS, size)),
        effects=effects,
        coefficient_covariance=np.zeros((N_INPUTS + len(effects),) * 2),
        residual_covariance=prior.covariance,
        unseen_group_variances=np.zeros(3),
        missing_value_covariance=np.zeros((n_numbers, n_numbers)),
    )
