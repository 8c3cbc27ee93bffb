"""Learns a perception from a Q-table: features, ability space, estimators, mixture, abilities."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import QTableError
from tryage.learning.checkpoint import Checkpoint, checkpoints, fingerprint
from tryage.learning.training.calibration import calibrate
from tryage.learning.training.estimators import fit_features, fit_forecasts, fit_head
from tryage.learning.training.factor_model import RANK, Latent, factorise, fit_abilities, squeeze
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
    from tryage.perception.features import Features

LEAST_PROMPTS = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train: the size of the ability space, of the lexicon, the inner folds, the seed."""

    rank: int = RANK
    lexicon: int = 128
    folds: int = 3
    seed: int = 0


def fit(  # noqa: PLR0913 - two inputs, the rest has defaults
    table: QTable,
    encoder: Encoder,
    *,
    settings: Settings | None = None,
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
    settings = settings or Settings()
    check_table(table)
    squeezed = squeeze(table.losses, difficulty)
    losses = squeezed[1] if squeezed else table.losses
    # a few embeddings tell one encoder from another
    reader = encoder.encode(table.prompts[:8]) if embeddings is None else embeddings
    read = (table.prompts, table.categories, reader, encoder.vocabulary)
    key = fingerprint(*read, table.experts, losses, difficulty, asdict(settings))
    with checkpoints(checkpoint, key, settings.folds + 2, progress=progress) as stages:
        x, features = _read(table, encoder, embeddings, settings, stages)
        latent = factorise(losses, min(settings.rank, len(table.experts)), difficulty)
        places = np.concatenate([np.ones((len(table), 1)), latent.scores], axis=1)
        abilities = fit_abilities(
            places,
            losses,
            np.concatenate([latent.mean[:, None], latent.loadings], axis=1),
        )
        labels = tuple(name or UNNAMED for name in table.categories or [None] * len(table))
        unseen = _out_of_fold(x, labels, latent, table.groups, settings, stages)
        tuned = calibrate(unseen, abilities, table, latent.mean, squeezed)
        head = fit_head(x, labels, tuple(sorted(set(labels))), latent.scores, settings.seed)
        stages.bar.update()
    perception = LearnedPerception(
        table.experts,
        encoder,
        features,
        replace(head, weights=tuned.weights, stretch=tuned.stretch),
        abilities.doubted(places, table.measured, tuned.noise),
        tuned.caution,
        tuned.link,
        forecasts=fit_forecasts(table, head.categories.one_hot(labels)),
        report=tuned.report,
    )
    return perception if library is None else perception.related(library)


def check_table(table: QTable) -> None:
    """Refuse a table that teaches nothing.

    Raises:
        QTableError: fewer than ten different prompts, or a prompt or expert without a loss.
    """
    empty = int((~table.measured.any(axis=1)).sum())
    idle = [table.experts[i] for i in np.flatnonzero(~table.measured.any(axis=0))]
    prompts = len(set(table.prompts))
    if prompts < LEAST_PROMPTS or empty or idle:
        raise QTableError(
            f"{prompts} different prompts, {empty} rows without a loss, and no loss of the experts "
            f"{idle[:5]}; training needs at least {LEAST_PROMPTS} prompts, and a loss for every "
            "prompt and expert: cut the table with take() and select()"
        )


def _read(
    table: QTable,
    encoder: Encoder,
    embeddings: Float32Array | None,
    settings: Settings,
    stages: Checkpoint,
) -> tuple[Float32Array, Features]:
    """Describe the training prompts, `(n_prompts, d)`."""
    vectors = embeddings
    if vectors is None:
        vectors = stages.stage("reading", lambda: {"x": encoder.encode(table.prompts)})["x"]
    ids = encoder.token_ids(table.prompts)
    features = fit_features(
        table.prompts, ids, encoder.vocabulary, width=settings.lexicon, seed=settings.seed
    )
    return features.join(table.prompts, vectors, ids), features


def _out_of_fold(  # noqa: PLR0913 - what a fold is cut from
    x: Float32Array,
    labels: Sequence[str],
    latent: Latent,
    groups: NDArray[np.intp],
    settings: Settings,
    stages: Checkpoint,
) -> Float32Array:
    """Where estimators that never saw a prompt place it, `(n_estimators, n_prompts, rank)`."""
    order = np.random.default_rng(settings.seed).permutation(int(groups.max()) + 1)
    fold = order[groups] % settings.folds
    names = tuple(sorted(set(labels)))
    parts: list[tuple[NDArray[np.bool_], Float32Array]] = []
    for number in range(settings.folds):
        held = fold == number

        def views(held: NDArray[np.bool_] = held) -> dict[str, Float32Array]:
            fitted = [label for label, out in zip(labels, held.tolist(), strict=True) if not out]
            head = fit_head(x[~held], fitted, names, latent.scores[~held], settings.seed)
            return {"views": head.views(head.see(x[held]))}

        parts.append((held, stages.stage(f"fold-{number + 1}", views)["views"]))
    unseen = np.zeros((len(parts[0][1]), len(x), latent.scores.shape[1]), np.float32)
    for held, places in parts:
        unseen[:, held] = places
    return unseen
