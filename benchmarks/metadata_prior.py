"""What a router predicts for unmeasured models: from metadata, and after a short aptitude test.

    python benchmarks/metadata_prior.py [--plot FILE]        # two minutes on one core

Whole families of metabench are held out, five times. Everything is fitted on the other families,
the variances of the metadata features included. The third of the prompts on which the methods are
judged was not trained on either. Prints Markdown. metabench may not be redistributed
(CC BY-NC-SA): it serves this test and trains nothing in the wheel.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import ABSENT, available
from families import Fold, folds
from scipy.stats import norm, spearmanr

from tryage import Router
from tryage.learning.training.metadata_prior import fit_metadata_prior
from tryage.perception.metadata import metadata_features, model_family
from tryage.perception.metadata_prior import pooled_prior
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tryage.core.library import Library
    from tryage.perception.metadata_prior import MetadataPrior

    Floats = NDArray[np.float64]

TESTS = (0, 10, 30, 100, 300)  # prompts of the aptitude test
DRAWS = 3
NEIGHBORS = 10
CLASSES = (2e9, 5e9, 9e9, 20e9)  # parameters between size classes
LEVELS = (0.5, 0.8, 0.95)
OURS, POOLED = "metadata prior", "crowd's mean"
SIZE, NEAREST, TEST_MEAN = (
    "parameter count alone",
    "10 nearest in metadata",
    "mean of the test's scores",
)


@dataclass(frozen=True, slots=True)
class MeanLossPrediction:
    """The mean loss of each unseen model: `mean` and `std` `(n,)`; `std` includes the noise.

    `losses` `(n_prompts, n)` are predictions per prompt, if the method makes any.
    """

    mean: Floats
    std: Floats
    losses: Floats | None = None


@dataclass(frozen=True, slots=True)
class MethodResult:
    """A method on the unseen models of one fold, after one random test of `prompts` prompts."""

    method: str
    prompts: int
    fold: int
    prediction: MeanLossPrediction
    truth: Floats
    sizes: Floats
    brier: float
    routed: float


def predictions(
    fold: Fold, count: int, rng: np.random.Generator
) -> Iterator[tuple[str, MeanLossPrediction]]:
    """Yield the prediction of every method after an aptitude test of `count` random prompts."""
    perception = fold.perception
    prompts = rng.choice(np.flatnonzero(~fold.tests), count, replace=False)
    priors = {OURS: perception.metadata_prior, POOLED: pooled_prior(perception.abilities.prior)}
    for name, prior in priors.items():
        yield name, posterior_prediction(fold, prior, prompts)
    if count:
        wrong = fold.losses[prompts].sum(axis=0, dtype=np.float64)
        mean = (wrong + 0.5) / (count + 1)
        variance = mean * (1 - mean) * (1 / count + 1 / fold.tests.sum())
        yield TEST_MEAN, MeanLossPrediction(mean, np.sqrt(variance))
    else:
        yield SIZE, regress_on_size(fold)
        yield NEAREST, average_neighbors(fold)


def posterior_prediction(
    fold: Fold, prior: MetadataPrior, prompts: NDArray[np.intp]
) -> MeanLossPrediction:
    """Update a prior with the aptitude test, and predict the mean loss of the held-out prompts."""
    perception, link = fold.perception, fold.perception.link
    abilities = prior.predict(metadata_features(fold.unseen))
    positions = perception.latent_positions(fold.prompts)
    held_out, tested = positions[fold.tests], positions[prompts]
    means, stds, columns = [], [], []
    for i in range(len(abilities)):
        ability = abilities[i]
        if len(prompts):
            ability = ability.posterior(tested, fold.losses[prompts, i], perception.abilities.noise)
        y = held_out @ ability.mean
        losses = link.losses(y, y.min(keepdims=True))
        slope = (link.slope * losses * (1 - losses)) @ held_out / len(held_out)
        noise = (losses * (1 - losses)).mean() / len(held_out)
        means.append(losses.mean())
        stds.append(np.sqrt(slope @ ability.covariance @ slope + noise))
        columns.append(losses)
    return MeanLossPrediction(np.array(means), np.array(stds), np.stack(columns, axis=1))


def regress_on_size(fold: Fold) -> MeanLossPrediction:
    """Regress the mean loss on the logarithm of the size; models of unknown size get the mean."""
    target = fold.known_losses[fold.tests].mean(axis=0)
    x, new = (_log10(library.column("parameters")) for library in (fold.known, fold.unseen))
    line = np.polyfit(x[~np.isnan(x)], target[~np.isnan(x)], 1)
    residuals = target - np.where(np.isnan(x), target.mean(), np.polyval(line, x))
    mean = np.where(np.isnan(new), target.mean(), np.polyval(line, new))
    return MeanLossPrediction(mean, np.full(len(mean), residuals.std()))


def average_neighbors(fold: Fold) -> MeanLossPrediction:
    """Average the known experts that are nearest in scaled numbers and flags."""
    target = fold.known_losses[fold.tests].mean(axis=0)
    known, new = (_point(fold, library) for library in (fold.known, fold.unseen))
    distances = ((new[:, None] - known[None]) ** 2).sum(axis=2)
    near = target[np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBORS]]
    std = near.std(axis=1, ddof=1) * np.sqrt(1 + 1 / NEIGHBORS) + 1e-3
    return MeanLossPrediction(near.mean(axis=1), std)


def _point(fold: Fold, library: Library) -> Floats:
    features = metadata_features(library)
    numbers = fold.perception.metadata_prior.scaler(features.numeric)[:, :-1]
    return np.concatenate([numbers, features.binary[features.profile_index]], axis=1)


def _log10(column: Floats) -> Floats:
    return np.log10(np.where(column > 0, column, np.nan))


def judge(number: int, fold: Fold, tests: Sequence[int] = TESTS) -> Iterator[MethodResult]:
    """Judge every method on one fold, over several random aptitude tests."""
    truth = fold.losses[fold.tests]
    for count in tests:
        for draw in range(DRAWS if count else 1):
            rng = np.random.default_rng((number, count, draw))
            for method, predicted in predictions(fold, count, rng):
                losses = predicted.mean[None] if predicted.losses is None else predicted.losses
                best = np.broadcast_to(losses.argmin(axis=1), len(truth))
                ties = np.ptp(losses, axis=1).max() < 1e-6  # all equal: the average of any choice
                routed = truth.mean() if ties else truth[np.arange(len(truth)), best].mean()
                yield MethodResult(
                    method,
                    count,
                    number,
                    predicted,
                    truth.mean(axis=0, dtype=np.float64),
                    fold.unseen.column("parameters"),
                    float(((losses - truth) ** 2).mean()),
                    float(routed - truth.mean(axis=0).min()),
                )


def rank(predicted: Floats, truth: Floats) -> float:
    """Return Spearman's correlation; 0 if all predictions are equal."""
    return float(spearmanr(predicted, truth)[0]) if np.ptp(predicted) > 1e-9 else 0.0


