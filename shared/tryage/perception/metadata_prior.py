"""What is believed of an expert nobody has measured, from what its traits say about its kin.

The abilities of all experts are one Gaussian process over their traits (design.md, "a prior"):

    a_i = intercept + slopes . numbers_i + flags_i + series_i + generation_i + its own

with every part of a variance that is a multiple of one covariance, the spread of what is an
expert's own. So the posterior is that of a matrix-normal regression (Rowe 2003, ch. 8): the mean is
linear in the traits, and the covariance of an unseen expert is the spread times one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.abilities import Gaussian
from tryage.perception.metadata import BINARY_FEATURES, NUMERIC_FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.perception.metadata import MetadataFeatures

_N_SQUARED = 1  # the first number, size, also counts squared

N_INPUTS = len(NUMERIC_FEATURES) + _N_SQUARED

# A series that nobody measured is between the mean series and that of the mean expert: those of
# many models are the better ones. Half-way foretold best where each series was left out in turn.
_UNSEEN_SERIES_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class MetadataScaler:
    """Brings numbers to mean 0 and deviation 1 among the known experts, unknown ones to 0.

    All `(n_numbers,)`. Nobody is taken to be beyond the `highest` known, nor far below the
    `lowest`: what was never seen there cannot be extrapolated.
    """

    mean: FloatArray
    std: FloatArray
    lower: FloatArray
    upper: FloatArray

    def __call__(self, numbers: FloatArray) -> Float32Array:
        """Return the scaled numbers and the square of the first, `(n, N_NUMBERS)`."""
        z = (numbers - self.mean) / self.std
        z = np.nan_to_num(np.clip(z, self.lower, self.upper), copy=False)
        return np.concatenate([z, z[:, :_N_SQUARED] ** 2], axis=1).astype(np.float32)


def fit_metadata_scaler(numbers: FloatArray, lower_margin: float = 3.0) -> MetadataScaler:
    """Measure the numbers `(n, n_numbers)` of the known experts; NaN is unknown."""
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    given = np.where(known, numbers, 0.0).astype(np.float64)
    centre = given.sum(axis=0) / count
    unit = np.sqrt((np.where(known, numbers - centre, 0.0) ** 2).sum(axis=0) / count)
    unit = np.where(unit > 1e-6, unit, np.inf)  # what does not vary among them tells nothing
    z = np.where(known, (given - centre) / unit, 0.0)
    return MetadataScaler(centre, unit, z.min(axis=0) - lower_margin, z.max(axis=0))


@dataclass(frozen=True, slots=True)
class PriorAbilities:
    """What is believed of the abilities of `n` experts, in parts that all of them share.

    The mean of expert `i` is `inputs[:, i] @ slopes + offsets[kinds[i]]`, its covariance
    `widths[i]**2` times the spread. `inputs` are `(N_NUMBERS, n)`, `slopes` `(N_NUMBERS, k)`,
    `offsets` `(n_kinds, k)`, `widths` `(n,)`.
    """

    inputs: Float32Array
    profile_index: NDArray[np.intp]
    slopes: FloatArray
    offsets: FloatArray
    std_factors: Float32Array
    residual_covariance: FloatArray

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.profile_index)

    def __getitem__(self, i: int) -> Gaussian:
        """Return what is believed of one expert."""
        mean = self.inputs[:, i] @ self.slopes + self.offsets[self.profile_index[i]]
        return Gaussian(mean, self.residual_covariance * float(self.std_factors[i]) ** 2)


@dataclass(frozen=True, slots=True)
class MetadataPrior:
    """A regression of abilities `(k,)` on traits, with its own doubt.

    `slopes` `(N_NUMBERS, k)`, `effects` `(1 + n_flags + n_groups, k)` of the intercept, the flags
    and the `groups` (series and generations); `doubt` is their joint covariance in units of
    `spread` `(k, k)`. An expert of no named family is a bit of every group, by the known experts'
    `shares` `(n_groups,)`; one of a series never seen is half of that. `strangeness` is by how much
    an unseen series, an unseen generation and no name at all widen the guess, `ignorance`
    `(n_numbers, n_numbers)` by how much pairs of unknown numbers do.
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

    def predict(self, features: MetadataFeatures) -> PriorAbilities:
        """Say what is believed of experts, in one pass over their traits."""
        inputs = self.scaler(features.numeric)
        kinds, unseen = encode_profiles(features, self.groups, self.group_frequencies)
        n = inputs.shape[1]
        own, mixed, rest = (
            self.coefficient_covariance[:n, :n],
            self.coefficient_covariance[:n, n:],
            self.coefficient_covariance[n:, n:],
        )
        widened = (
            1 + unseen @ self.unseen_group_variances + np.einsum("ij,jl,il->i", kinds, rest, kinds)
        )
        variance = np.einsum("ij,ij->i", inputs @ own.astype(np.float32), inputs)
        variance += 2 * np.einsum("ij,ij->i", inputs, (kinds @ mixed.T)[features.profile_index])
        unknown = np.isnan(features.numeric).astype(np.float32)
        variance += (
            np.einsum("ij,ij->i", unknown @ self.missing_value_covariance, unknown)
            + widened[features.profile_index]
        )
        return PriorAbilities(
            np.ascontiguousarray(inputs.T),
            features.profile_index,
            self.slopes,
            kinds @ self.effects,
            np.sqrt(np.maximum(variance, 1.0)).astype(np.float32),
            self.residual_covariance,
        )


def encode_profiles(
    features: MetadataFeatures, groups: tuple[str, ...], group_frequencies: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Write kinds as numbers, `(n_kinds, 1 + n_flags + n_groups)`: an intercept, flags and groups.

    Also says whose series is not among the groups, whose generation is not, and who has neither,
    `(n_kinds, 3)`.
    """
    first = 1 + features.binary.shape[1]
    columns = {name: first + i for i, name in enumerate(groups)}
    design = np.zeros((len(features.binary), first + len(groups)))
    design[:, 0], design[:, 1:first] = 1.0, features.binary
    unseen = np.zeros((len(design), 3), np.bool_)
    for row, family in enumerate(features.families):
        if not family[0]:
            design[row, first:], unseen[row, 2] = group_frequencies, True
            continue
        for level, name in enumerate(group_names(family)):
            if name in columns:
                design[row, columns[name]] = 1.0
            else:
                unseen[row, level] = True
        if unseen[row, 0]:
            design[row, first:] = _UNSEEN_SERIES_WEIGHT * group_frequencies
    return design, unseen


def group_names(family: tuple[str, str]) -> tuple[str, str]:
    """Name the groups of a family: its series and its generation, which may be called alike."""
    series, generation = family
    return f"{series}*", generation


def pooled_prior(prior: Gaussian) -> MetadataPrior:
    """Return the kinship of a perception that has learned none: everybody is like the crowd."""
    size, n_numbers, n_flags = len(prior.mean), len(NUMERIC_FEATURES), len(BINARY_FEATURES)
    effects = np.zeros((1 + n_flags, size))
    effects[0] = prior.mean
    return MetadataPrior(
        fit_metadata_scaler(np.full((1, n_numbers), np.nan)),
        (),
        np.zeros(0),
        np.zeros((N_INPUTS, size)),
        effects,
        np.zeros((N_INPUTS + len(effects),) * 2),
        prior.covariance,
        np.zeros(3),
        np.zeros((n_numbers, n_numbers)),
    )
