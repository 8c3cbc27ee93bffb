"""Starts the training of a router from a pretrained one: its words, categories and ability space.

A table of a hundred prompts teaches little by itself. The pretrained router adds what it knows of
prompts and of experts. How far each of that counts is learned with the rest, by what decisions are
worth on prompts that were left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.library import Library
from tryage.core.validation import require_extra
from tryage.errors import PerceptionError
from tryage.perception.features import surface_features
from tryage.perception.head import l2_normalize
from tryage.perception.model import LearnedPerception
from tryage.perception.pretrained_features import POSITION_LENGTH, pretrained_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array, FloatArray, IndexArray
    from tryage.perception.encoder import Encoder
    from tryage.perception.features import FeatureExtractor, FeatureScaler, TfidfSvd, TokenIds
    from tryage.router import Router

_PROBES = ("Write a function that adds 2 and 3.", "Quelle est la capitale de la France ?")

_TOLERANCE = 1e-3  # of an embedding of length 1; half precision has errors of half of that

_MIN_STD = 1e-6  # numbers that vary less are constant

_MIN_VARIANCE = 1e-9

_LEVEL_PROMPTS = 300  # as many or a little more tell how hard the prompts are on average

_MIN_CLUSTER_SIZE = 10  # prompts; smaller ones say nothing about the experts


def pretrained_perception(pretrained: Router, encoder: Encoder) -> LearnedPerception:
    """Return the perception of a router that training can start from.

    Raises:
        PerceptionError: it is no router that was trained, itself started from another one, or has
            another encoder than `encoder`.
    """
    perception = _trained_perception(pretrained)
    if perception.feature_extractor.pretrained is not None:
        raise PerceptionError(
            "the pretrained router was itself trained from a pretrained one; start from that one, "
            "such as Router.from_pretrained()"
        )
    if not _is_same_encoder(perception.encoder, encoder):
        raise PerceptionError(
            f"the pretrained router has another encoder ({type(perception.encoder).__name__}) than "
            f"the one to train with ({type(encoder).__name__}); give fit() the encoder "
            "`pretrained.perception.encoder`, or train from scratch, with pretrained=None"
        )
    return perception


def _trained_perception(pretrained: Router) -> LearnedPerception:
    perception = getattr(pretrained, "perception", None)
    if not isinstance(perception, LearnedPerception):
        given = (
            f"is a {type(pretrained).__name__}"
            if perception is None
            else f"has a perception of type {type(perception).__name__}"
        )
        raise PerceptionError(
            f"pretrained {given}; expected a router that `tryage train` or `fit` made, "
            "such as Router.from_pretrained()"
        )
    return perception


def _is_same_encoder(one: Encoder, other: Encoder) -> bool:
    if (one.dim, one.vocabulary) != (other.dim, other.vocabulary):
        return False
    return np.allclose(one.encode(_PROBES), other.encode(_PROBES), atol=_TOLERANCE)


def transfer_feature_extractor(  # noqa: PLR0913 - both routers, and the prompts in three forms
    pretrained: LearnedPerception,
    prompts: Sequence[str],
    embeddings: Float32Array,
    ids: TokenIds,
    own_tfidf: TfidfSvd,
    *,
    form: bool = True,
) -> FeatureExtractor:
    """Return the feature extractor of a pretrained router, with what it predicts as features.

    Its words and scales are kept; `own_tfidf` adds the words of the training prompts, whose
    embeddings are `(n_prompts, dim)`: each set has its own phrases. With `form`, the length, the
    capital letters and the punctuation of a prompt count, too, as they vary among these prompts,
    though the pretrained router does not see them.
    """
    own = pretrained.feature_extractor
    extractor, ignored = own, np.zeros(0, np.intp)
    if form:
        ignored = np.flatnonzero(np.isinf(own.surface_scaler.std))
        scaler = _scale_columns(own.surface_scaler, ignored, surface_features(prompts))
        extractor = replace(own, surface_scaler=scaler)
    embedding_width = own.blocks[-1].stop if own.blocks else embeddings.shape[1]
    known = pretrained_features(pretrained.head, ignored + embedding_width + own.tfidf.width)
    rank = len(pretrained.head.gain)
    positions = known.transform(extractor.extract(prompts, embeddings, ids))[:, :rank]
    length = float(np.sqrt((positions**2).sum(axis=1).mean()))
    known = known.scaled(POSITION_LENGTH / length if length > 0 else 1.0)
    return replace(extractor, pretrained=known, own_tfidf=own_tfidf)


def _scale_columns(
    scaler: FeatureScaler, columns: IndexArray, numbers: Float32Array
) -> FeatureScaler:
    """Let columns count that do not, by their mean and deviation in `numbers` `(n, width)`."""
    mean, std = scaler.mean.copy(), scaler.std.copy()
    own_std = numbers[:, columns].std(axis=0)
    mean[columns] = numbers[:, columns].mean(axis=0)
    std[columns] = np.where(own_std > _MIN_STD, own_std, np.inf)
    return replace(scaler, mean=mean, std=std)


def cluster_labels(x: Float32Array, n_clusters: int, seed: int) -> tuple[str, ...]:
    """Return the cluster of each prompt `(n_prompts,)` as its category, from features `(n, d)`.

    The clusters of k-means on unit rows take the place of categories in a table without any.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.cluster import KMeans

    n_distinct = len(np.unique(x, axis=0))
    n_clusters = max(min(n_clusters, n_distinct, len(x) // _MIN_CLUSTER_SIZE), 1)
    labels = KMeans(n_clusters, n_init=2, random_state=seed).fit_predict(l2_normalize(x))
    return tuple(f"cluster {label + 1}" for label in labels.tolist())


def expected_level(
    pretrained: Router, prompts: Sequence[str], experts: Sequence[str]
) -> FloatArray:
    """Return the mean linear prediction of a pretrained router for each expert, `(n_experts,)`.

    An expert that it does not know is expected to be as its name and public facts tell. A few
    hundred of the prompts stand for all.
    """
    perception = _trained_perception(pretrained)
    library, known = pretrained.library, {name: i for i, name in enumerate(perception.experts)}
    names = [library[name].name if name in library else name for name in experts]
    peers = perception.for_library(Library(list(dict.fromkeys([*known, *names]))))
    abilities = [
        perception.abilities.means[known[name]] if name in known else peers.prior_ability(name).mean
        for name in names
    ]
    step = max(len(prompts) // _LEVEL_PROMPTS, 1)
    mean_position = perception.latent_positions(prompts[::step]).mean(axis=0)
    return np.asarray(np.array(abilities) @ mean_position)


def shrink_means(losses: FloatArray, mean: FloatArray, expected: FloatArray) -> FloatArray:
    """Return the mean losses `(n_experts,)`, shrunk toward what is `expected` of each expert.

    Empirical Bayes (Efron and Morris, 1973): differences between experts are normal around a
    multiple of the expected differences. The multiple and the variance are those that fit the means
    `(n_experts,)` of losses `(n_prompts, n_experts)` with gaps; the noise of a mean is that of the
    losses around the difficulty of their prompt.
    """
    counts = (~np.isnan(losses)).sum(axis=0)
    residuals = losses - np.nanmean(losses, axis=1, keepdims=True)
    noise = float(np.nanmean((residuals - np.nanmean(residuals, axis=0)) ** 2)) / counts
    differences, expected_differences = mean - mean.mean(), expected - expected.mean()
    squares = float(expected_differences @ expected_differences)
    slope = max(float(expected_differences @ differences) / max(squares, _MIN_VARIANCE), 0.0)
    unexplained = differences - slope * expected_differences
    freedom = max(len(mean) - 2, 1)  # a mean and a slope were fitted
    variance = max(float(unexplained @ unexplained) / freedom - float(noise.mean()), _MIN_VARIANCE)
    return np.asarray(mean - unexplained * noise / (noise + variance))
