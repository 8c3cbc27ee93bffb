"""Trains a router of two stages: a fast encoder first, a slow one where two experts are close."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.checkpoint import fingerprint, open_stage_checkpoint
from tryage.core.perception import SecondStage
from tryage.core.validation import check_number
from tryage.learning.training.trainer import FitConfig, check_table, fit
from tryage.perception.abilities import MIN_STANDARD_ERRORS
from tryage.perception.question import find_questions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tryage.core.arrays import BoolArray, Float32Array, Float64Array, FloatArray
    from tryage.core.library import Library
    from tryage.perception.encoder import Encoder
    from tryage.perception.model import LearnedPerception
    from tryage.scoring.qtable import QTable

ALWAYS = 1e9  # a threshold above every difference of two losses

# Prices of a prompt's time in loss, for each of which there is a threshold: a ten-thousandth of a
# point to ten points.
PRICES = (0.0, *np.geomspace(1e-6, 0.1, 26).tolist())

N_THRESHOLDS = 20  # candidates: quantiles of the differences

_TIMED_PROMPTS = 9


def fit_two_stage(  # noqa: PLR0913 - what `fit` takes, of two encoders
    table: QTable,
    encoder: Encoder,
    slow_encoder: Encoder,
    *,
    config: FitConfig | None = None,
    library: Library | None = None,
    seconds: float | None = None,
    loss_per_second: float = 0.01,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> LearnedPerception:
    """Train a perception whose second stage reads prompts with another, slower encoder.

    Which prompts the second stage is worth is learned from prompts that neither stage has seen: in
    `config.folds` folds both stages are trained on the other prompts. The stages that are returned
    are trained on all prompts.

    Args:
        table: Losses with gaps, as for `fit`.
        encoder: Embeds every prompt.
        slow_encoder: Embeds the prompts on which the two best experts are close.
        config: Sizes, folds and seed of both stages.
        library: Metadata of the experts.
        seconds: How long `slow_encoder` takes for a prompt; measured if None.
        loss_per_second: What a second costs where preferences say nothing of it. A hundredth is a
            cent if a right answer is worth a dollar.
        checkpoint: A folder for the embeddings of each encoder; the same call resumes from there.
        progress: Whether to show a progress bar.

    Raises:
        InputError: a number is negative or not a number.
        QTableError, MissingExtraError: as in `fit`.
    """
    config = config or FitConfig()
    check_table(table)
    table = replace(table, prompts=find_questions(table.prompts))
    loss_per_second = check_number("loss_per_second", loss_per_second)
    seconds = None if seconds is None else check_number("seconds", seconds)
    encoders = (encoder, slow_encoder)
    embeddings = [_encode(table, one, checkpoint, progress=progress) for one in encoders]
    first_losses, second_losses = _predict_unseen(table, encoders, embeddings, config)
    first, second = (
        fit(table, one, config=config, embeddings=x, library=library, progress=progress)
        for one, x in zip(encoders, embeddings, strict=True)
    )
    thresholds = choose_thresholds(first_losses, second_losses, table.losses, PRICES)
    seconds = _time_prompt(slow_encoder, table.prompts) if seconds is None else seconds
    stage = SecondStage(second, seconds, PRICES, thresholds, loss_per_second)
    return first.replace(second_stage=stage)


def _encode(
    table: QTable, encoder: Encoder, checkpoint: str | Path | None, *, progress: bool
) -> Float32Array:
    """Embed the prompts of a table, `(n, dim)`, or read them from the checkpoint."""
    sample = encoder.encode(table.prompts[:8])  # distinguishes one encoder from another
    key = fingerprint(table.prompts, sample)
    with open_stage_checkpoint(checkpoint, key, 1, progress=progress) as stages:
        arrays = stages.load_or_compute("encoding", lambda: {"x": encoder.encode(table.prompts)})
    return np.asarray(arrays["x"])


def choose_thresholds(
    first: FloatArray, second: FloatArray, losses: FloatArray, prices: Sequence[float]
) -> tuple[float, ...]:
    """Return for each price of a prompt below which difference the second stage is worth it.

    `first` and `second` are predicted losses of unseen prompts, `losses` the measured ones with
    gaps, all `(n_prompts, n_experts)`. The difference is that of the two lowest losses in `first`.
    The threshold with the lowest mean loss of the chosen experts plus price is taken, and zero
    unless it is lower than without the second stage by more than a standard error (the rule of
    Breiman et al., 1984).
    """
    margins, gains = _margins_and_gains(first, second, losses)
    if not len(margins):
        return (0.0,) * len(prices)
    quantiles = np.quantile(margins, np.linspace(0, 1, N_THRESHOLDS + 1)[1:-1])
    candidates = np.unique([*quantiles[quantiles > 0], ALWAYS])
    is_asked = margins < candidates[:, None]
    return tuple(_best_threshold(gains - price, is_asked, candidates) for price in prices)


def _best_threshold(gains: FloatArray, is_asked: BoolArray, candidates: FloatArray) -> float:
    """Return the candidate with the highest mean gain, 0 if that is within the noise."""
    best = int((is_asked @ gains).argmax())
    realized = gains * is_asked[best]
    standard_error = realized.std() / np.sqrt(len(realized))
    is_certain = realized.mean() > MIN_STANDARD_ERRORS * standard_error
    return float(candidates[best]) if is_certain else 0.0


def _margins_and_gains(
    first: FloatArray, second: FloatArray, losses: FloatArray
) -> tuple[Float64Array, Float64Array]:
    """Return by how much the two best of `first` differ, and how much less `second` loses.

    Both `(n,)`, of the prompts on which at least two experts were measured; only these count.
    """
    is_usable = ~(np.isnan(losses) | np.isnan(first) | np.isnan(second))
    rows = np.flatnonzero(is_usable.sum(axis=1) >= 2)
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    first, second = (np.where(is_usable, table, np.inf)[rows] for table in (first, second))
    lowest = np.partition(first, 1, axis=1)[:, :2].astype(np.float64)
    chosen_losses = [
        losses[rows, table.argmin(axis=1)].astype(np.float64) for table in (first, second)
    ]
    return lowest[:, 1] - lowest[:, 0], chosen_losses[0] - chosen_losses[1]


def _predict_unseen(
    table: QTable,
    encoders: Sequence[Encoder],
    embeddings: Sequence[Float32Array],
    config: FitConfig,
) -> list[Float32Array]:
    """Return the losses that each stage predicts, trained on other prompts, `(n, n_experts)`.

    Those of an expert are NaN if none of the other prompts measured it.
    """
    order = np.random.default_rng(config.seed).permutation(int(table.groups.max()) + 1)
    fold_of_row = order[table.groups] % config.folds
    predicted = [np.full(table.losses.shape, np.nan, np.float32) for _ in encoders]
    for fold in range(config.folds):
        train, test = np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)
        is_known = table.measured[train].any(axis=0)
        known_experts = [table.experts[i] for i in np.flatnonzero(is_known)]
        train_table = table.take(train).select(known_experts)
        prompts = [table.prompts[row] for row in test.tolist()]
        for encoder, x, losses in zip(encoders, embeddings, predicted, strict=True):
            perception = fit(
                train_table, encoder, config=config, embeddings=x[train], progress=False
            )
            features = perception.feature_extractor.extract(
                prompts, x[test], encoder.token_ids(prompts)
            )
            prediction = perception.predict_from_features(features)
            losses[np.ix_(test, is_known)] = prediction.losses
    return predicted


def _time_prompt(encoder: Encoder, prompts: Sequence[str]) -> float:
    """Return the median time that a single prompt takes, in seconds."""
    times = []
    for prompt in prompts[:: max(len(prompts) // _TIMED_PROMPTS, 1)]:
        start = time.perf_counter()
        encoder.encode([prompt])
        times.append(time.perf_counter() - start)
    return float(np.median(times))
