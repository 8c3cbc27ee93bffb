"""Compare rules that choose an expert from the same noisy predictions, paired, over several seeds.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/selection_rules.py ENCODER_FOLDER --cache build/positions [--sets zeroeval]

A perception is trained in each of five folds and for each seed. What it predicts for unseen text,
inside and outside of the training part, is kept in the cache: then rules are compared in seconds.
`--prompts 300` trains on as many prompts of each training part, as with a small table. Each cell is
the mean lead over the best single expert in points, with the lowest of the seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np
from datasets import SETS, load

from tryage.learning.evaluation.baselines import best_single
from tryage.learning.evaluation.splits import Fold, folds
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training import trainer
from tryage.learning.training.calibration import MARGINS, calibrate, fit_soft_threshold
from tryage.learning.training.factor_model import typical_loss_std
from tryage.perception.abilities import SoftThreshold
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray
    from tryage.perception.encoder import Encoder
    from tryage.scoring.qtable import QTable

DEFAULT_SETS = (
    *("routellm_pair", "mmlu_pro", "zeroeval", "bfcl_2024_08", "coderouter_id", "llmrouter_uiuc"),
    *("routerdc7", "routerbench_subset", "metabench"),
)

N_FOLDS = 5

Z_SCORES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 1e9)


@dataclass(frozen=True, slots=True)
class Part:
    """Unseen prompts: `estimator_predictions` of each estimator, `y` of all, and `losses`."""

    estimator_predictions: FloatArray
    y: FloatArray
    losses: FloatArray
    weights: Float32Array

    def gains(self, incumbent: int) -> FloatArray:
        """Return predicted gains over the incumbent, `(n, n_experts)`."""
        return self.y[:, [incumbent]] - self.y

    def gain_std(self, incumbent: int) -> FloatArray:
        """Return how far the estimators disagree about the gains, `(n, n_experts)`."""
        estimates = self.estimator_predictions
        deviations = estimates[:, :, [incumbent]] - estimates - self.gains(incumbent)
        return np.asarray(np.sqrt(np.tensordot(self.weights, deviations**2, 1)))

    def routed_losses(self, y: FloatArray) -> FloatArray:
        """Return the losses of the experts with the lowest `y`, `(n,)`."""
        columns = np.where(np.isnan(self.losses), np.inf, y).argmin(axis=1)
        return np.asarray(self.losses[np.arange(len(y)), columns])


class Case(NamedTuple):
    """One fold: a rule is tuned on the `train` part, predicted without its own losses."""

    train: Part
    test: Part
    soft_threshold: SoftThreshold  # of today
    loss_std: float
    single: FloatArray  # the losses of the best single expert on the test part

    @property
    def incumbent(self) -> int:
        """The position of the expert that a margin compares with."""
        return self.soft_threshold.incumbent


def bagged(case: Case) -> FloatArray:
    """Lower gains by the margin of most bootstrap samples: the rule of today."""
    return case.soft_threshold(case.test.y)


def no_margin(case: Case) -> FloatArray:
    """Believe all predictions."""
    return case.test.y


def one_standard_error(case: Case) -> FloatArray:
    """Take the best margin if it is better by a standard error: the rule before."""
    margins = (0.0, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.33, 0.5, 1.0, 10.0)
    return _best_margin(case, margins, 1.0)


def best_margin(case: Case) -> FloatArray:
    """Take the margin of the lowest loss on the training part."""
    return _best_margin(case, MARGINS, 0.0)


def _best_margin(case: Case, margins: tuple[float, ...], standard_errors: float) -> FloatArray:
    thresholds = [SoftThreshold(case.incumbent, margin * case.loss_std) for margin in margins]
    losses = [case.train.routed_losses(threshold(case.train.y)) for threshold in thresholds]
    best = int(np.argmin([loss.mean() for loss in losses]))
    gain = losses[-1] - losses[best]
    is_certain = gain.mean() > standard_errors * gain.std() / np.sqrt(len(gain))
    return thresholds[best if is_certain else -1](case.test.y)


def hindsight(case: Case) -> FloatArray:
    """Take the margin of the lowest loss on the test part: a limit, not a result."""
    thresholds = [SoftThreshold(case.incumbent, margin * case.loss_std) for margin in MARGINS]
    return min(
        (threshold(case.test.y) for threshold in thresholds),
        key=lambda y: float(case.test.routed_losses(y).mean()),
    )


def z_score(case: Case) -> FloatArray:
    """Lower each gain by a tuned multiple of its own standard deviation."""
    return _tune(case, lambda gain, std, z: gain - z * std)


def probability(case: Case) -> FloatArray:
    """Take the highest probability to be better than the incumbent, if it is high enough."""
    return _tune(case, lambda gain, std, z: gain / np.maximum(std, 1e-9) - z)


def _tune(case: Case, value: Callable[[FloatArray, FloatArray, float], FloatArray]) -> FloatArray:
    def scores(part: Part, z: float) -> FloatArray:
        values = value(part.gains(case.incumbent), part.gain_std(case.incumbent), z)
        values[:, case.incumbent] = 0
        return -values

    losses = [case.train.routed_losses(scores(case.train, z)).mean() for z in Z_SCORES]
    return scores(case.test, Z_SCORES[int(np.argmin(losses))])


RULES: Mapping[str, Callable[[Case], FloatArray]] = {
    "before": one_standard_error,
    "now": bagged,
    "no margin": no_margin,
    "best margin": best_margin,
    "z-score": z_score,
    "probability": probability,
    "hindsight": hindsight,
}


def read_case(path: Path, table: QTable) -> Case:
    """Return what a fold's perception predicted, from the cache."""
    arrays = np.load(path)
    means, weights = arrays["means"].astype(np.float64), arrays["weights"]
    train, test = (table.take(arrays[rows]) for rows in ("train", "test"))
    is_known = train.measured.any(axis=0)
    single = best_single(Fold(train, np.zeros((len(train), 1)), test, np.zeros((len(test), 1))))

    def part(positions: FloatArray, side: QTable) -> Part:
        predictions = means[:, 0] + positions.astype(np.float64) @ means[:, 1:].T
        y = np.tensordot(weights, predictions, 1)
        return Part(predictions, y, side.losses[:, is_known].astype(np.float64), weights)

    parts = part(arrays["oof"], train), part(arrays["pos"], test)
    losses = parts[1].losses
    single_losses = Part(losses, losses, losses, weights).routed_losses(single.losses[:, is_known])
    loss_std = typical_loss_std(train.losses[:, is_known])
    threshold = fit_soft_threshold(parts[0].y, parts[0].losses, arrays["mean"], loss_std)
    return Case(*parts, threshold, loss_std, single_losses)


