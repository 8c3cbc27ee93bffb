"""Learns a perception from a Q-table: features, ability space, estimators, mixture, abilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tryage.errors import QTableError
from tryage.perception.abilities import Abilities, fit_abilities
from tryage.perception.base import Floats
from tryage.perception.categories import UNNAMED
from tryage.perception.caution import fit_caution
from tryage.perception.checkpoint import Checkpoint, checkpoints, fingerprint
from tryage.perception.encoder import Encoder
from tryage.perception.features import Features, fit_features
from tryage.perception.forecast import fit_forecasts
from tryage.perception.head import fit_head
from tryage.perception.latent import Latent, contention, factorise, spread
from tryage.perception.learned import LearnedPerception
from tryage.perception.link import fit_link
from tryage.perception.mixture import CONTENDERS, learn_weights, wishes
from tryage.qtable import QTable

Matrix = NDArray[np.float64]

_LEAST_PROMPTS = 10
_STRETCH = (0.5, 3.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train: the size of the ability space, of the lexicon, the inner folds, the seed."""

    rank: int = 32
    lexicon: int = 128
    folds: int = 3
    seed: int = 0


def fit(
    table: QTable,
    encoder: Encoder,
    *,
    settings: Settings | None = None,
    embeddings: Floats | None = None,
    difficulty: Floats | None = None,
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
        checkpoint: A folder for finished stages; the same call goes on from there.
        progress: Whether to show a progress bar.

    Raises:
        QTableError: fewer than ten prompts or no expert were measured.
        MissingExtraError: scikit-learn is not installed.
    """
    settings = settings or Settings()
    _check(table)
    key = fingerprint(table.prompts, table.experts, table.losses, table.categories, difficulty, asdict(settings))
    with checkpoints(checkpoint, key, settings.folds + 2, progress=progress) as stages:
        x, features = _read(table, encoder, embeddings, settings, stages)
        latent = factorise(table.losses, min(settings.rank, len(table.experts)), difficulty)
        ones = np.ones((len(table), 1))
        abilities = fit_abilities(
            np.concatenate([ones, latent.scores], axis=1),
            table.losses,
            np.concatenate([latent.mean[:, None], latent.loadings], axis=1),
        )
        labels = tuple(name or UNNAMED for name in table.categories or [None] * len(table))
        unseen = _out_of_fold(x, labels, latent, table.groups, settings, stages)
        unit = spread(table.losses)
        weights = _weigh(unseen, abilities, table, latent.mean, unit)
        mixed = np.tensordot(weights, unseen, 1)
        stretch = _stretch(mixed, abilities, table, contention(latent.mean, unit))
        y = abilities.losses(np.concatenate([ones, mixed * stretch], axis=1))
        caution = fit_caution(y, table.losses, latent.mean, unit)
        y = caution(y)
        link = fit_link(y, table.losses)
        head = fit_head(x, labels, tuple(sorted(set(labels))), latent.scores, settings.seed)
        stages.bar.update()
    head = replace(head, weights=weights.astype(np.float32), stretch=stretch)
    report = _report(y, table)
    return LearnedPerception(
        table.experts,
        encoder,
        features,
        head,
        abilities,
        caution,
        link,
        forecasts=fit_forecasts(table, head.categories.one_hot(labels)),
        report=report,
    )


def _check(table: QTable) -> None:
    empty = int((~table.measured.any(axis=1)).sum())
    measured = table.measured.any(axis=0)
    idle = [name for name, seen in zip(table.experts, measured, strict=True) if not seen]
    if len(table) < _LEAST_PROMPTS or empty or idle:
        raise QTableError(
            f"{len(table)} prompts, {empty} of them without a loss, and no loss of the experts "
            f"{idle[:5]}; training needs at least {_LEAST_PROMPTS} prompts, and a loss for every "
            "prompt and expert: cut the table with take() and select()"
        )


def _read(
    table: QTable,
    encoder: Encoder,
    embeddings: Floats | None,
    settings: Settings,
    stages: Checkpoint,
) -> tuple[Floats, Features]:
    """Describe the training prompts, `(n_prompts, d)`."""
    vectors = embeddings
    if vectors is None:
        vectors = stages.stage("reading", lambda: {"x": encoder.encode(table.prompts)})["x"]
    ids = encoder.token_ids(table.prompts)
    features = fit_features(
        table.prompts, ids, encoder.vocabulary, width=settings.lexicon, seed=settings.seed
    )
    return features.join(table.prompts, vectors, ids), features


def _out_of_fold(
    x: Floats,
    labels: Sequence[str],
    latent: Latent,
    groups: NDArray[np.intp],
    settings: Settings,
    stages: Checkpoint,
) -> Floats:
    """Where estimators that never saw a prompt place it, `(n_estimators, n_prompts, rank)`."""
    order = np.random.default_rng(settings.seed).permutation(int(groups.max()) + 1)
    fold = order[groups] % settings.folds
    names = tuple(sorted(set(labels)))
    parts: list[tuple[NDArray[np.bool_], Floats]] = []
    for number in range(settings.folds):
        held = fold == number

        def views(held: NDArray[np.bool_] = held) -> dict[str, Floats]:
            fitted = [label for label, out in zip(labels, held, strict=True) if not out]
            head = fit_head(x[~held], fitted, names, latent.scores[~held], settings.seed)
            return {"views": head.views(x[held])}

        parts.append((held, stages.stage(f"fold-{number + 1}", views)["views"]))
    unseen = np.zeros((len(parts[0][1]), len(x), latent.scores.shape[1]), np.float32)
    for held, places in parts:
        unseen[:, held] = places
    return unseen


def _weigh(
    unseen: Floats, abilities: Abilities, table: QTable, mean: Matrix, unit: float
) -> Matrix:
    """Weigh the estimators by the decisions among the experts that may win."""
    contenders = np.argsort(mean)[:CONTENDERS]
    means = abilities.means[contenders].astype(np.float32)
    return learn_weights(
        means[:, 0] + unseen @ means[:, 1:].T,
        table.losses[:, contenders],
        wishes(_dearness(table, mean)[contenders], unit),
        unit,
    )


def _stretch(mixed: Matrix, abilities: Abilities, table: QTable, contending: Matrix) -> Floats:
    """Regress real losses on unseen predictions, `(rank,)`: one slope for difficulty, one for the rest."""
    means = abilities.means
    parts = mixed[:, :1] @ means[:, 1:2].T, mixed[:, 1:] @ means[:, 2:].T
    inputs = np.stack([part[table.measured] for part in parts])
    target = (table.losses - means[:, 0])[table.measured]
    weight = np.broadcast_to(contending, table.losses.shape)[table.measured]
    gram = (inputs * weight) @ inputs.T
    ridge = 1e-3 * np.trace(gram) * np.eye(2) + 1e-12 * np.eye(2)
    slopes = np.clip(np.linalg.solve(gram + ridge, (inputs * weight) @ target + ridge @ np.ones(2)), *_STRETCH)
    return np.repeat(slopes, [1, mixed.shape[1] - 1]).astype(np.float32)


def _dearness(table: QTable, mean: Matrix) -> Matrix:
    """What experts cost beside the best one, `(n_experts,)` in [0, 1]; unknown: as they are good."""
    good = (mean.max() - mean) / max(float(np.ptp(mean)), 1e-12)
    if table.costs is None or np.isnan(table.costs).all():
        return good
    known = ~np.isnan(table.costs)
    usd = np.nansum(table.costs, axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    best = usd[np.where(np.isnan(usd), np.inf, mean).argmin()]
    return np.where(np.isnan(usd), good, np.clip(usd / max(float(best), 1e-12), 0, 1))


def _report(predicted: Matrix, table: QTable) -> dict[str, float]:
    """Measure, on prompts that the estimators had not seen, what routing is worth (mean loss).

    Means are over the experts measured on each prompt; the best single expert is the one of the
    lowest mean loss, where it was measured.
    """
    losses = table.losses
    routed = np.where(table.measured, predicted, np.inf).argmin(axis=1)
    means = np.where(table.measured.mean(axis=0) >= 0.5, np.nanmean(losses, axis=0), np.inf)
    ranked = np.where(table.measured, np.where(np.isfinite(means), means, 1e9), np.inf)
    rows = np.arange(len(table))
    return {
        "prompts": float(len(table)),
        "experts": float(len(table.experts)),
        "routed": float(losses[rows, routed].mean()),
        "best_single": float(losses[rows, ranked.argmin(axis=1)].mean()),
        "random": float(np.nanmean(losses, axis=1).mean()),
        "oracle": float(np.nanmin(losses, axis=1).mean()),
    }
