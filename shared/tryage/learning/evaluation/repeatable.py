"""The repeatable oracle: how much of the oracle's gain can be foretold at all.

The oracle sees the outcome that it is scored on. Of many experts that are right by chance, one is
right on nearly every prompt, so a part of its gain is luck, and another part is peculiar to one
expert on one prompt. Here one half of the experts choose for the other half: from their outcomes on
the same prompt, a regression predicts those of the others, and the predicted best one is scored.
How other experts did on the very prompt usually tells more about it than its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.learning.evaluation.baselines import is_rarely_measured
from tryage.learning.evaluation.metrics import best_losses
from tryage.learning.evaluation.splits import folds
from tryage.learning.training.estimators import fit_ridge
from tryage.simulation.metrics import Interval, bootstrap, interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tryage.core.arrays import Float32Array, Float64Array, IndexArray
    from tryage.learning.evaluation.splits import EvaluationConfig, Split
    from tryage.scoring.qtable import QTable

N_SPLITS = 8  # of the experts into two halves

MIN_EXPERTS, MIN_PROMPTS = 4, 50  # fewer tell too little about each other

MAX_OBSERVERS = 128  # more do not tell more, and take longer

MARGINS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 10.0)  # standard deviations of the loss


@dataclass(frozen=True, slots=True)
class RepeatableGain:
    """How far the oracle's gain over the best single expert can be repeated.

    `share` is the part of the gap from the best single expert to the oracle that is closed by
    choosing from the outcomes of half of the experts; the smallest gain to believe in is the best
    one in hindsight, so that the share is rather too high. `score` is the mean score of an oracle
    with that share of the gap. `n_experts` and `n_prompts` have all outcomes, and count.
    """

    share: Interval
    score: float
    n_experts: int
    n_prompts: int


def find_repeatable_gain(table: QTable, config: EvaluationConfig) -> RepeatableGain | None:
    """Estimate the repeatable part of the oracle's gain.

    None if there is no gain, or if too few outcomes are complete to tell.
    """
    table = complete_part(table)
    n_groups = len(set(table.groups.tolist()))
    if n_groups < max(MIN_PROMPTS, config.n_folds) or len(table.experts) < MIN_EXPERTS:
        return None
    losses = table.losses.astype(np.float64)
    best_single, oracle = losses.mean(axis=0).min(), best_losses(losses).mean()
    if best_single <= oracle:
        return None
    share = _repeatable_share(table, config)
    score = 1.0 - best_single + share.value * (best_single - oracle)
    return RepeatableGain(share, float(score), len(table.experts), len(table))


def _repeatable_share(table: QTable, config: EvaluationConfig) -> Interval:
    """Return the share of the oracle's gain that observers foretell, mean over the splits."""
    oracle_gain, gains = np.zeros(len(table)), np.zeros((len(table), len(MARGINS)))
    for candidates, predictions in split_predictions(table, config):
        losses = table.losses[:, candidates].astype(np.float64)
        oracle_gain += losses[:, 0] - best_losses(losses)
        gains += _gains_by_margin(predictions, losses)
    gain = gains[:, int(gains.mean(axis=0).argmax())]
    columns = np.column_stack([gain, oracle_gain])
    draws = bootstrap(columns, table.groups, draws=config.draws, seed=config.seed)
    gap_draws = np.maximum(draws[:, 1], 1e-12)
    return interval(float(gain.sum() / max(oracle_gain.sum(), 1e-12)), draws[:, 0] / gap_draws)


def complete_part(table: QTable) -> QTable:
    """Return the experts that nearly all prompts measured, and the prompts that all measured."""
    is_kept = ~is_rarely_measured(table)
    table = table.select(
        [name for name, kept in zip(table.experts, is_kept.tolist(), strict=True) if kept]
    )
    return table.take(np.flatnonzero(table.measured.all(axis=1)))


def split_predictions(
    table: QTable, config: EvaluationConfig
) -> Iterator[tuple[IndexArray, Float64Array]]:
    """Yield candidates, the best single expert first, and their predicted losses.

    The losses `(n_prompts, n_candidates)` are predicted from the outcomes of the other half of the
    experts on the same prompt, by a regression on other prompts. `table` has no gaps.
    """
    others = np.delete(np.arange(len(table.experts)), best := table.losses.mean(axis=0).argmin())
    half, rng = len(others) // 2, np.random.default_rng(config.seed)
    for split in range(N_SPLITS):
        order = rng.permutation(others)
        candidates, observers = np.append(best, order[:half]), order[half:][:MAX_OBSERVERS]
        splits = folds(table.groups, config.n_folds, config.seed + split)
        yield candidates, _predict_from_observers(table, observers, candidates, splits)


def _predict_from_observers(
    table: QTable, observers: IndexArray, candidates: IndexArray, splits: Sequence[Split]
) -> Float64Array:
    """Regress the candidates' losses on the observers' losses and on the category."""
    categories = _one_hot(table.categories or (None,) * len(table))
    inputs = table.losses[:, observers] / max(float(table.losses.std()), 1e-12)
    targets, predictions = table.losses[:, candidates], np.empty((len(table), len(candidates)))
    for train, test in splits:
        ridge = fit_ridge(inputs[train], categories[train], targets[train], category_scale=1.0)
        slopes = np.concatenate([ridge.slope, ridge.category_slope])
        x = np.concatenate([inputs[test], categories[test]], axis=1)
        predictions[test] = x @ slopes + ridge.intercept
    return predictions


def _one_hot(labels: tuple[str | None, ...]) -> Float32Array:
    names, index = np.unique([label or "" for label in labels], return_inverse=True)
    return np.eye(len(names), dtype=np.float32)[index]


def _gains_by_margin(predictions: Float64Array, losses: Float64Array) -> Float64Array:
    """Return the gain over the first expert per prompt and margin, `(n_prompts, n_margins)`.

    Another expert is chosen if its predicted loss is lower than the first one's by the margin.
    """
    rows = np.arange(len(losses))
    best = predictions.argmin(axis=1)
    predicted_gains = predictions[:, 0] - predictions[rows, best]
    gains = losses[:, 0] - losses[rows, best]
    is_left = predicted_gains[:, None] > np.asarray(MARGINS) * losses.std()
    return np.where(is_left, gains[:, None], 0.0)


def describe_repeatable_gain(
    found: RepeatableGain, router: str | None, gap_closed: Interval | None
) -> Iterable[str]:
    """Yield a line with the repeatable oracle, and one with the router's share of its gain."""
    share = found.share
    yield (
        f"Repeatable oracle: {found.score:.3f}, {share.value:.0%} [{share.low:.0%}, "
        f"{share.high:.0%}] of the gap from the best single expert to the oracle: what half of the "
        "experts' outcomes on a prompt foretell of the others'."
    )
    if router is None or gap_closed is None or share.low <= 0:
        return
    part = gap_closed.value / share.value
    relation = f"{part:.0%} of its repeatable part" if part <= 1 else "more than outcomes foretell"
    yield f"{router} closes {gap_closed.value:.0%} of the gap, {relation}."