def rank_within_size(row: MethodResult) -> tuple[float, int]:
    """Sum Spearman's correlations within size classes, weighted by models; count the models."""
    cells = np.digitize(row.sizes, CLASSES)
    cells[np.isnan(row.sizes)] = len(CLASSES) + 1
    total, models = 0.0, 0
    for cell in range(len(CLASSES) + 1):
        rows = cells == cell
        if rows.sum() >= 8:
            total += rows.sum() * rank(row.prediction.mean[rows], row.truth[rows])
            models += int(rows.sum())
    return total, models


def summary(rows: Sequence[MethodResult]) -> dict[str, float]:
    """Average over folds; every model has the same weight."""
    n = np.array([len(row.truth) for row in rows])
    z = np.concatenate([(r.truth - r.prediction.mean) / r.prediction.std for r in rows])
    std = np.concatenate([r.prediction.std for r in rows])
    inner = [rank_within_size(row) for row in rows]
    error = np.concatenate([r.truth - r.prediction.mean for r in rows])
    found = {
        "rank": float(n @ [rank(r.prediction.mean, r.truth) for r in rows] / n.sum()),
        "within size": sum(a for a, _ in inner) / max(sum(b for _, b in inner), 1),
        "error": float(np.sqrt((error**2).mean())),
    }
    for level in LEVELS:
        found[f"{level:.0%}"] = float((np.abs(z) < norm.ppf(0.5 + level / 2)).mean())
    found["z"] = float(np.sqrt((z**2).mean()))
    found["NLL"] = float((0.5 * z**2 + np.log(std) + 0.5 * np.log(2 * np.pi)).mean())
    found["Brier"] = float(n @ [r.brier for r in rows] / n.sum())
    found["regret"] = float(np.mean([r.routed for r in rows]))
    return found


def table(results: Sequence[MethodResult]) -> str:
    """Write one row per length of the test and method."""
    lines: list[str] = []
    for count in TESTS:
        for method in dict.fromkeys(row.method for row in results):
            rows = [row for row in results if (row.method, row.prompts) == (method, count)]
            if rows:
                found = summary(rows)
                if not lines:
                    lines += [f"| prompts | method | {' | '.join(found)} |", "|---" * 12 + "|"]
                shown = " | ".join(f"{value:.3f}" for value in found.values())
                lines.append(f"| {count} | {method} | {shown} |")
    return "\n".join(lines)


def bundled() -> str:
    """Leave out the bundled router's own experts, family by family, and predict their level."""
    router = Router.from_pretrained()
    abilities = router.perception.abilities
    library = router.library.subset(list(router.perception.experts))
    series = np.array([model_family(e.name, e.metadata)[0] for e in library])
    mean, variance = np.empty(len(series)), np.empty(len(series))
    for name in set(series.tolist()):
        out = series == name
        kept = np.flatnonzero(~out)
        prior = fit_metadata_prior(
            metadata_features(library.subset(kept)), abilities.take(kept.tolist())
        )
        found = prior.predict(metadata_features(library.subset(out)))
        mean[out] = [found[i].mean[0] for i in range(len(found))]
        variance[out] = [found[i].covariance[0, 0] for i in range(len(found))]
    truth = abilities.means[:, 0]
    z = (truth - mean) / np.sqrt(variance + abilities.covariances[:, 0, 0])
    coverage = " | ".join(f"{(np.abs(z) < norm.ppf(0.5 + v / 2)).mean():.3f}" for v in LEVELS)
    return (
        "| experts | families | rank | error | spread of the truth | 50% | 80% | 95% | z |\n"
        f"{'|---' * 9}|\n"
        f"| {len(series)} | {len(set(series.tolist()))} | {rank(mean, truth):.3f} "
        f"| {np.sqrt(((truth - mean) ** 2).mean()):.3f} | {truth.std():.3f} | {coverage} "
        f"| {np.sqrt((z**2).mean()):.3f} |"
    )


def main() -> None:
    """Judge all folds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="draw rank correlation and coverage to this file")
    options = parser.parse_args()
    if not available():
        sys.exit(ABSENT)
    results: list[MethodResult] = []
    for number, fold in enumerate(folds(load_encoder(BUNDLED_FOLDER / "encoder"))):
        results += judge(number, fold)
        print(f"fold {number + 1}: {len(fold.unseen)} models of {', '.join(fold.families)}")
    print(f"\n{table(results)}\n\n{bundled()}")
    if options.plot:
        from prior_picture import draw

        draw(results, options.plot)


if __name__ == "__main__":
    main()
