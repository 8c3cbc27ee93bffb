"""Learns a perception from a Q-table: features, ability space, estimators, mixture, abilities."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import QTableError
from tryage.learning.checkpoint import StageCheckpoint, fingerprint, open_stage_checkpoint
from tryage.learning.training.calibration import calibrate
from tryage.learning.training.estimators import fit_feature_extractor, fit_forecasts, fit_head
from tryage.learning.training.factor_model import (
    RANK,
    FactorModel,
    compress_losses,
    fit_abilities,
    fit_factor_model,
)
from tryage.learning.training.metadata_prior import with_metadata_prior
from tryage.perception.head import UNNAMED
from tryage.perception.model import LearnedPerception

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array
    from tryage.core.library import Library
    from tryage.learning.qtable import QTable
    from tryage.perception.encoder import Encoder
    from tryage.perception.features import FeatureExtractor

MIN_PROMPTS = 10


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train: the size of the ability space, of the lexicon, the inner folds, the seed."""

    rank: int = RANK
    tfidf_dim: int = 128
    folds: int = 3
    seed: int = 0


def fit(  # noqa: PLR0913 - two inputs, the rest has defaults
    table: QTable,
    encoder: Encoder,
    *,
    config: FitConfig | None = None,
    embeddings: Float32Array | None = None,
    difficulty: Float32Array | None = None,
    library: Library | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> LearnedPerception:
    """Train a perception on measured losses.

    Args:
        table: Losses `(n_prompts, n_experts)` with gaps; its categories, if any, are learned too.
        encoder: Reads the prompts; it stays as it is (`finetune.py` trains one end to end).
        settings: Sizes and seed.
        embeddings: Of the prompts, `(n_prompts, dim)`, where they are at hand.
        difficulty: How much harder than usual a prompt is expected to be, in loss, `(n_prompts,)`;
            only needed where sources share no expert.
        library: What is known about the experts, from which a prior for strangers is learned;
            without it strangers are taken to be like the crowd.
        checkpoint: A folder for finished stages; the same call goes on from there.
        progress: Whether to show a progress bar.

    Raises:
        QTableError: fewer than ten different prompts, or a prompt or expert without a loss.
        MissingExtraError: scikit-learn is not installed.
    """
    config = config or FitConfig()
    check_table(table)
    squeezed = compress_losses(table.losses, difficulty)
    losses = squeezed[1] if squeezed else table.losses
    # a few embeddings tell one encoder from another
    reader = encoder.encode(table.prompts[:8]) if embeddings is None else embeddings
    read = (table.prompts, table.categories, reader, encoder.vocabulary)
    key = fingerprint(*read, table.experts, losses, difficulty, asdict(config))
    with open_stage_checkpoint(checkpoint, key, config.folds + 2, progress=progress) as stages:
        x, features = _fit_features(table, encoder, embeddings, config, stages)
        latent = fit_factor_model(losses, min(config.rank, len(table.experts)), difficulty)
        places = np.concatenate([np.ones((len(table), 1)), latent.scores], axis=1)
        abilities = fit_abilities(
            places,
            losses,
            np.concatenate([latent.mean[:, None], latent.loadings], axis=1),
        )
        labels = tuple(name or UNNAMED for name in table.categories or [None] * len(table))
        unseen = _out_of_fold_positions(x, labels, latent, table.groups, config, stages)
        calibration = calibrate(unseen, abilities, table, latent.mean, squeezed)
        head = fit_head(x, labels, tuple(sorted(set(labels))), latent.scores, config.seed)
        stages.progress_bar.update()
    perception = LearnedPerception(
        table.experts,
        encoder,
        features,
        replace(head, weights=calibration.weights, gain=calibration.gain),
        abilities.with_noise(places, table.measured, calibration.noise),
        calibration.soft_threshold,
        calibration.link,
        forecasts=fit_forecasts(table, head.category_classifier.one_hot(labels)),
        report=calibration.report,
    )
    return perception if library is None else with_metadata_prior(perception, library)


def check_table(table: QTable) -> None:
    """Refuse a table that teaches nothing.

    Raises:
        QTableError: fewer than ten different prompts, or a prompt or expert without a loss.
    """
    empty = int((~table.measured.any(axis=1)).sum())
    idle = [table.experts[i] for i in np.flatnonzero(~table.measured.any(axis=0))]
    prompts = len(set(table.prompts))
    if prompts < MIN_PROMPTS or empty or idle:
        raise QTableError(
            f"{prompts} different prompts, {empty} rows without a loss, and no loss of the experts "
            f"{idle[:5]}; training needs at least {MIN_PROMPTS} prompts, and a loss for every "
            "prompt and expert: cut the table with take() and select()"
        )


def _fit_features(
    table: QTable,
    encoder: Encoder,
    embeddings: Float32Array | None,
    config: FitConfig,
    stages: StageCheckpoint,
) -> tuple[Float32Array, FeatureExtractor]:
    """Describe the training prompts, `(n_prompts, d)`."""
    vectors = embeddings
    if vectors is None:
        vectors = stages.load_or_compute("reading", lambda: {"x": encoder.encode(table.prompts)})[
            "x"
        ]
    ids = encoder.token_ids(table.prompts)
    features = fit_feature_extractor(
        table.prompts, ids, encoder.vocabulary, tfidf_dim=config.tfidf_dim, seed=config.seed
    )
    return features.extract(table.prompts, vectors, ids), features


def _out_of_fold_positions(  # noqa: PLR0913 - what a fold is cut from
    x: Float32Array,
    labels: Sequence[str],
    factor_model: FactorModel,
    groups: NDArray[np.intp],
    config: FitConfig,
    stages: StageCheckpoint,
) -> Float32Array:
    """Where estimators that never saw a prompt place it, `(n_estimators, n_prompts, rank)`."""
    order = np.random.default_rng(config.seed).permutation(int(groups.max()) + 1)
    fold = order[groups] % config.folds
    names = tuple(sorted(set(labels)))
    parts: list[tuple[NDArray[np.bool_], Float32Array]] = []
    for number in range(config.folds):
        held = fold == number

        def fold_positions(held: NDArray[np.bool_] = held) -> dict[str, Float32Array]:
            fitted = [label for label, out in zip(labels, held.tolist(), strict=True) if not out]
            head = fit_head(x[~held], fitted, names, factor_model.scores[~held], config.seed)
            return {"views": head.estimator_positions(head.prepare(x[held]))}

        parts.append((held, stages.load_or_compute(f"fold-{number + 1}", fold_positions)["views"]))
    unseen = np.zeros((len(parts[0][1]), len(x), factor_model.scores.shape[1]), np.float32)
    for held, places in parts:
        unseen[:, held] = places
    return unseen
