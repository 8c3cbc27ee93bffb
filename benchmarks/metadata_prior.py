"""What a router believes of models nobody has measured: from metadata, and after a short test.

    python benchmarks/metadata_prior.py [--plot FILE]        # two minutes on one core

Whole families of metabench are held out, five times. Everything is learned on the other families,
and how much each trait may matter is chosen there; the third of the prompts on which all is judged
was not trained on either. Prints Markdown. metabench may not be redistributed
(CC BY-NC-SA): it serves this test and trains nothing that ships.
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
NEIGHBOURS = 10
CLASSES = (2e9, 5e9, 9e9, 20e9)  # parameters between size classes
LEVELS = (0.5, 0.8, 0.95)
OURS, CROWD = "metadata prior", "crowd's mean"
SIZE, NEAR, RAW = "parameter count alone", "10 nearest in metadata", "mean of the test's scores"


@dataclass(frozen=True, slots=True)
class Belief:
    """What a method says of the strangers' mean loss: `mean` and `std` `(n,)`, std of the noise in.

    `losses` `(n_prompts, n)` per prompt, where the method tells prompts apart.
    """

    mean: Floats
    std: Floats
    losses: Floats | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A method on the strangers of one fold, after a test of some prompts, in one draw."""

    method: str
    prompts: int
    fold: int
    belief: Belief
    truth: Floats
    sizes: Floats
    brier: float
    routed: float


def beliefs(fold: Fold, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Belief]]:
    """Yield what every method believes after an aptitude test of `count` random prompts."""
    perception = fold.perception
    asked = rng.choice(np.flatnonzero(~fold.tests), count, replace=False)
    priors = {OURS: perception.metadata_prior, CROWD: pooled_prior(perception.abilities.prior)}
    for name, kinship in priors.items():
        yield name, updated(fold, kinship, asked)
    if count:
        wrong = fold.losses[asked].sum(axis=0, dtype=np.float64)
        mean = (wrong + 0.5) / (count + 1)
        yield RAW, Belief(mean, np.sqrt(mean * (1 - mean) * (1 / count + 1 / fold.tests.sum())))
    else:
        yield SIZE, by_size(fold)
        yield NEAR, by_neighbours(fold)


def updated(fold: Fold, kinship: MetadataPrior, asked: NDArray[np.intp]) -> Belief:
    """Start from a prior, learn from the test, and predict the mean loss of the test prompts."""
    perception, link = fold.perception, fold.perception.link
    relatives = kinship.predict(metadata_features(fold.strangers))
    places = perception.latent_positions(fold.prompts)
    there, chosen = places[fold.tests], places[asked]
    means, stds, columns = [], [], []
    for i in range(len(relatives)):
        ability = relatives[i]
        if len(asked):
            ability = ability.posterior(chosen, fold.losses[asked, i], perception.abilities.noise)
        y = there @ ability.mean
        losses = link.losses(y, y.min(keepdims=True))
        slope = (link.slope * losses * (1 - losses)) @ there / len(there)
        noise = (losses * (1 - losses)).mean() / len(there)
        means.append(losses.mean())
        stds.append(np.sqrt(slope @ ability.covariance @ slope + noise))
        columns.append(losses)
    return Belief(np.array(means), np.array(stds), np.stack(columns, axis=1))


def by_size(fold: Fold) -> Belief:
    """Regress the mean loss on the decades of parameters; unknown ones get the mean."""
    goal = fold.known_losses[fold.tests].mean(axis=0)
    x, new = (_decades(library.column("parameters")) for library in (fold.known, fold.strangers))
    fitted = np.polyfit(x[~np.isnan(x)], goal[~np.isnan(x)], 1)
    rest = goal - np.where(np.isnan(x), goal.mean(), np.polyval(fitted, x))
    mean = np.where(np.isnan(new), goal.mean(), np.polyval(fitted, new))
    return Belief(mean, np.full(len(mean), rest.std()))


def by_neighbours(fold: Fold) -> Belief:
    """Average the known experts that are nearest in scaled numbers and flags."""
    goal = fold.known_losses[fold.tests].mean(axis=0)
    known, new = (_point(fold, library) for library in (fold.known, fold.strangers))
    apart = ((new[:, None] - known[None]) ** 2).sum(axis=2)
    near = goal[np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]]
    return Belief(near.mean(axis=1), near.std(axis=1, ddof=1) * np.sqrt(1 + 1 / NEIGHBOURS) + 1e-3)


def _point(fold: Fold, library: Library) -> Floats:
    traits = metadata_features(library)
    numbers = fold.perception.metadata_prior.scaler(traits.numeric)[:, :-1]
    return np.concatenate([numbers, traits.binary[traits.profile_index]], axis=1)


def _decades(column: Floats) -> Floats:
    return np.log10(np.where(column > 0, column, np.nan))