def train_case(
    path: Path, table: QTable, encoder: Encoder, split: tuple[IndexArray, IndexArray], seed: int
) -> None:
    """Train on one side of a fold, and write what is predicted for unseen prompts."""
    train, test = split
    part = table.take(train)
    is_known: BoolArray = part.measured.any(axis=0)
    part = part.select([name for name, known in zip(table.experts, is_known, strict=True) if known])
    known: dict[str, Any] = {}

    def record(out_of_fold: Float32Array, *args: Any) -> Any:  # noqa: ANN401 - as `calibrate` has them
        known.update(out_of_fold=out_of_fold, mean=args[2], fitted=calibrate(out_of_fold, *args))
        return known["fitted"]

    with mock.patch.object(trainer, "calibrate", record):
        config = trainer.FitConfig(seed=seed)
        perception = trainer.fit(part, encoder, config=config, progress=False)
    inputs = perception.estimator_inputs([table.prompts[row] for row in test])
    np.savez(
        path,
        train=train,
        test=test,
        oof=(known["out_of_fold"] * known["fitted"].gain).astype(np.float16),
        pos=perception.head.estimator_positions(inputs).astype(np.float16),
        means=perception.abilities.means.astype(np.float32),
        mean=known["mean"],
        weights=perception.head.weights,
    )


def compare(
    name: str, encoder: Encoder, cache: Path, seeds: int, n_prompts: int | None
) -> tuple[str, dict[str, float]]:
    """Return a row of leads over the best single expert, and shares of the gap by rule."""
    table = load(name)
    table = table.take(np.flatnonzero(table.measured.any(axis=1)))
    leads: dict[str, list[float]] = {rule: [] for rule in RULES}
    gaps = []
    for seed in range(seeds):
        routed: dict[str, list[FloatArray]] = {rule: [] for rule in RULES}
        cases = list(_cases(name, table, encoder, cache, seed, n_prompts))
        for case in cases:
            for rule, choose in RULES.items():
                routed[rule].append(case.single - case.test.routed_losses(choose(case)))
        for rule, gains in routed.items():
            leads[rule].append(100 * float(np.concatenate(gains).mean()))
        best = [case.single - np.nanmin(case.test.losses, axis=1) for case in cases]
        gaps.append(100 * float(np.concatenate(best).mean()))
    cells = [f"{np.mean(lead):+.2f} ({min(lead):+.2f})" for lead in leads.values()]
    shares = {rule: float(np.mean(lead) / np.mean(gaps)) for rule, lead in leads.items()}
    return f"| {name} | {np.mean(gaps):.1f} | {' | '.join(cells)} |", shares


def _cases(  # noqa: PLR0913 - what one seed of one set consists of
    name: str, table: QTable, encoder: Encoder, cache: Path, seed: int, n_prompts: int | None
) -> Any:  # noqa: ANN401 - an iterator of cases
    for fold, (train, test) in enumerate(folds(table.groups, N_FOLDS, seed)):
        path = cache / f"{name}_n{n_prompts or 0}_s{seed}_f{fold}.npz"
        if not path.exists():
            rows = train
            if n_prompts:
                rng = np.random.default_rng(100 * seed + fold)
                rows = np.sort(rng.choice(train, min(n_prompts, len(train)), replace=False))
            train_case(path, table, encoder, (rows, test), seed)
        yield read_case(path, table)


def main() -> None:
    """Print a row for each set, and the mean share of the gap that each rule closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--cache", type=Path, required=True, help="folder for what is predicted")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=DEFAULT_SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, help="how many of each training part to train on")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    encoder = CachingEncoder(load_encoder(arguments.encoder))
    head = ["set", "gap, points", *RULES]
    print("| " + " | ".join(head) + " |", "|" + "---|" * len(head), sep="\n")
    shares = []
    for name in arguments.sets:
        row, share = compare(name, encoder, arguments.cache, arguments.seeds, arguments.prompts)
        shares.append(share)
        print(row, flush=True)
    means = [f"{np.mean([share[rule] for share in shares]):.1%}" for rule in RULES]
    print(f"| mean share of the gap | | {' | '.join(means)} |")


if __name__ == "__main__":
    main()