def judge(number: int, fold: Fold, tests: Sequence[int] = TESTS) -> Iterator[Judged]:
    """Judge every method on one fold, over several draws of the aptitude test."""
    truth = fold.losses[fold.tests]
    for count in tests:
        for draw in range(DRAWS if count else 1):
            rng = np.random.default_rng((number, count, draw))
            for method, belief in beliefs(fold, count, rng):
                losses = belief.mean[None] if belief.losses is None else belief.losses
                best = np.broadcast_to(losses.argmin(axis=1), len(truth))
                ties = np.ptp(losses, axis=1).max() < 1e-6  # all alike: any of them, on average
                routed = truth.mean() if ties else truth[np.arange(len(truth)), best].mean()
                yield Judged(
                    method,
                    count,
                    number,
                    belief,
                    truth.mean(axis=0, dtype=np.float64),
                    fold.strangers.column("parameters"),
                    float(((losses - truth) ** 2).mean()),
                    float(routed - truth.mean(axis=0).min()),
                )


def rank(predicted: Floats, truth: Floats) -> float:
    """Spearman's correlation; 0 where all are predicted alike."""
    return float(spearmanr(predicted, truth)[0]) if np.ptp(predicted) > 1e-9 else 0.0


def within(row: Judged) -> tuple[float, int]:
    """Sum Spearman's correlations within classes of size, each times its models."""
    cells = np.digitize(row.sizes, CLASSES)
    cells[np.isnan(row.sizes)] = len(CLASSES) + 1
    total, models = 0.0, 0
    for cell in range(len(CLASSES) + 1):
        rows = cells == cell
        if rows.sum() >= 8:
            total += rows.sum() * rank(row.belief.mean[rows], row.truth[rows])
            models += int(rows.sum())
    return total, models


def summary(rows: Sequence[Judged]) -> dict[str, float]:
    """Average over folds, each model counted alike."""
    n = np.array([len(row.truth) for row in rows])
    z = np.concatenate([(r.truth - r.belief.mean) / r.belief.std for r in rows])
    std = np.concatenate([r.belief.std for r in rows])
    inner = [within(row) for row in rows]
    error = np.concatenate([r.truth - r.belief.mean for r in rows])
    found = {
        "rank": float(n @ [rank(r.belief.mean, r.truth) for r in rows] / n.sum()),
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


def table(judged: Sequence[Judged]) -> str:
    """Write one row per length of the test and method."""
    lines = []
    for count in TESTS:
        for method in dict.fromkeys(row.method for row in judged):
            rows = [row for row in judged if (row.method, row.prompts) == (method, count)]
            if rows:
                found = summary(rows)
                if not lines:
                    lines += [f"| prompts | method | {' | '.join(found)} |", "|---" * 12 + "|"]
                shown = " | ".join(f"{value:.3f}" for value in found.values())
                lines.append(f"| {count} | {method} | {shown} |")
    return "\n".join(lines)


def bundled() -> str:
    """Leave out the bundled router's own experts, family by family, and guess their level."""
    router = Router.from_pretrained()
    abilities = router.perception.abilities
    library = router.library.subset(list(router.perception.experts))
    series = np.array([model_family(e.name, e.metadata)[0] for e in library])
    guess, width = np.empty(len(series)), np.empty(len(series))
    for name in set(series.tolist()):
        out = series == name
        kept = np.flatnonzero(~out)
        kinship = fit_metadata_prior(
            metadata_features(library.subset(kept)), abilities.take(kept.tolist())
        )
        found = kinship.predict(metadata_features(library.subset(out)))
        guess[out] = [found[i].mean[0] for i in range(len(found))]
        width[out] = [found[i].covariance[0, 0] for i in range(len(found))]
    truth = abilities.means[:, 0]
    z = (truth - guess) / np.sqrt(width + abilities.covariances[:, 0, 0])
    cover = " | ".join(f"{(np.abs(z) < norm.ppf(0.5 + v / 2)).mean():.3f}" for v in LEVELS)
    wide = truth.std()
    return (
        "| experts | families | rank | error | spread of the truth | 50% | 80% | 95% | z |\n"
        f"{'|---' * 9}|\n"
        f"| {len(series)} | {len(set(series.tolist()))} | {rank(guess, truth):.3f} "
        f"| {np.sqrt(((truth - guess) ** 2).mean()):.3f} | {wide:.3f} | {cover} "
        f"| {np.sqrt((z**2).mean()):.3f} |"
    )


def main() -> None:
    """Judge all folds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="draw rank correlation and coverage to it")
    options = parser.parse_args()
    if not available():
        sys.exit(ABSENT)
    judged: list[Judged] = []
    for number, fold in enumerate(folds(load_encoder(BUNDLED_FOLDER / "encoder"))):
        judged += judge(number, fold)
        print(f"fold {number + 1}: {len(fold.strangers)} models of {', '.join(fold.families)}")
    print(f"\n{table(judged)}\n\n{bundled()}")
    if options.plot:
        from prior_picture import draw

        draw(judged, options.plot)


if __name__ == "__main__":
    main()
