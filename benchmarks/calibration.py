"""Measure what decisions say about their uncertainty: std, intervals, confidence and typicality.

    python benchmarks/calibration.py ENCODER_FOLDER [--sets ...] [--seeds 5] [--picture FILE]
    python benchmarks/calibration.py ENCODER_FOLDER --router FOLDER

The first command measures routers of one set, the second a saved router on what it has not seen. A
router is trained on two thirds of at most 2,400 prompts of a set (and 40 experts), and judged on
the rest: other prompts of the same tasks (`prompts`), or whole categories left out (`tasks`). No
setting was chosen on the prompts that judge. A saved router is judged on whole sets that no shipped
router learns from, by the experts that it knows, and its typicality on everyday prompts
(`benchmarks/difficulty/prompts.jsonl`) and on noise.
"""

from __future__ import annotations

import argparse
import base64
import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import PERMISSIVE, SETS, load

from tryage import Router
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.persistence import load_encoder
from tryage.perception.wrappers import AlignedPerception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage import QTable
    from tryage.core.perception import Perception, Prediction
    from tryage.core.uncertainty import UncertaintyCalibration
    from tryage.perception.encoder import Encoder

LARGER = (
    *("routellm_pair", "mmlu_pro", "zeroeval", "bfcl_2024_08", "coderouter_id"),
    *("llmrouter_uiuc", "routerdc7", "routerbench_subset", "metabench"),
)
LEVELS = (0.8, 0.9)
MAX_PROMPTS, MAX_EXPERTS, GROUP_SIZE = 2_400, 40, 25
BINS = np.array([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0])
FLAGGED_BELOW, TYPICAL = 0.01, 0.05  # typicality
HEAD = "answers 80% | 90% | chosen 80% | 90% | means 80% | 90% | std ratio | ECE | flagged"
LABELS = {"prompts": "other prompts of known tasks", "tasks": "tasks that were left out"}
EVERYDAY = Path(__file__).parent / "difficulty" / "prompts.jsonl"


@dataclass
class Found:
    """Measurements of one set and one kind of split, one entry per seed."""

    answers: list[list[float]] = field(default_factory=list)  # share inside, at each level
    means: list[list[float]] = field(default_factory=list)
    chosen: list[list[float]] = field(default_factory=list)
    std_ratios: list[float] = field(default_factory=list)  # of mean residuals to their std
    errors: list[float] = field(default_factory=list)  # expected calibration error
    flagged: list[float] = field(default_factory=list)
    confidence: list[NDArray[np.float64]] = field(default_factory=list)
    won: list[NDArray[np.bool_]] = field(default_factory=list)


def sample(table: QTable, seed: int) -> QTable:
    """Return a part of a set: some prompts, and the best and some other experts."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(table.measured.any(axis=1))
    table = table.take(np.sort(rng.permutation(rows)[:MAX_PROMPTS]))
    if len(table.experts) > MAX_EXPERTS:
        covered = table.measured.mean(axis=0) > 0.5
        order = np.where(covered, np.nanmean(table.losses, axis=0), np.inf).argsort()
        best, others = order[: MAX_EXPERTS // 2], order[MAX_EXPERTS // 2 :]
        kept = [*best, *rng.permutation(others)[: MAX_EXPERTS // 2]]
        table = table.select([table.experts[i] for i in kept])
    return table


def split(table: QTable, kind: str, seed: int) -> tuple[QTable, QTable]:
    """Return a part for training and one for testing, with the same experts."""
    rng = np.random.default_rng(seed)
    if kind == "prompts":
        is_test = (rng.permutation(int(table.groups.max()) + 1) % 3 == 0)[table.groups]
    else:
        names = rng.permutation(np.unique([name or "" for name in table.categories or ()]))
        left_out = set(names[: max(1, round(len(names) / 3))].tolist())
        is_test = np.array([(name or "") in left_out for name in table.categories or ()])
    train = table.take(np.flatnonzero(~is_test))
    known = [e for e, some in zip(train.experts, train.measured.any(axis=0), strict=True) if some]
    parts = (part.select(known) for part in (train, table.take(np.flatnonzero(is_test))))
    train, test = (part.take(np.flatnonzero(part.measured.any(axis=1))) for part in parts)
    return train, test


def judge(found: Found, perception: Perception, test: QTable) -> None:
    """Add what the predictions for unseen prompts say about themselves."""
    prediction, losses = perception.predict(test.prompts), test.losses.astype(np.float64)
    calibration, typicality = prediction.uncertainty, prediction.typicality
    if calibration is None or typicality is None:
        raise SystemExit("The perception has no calibration of its uncertainty.")
    measured = ~np.isnan(losses)
    predicted, std = prediction.losses[measured], prediction.std[measured]
    inside = np.array(
        [are_inside(calibration, predicted, std, losses[measured], level) for level in LEVELS]
    )
    is_best = np.where(measured, prediction.losses, np.inf).argmin(axis=1)
    of_best = (np.arange(losses.shape[1]) == is_best[:, None])[measured]
    found.answers.append(inside.mean(axis=1).tolist())
    found.chosen.append(inside[:, of_best].mean(axis=1).tolist())
    found.errors.append(calibration_error(predicted, losses[measured]))
    found.flagged.append(float(np.mean(typicality < FLAGGED_BELOW)))
    add_means(found, calibration, prediction, test)
    add_confidence(found, calibration, prediction, losses)


def are_inside(  # noqa: PLR0913 - an interval and what it has to contain
    calibration: UncertaintyCalibration,
    predicted: NDArray[np.floating],
    std: NDArray[np.floating],
    losses: NDArray[np.floating],
    level: float,
    prompts: int = 1,
) -> NDArray[np.bool_]:
    """Return which losses lie in their intervals."""
    triples = zip(predicted.tolist(), std.tolist(), losses.tolist(), strict=True)
    bounds = ((calibration.interval(p, s, level, prompts), loss) for p, s, loss in triples)
    return np.array([low - 1e-6 <= loss <= high + 1e-6 for (low, high), loss in bounds])


def add_means(
    found: Found, calibration: UncertaintyCalibration, prediction: Prediction, test: QTable
) -> None:
    """Compare the mean losses of groups of like prompts with their intervals and std.

    Prompts below `TYPICAL` are left out: their std is far wider than that of their neighbors.
    """
    typical = np.flatnonzero(prediction.typicality >= TYPICAL)
    if len(typical) < GROUP_SIZE:
        return
    test, prediction = test.take(typical), prediction.select(typical)
    labels = np.array([name or "" for name in test.categories or [None] * len(test)])
    order = np.lexsort((prediction.losses.mean(axis=1), labels))
    rows = []
    for group in np.array_split(order, max(1, len(order) // GROUP_SIZE)):
        known = test.measured[group].all(axis=0)
        losses, predicted = test.losses[group][:, known], prediction.losses[group][:, known]
        std = np.sqrt((prediction.std[group][:, known] ** 2).mean(axis=0))
        chance = (calibration.outcome_std(predicted) ** 2).mean(axis=0) / len(group)
        rows.append(np.stack([losses.mean(axis=0), predicted.mean(axis=0), std, chance]))
    mean, predicted, std, chance = np.concatenate(rows, axis=1).astype(np.float64)
    if not mean.size:
        return
    found.means.append(
        [
            float(are_inside(calibration, predicted, std, mean, level, GROUP_SIZE).mean())
            for level in LEVELS
        ]
    )
    shared = max(float(np.mean((mean - predicted) ** 2 - chance)), 0.0)
    found.std_ratios.append(float(np.sqrt(shared / np.mean(std**2))))


def add_confidence(
    found: Found,
    calibration: UncertaintyCalibration,
    prediction: Prediction,
    losses: NDArray[np.float64],
) -> None:
    """Compare the chosen expert with the second on each prompt where their losses differ."""
    rows = np.arange(len(losses))[:, None]
    best = np.where(np.isnan(losses), np.inf, prediction.losses).argsort(axis=1, kind="stable")
    best = best[:, :2]
    both = prediction.losses[rows, best].tolist(), prediction.std[rows, best].tolist()
    confidence = np.array(
        [
            calibration.better_probability(tuple(p), tuple(s), p[1] - p[0], has_terms=False)
            for p, s in zip(*both, strict=True)
        ]
    )
    difference = losses[rows, best] @ np.array([-1.0, 1.0])
    differs = np.abs(difference) > 1e-6
    found.confidence.append(confidence[differs])
    found.won.append(difference[differs] > 0)


def calibration_error(
    predicted: NDArray[np.floating], losses: NDArray[np.floating], bins: int = 15
) -> float:
    """Return the expected calibration error in equal bins of [0, 1] (Naeini et al., 2015)."""
    index = np.minimum((predicted * bins).astype(int), bins - 1)
    gaps = np.bincount(index, predicted - losses, minlength=bins)
    return float(np.abs(gaps).sum() / len(losses))


def measure(name: str, kind: str, encoder: Encoder, seeds: Sequence[int]) -> Found:
    """Train and judge on one set with every seed."""
    found = Found()
    for seed in seeds:
        train, test = split(sample(load(name), seed), kind, seed)
        perception = fit(train, encoder, config=FitConfig(seed=seed), progress=False)
        judge(found, perception, test)
    return found


def row(name: str, found: Found) -> str:
    """Return the measurements of one set as a row of Markdown, means over seeds."""
    means = np.mean(found.means, axis=0) if found.means else [np.nan] * len(LEVELS)
    cells = [
        *(f"{value:.3f}" for value in np.mean(found.answers, axis=0)),
        *(f"{value:.3f}" for value in np.mean(found.chosen, axis=0)),
        *(f"{value:.2f}" for value in means),
        f"{np.mean(found.std_ratios):.2f}" if found.std_ratios else "-",
        f"{np.mean(found.errors):.3f}",
        f"{np.mean(found.flagged):.1%}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def reliability(found: Sequence[Found]) -> list[tuple[int, float, float]]:
    """Return number, mean confidence and share of better answers of each bin, over all sets."""
    confidence = np.concatenate([part for one in found for part in one.confidence])
    won = np.concatenate([part for one in found for part in one.won])
    index = BINS[1:-1].searchsorted(confidence, side="right")
    return [
        (int((index == i).sum()), confidence[index == i].mean(), won[index == i].mean())
        for i in range(len(BINS) - 1)
        if (index == i).any()
    ]


def noise(seed: int = 0, count: int = 60) -> dict[str, list[str]]:
    """Return texts that are no prompts: random letters, base64 and lines of a log."""
    rng = np.random.default_rng(seed)
    letters = np.array(list(string.ascii_lowercase + "     "))
    lengths = rng.integers(30, 300, count).tolist()
    line = "2026-11-2{} 12:0{}:11 ERROR [worker-{}] com.acme.Foo - NullPointerException at Bar:{}\n"
    return {
        "random letters": ["".join(rng.choice(letters, n).tolist()) for n in lengths],
        "base64": [base64.b64encode(rng.bytes(n)).decode() for n in lengths],
        "log": [3 * line.format(*rng.integers(0, 10, 4).tolist()) for _ in lengths],
    }


def everyday() -> dict[str, list[str]]:
    """Return everyday prompts by language."""
    found: dict[str, list[str]] = {}
    for line in EVERYDAY.read_text("utf-8").splitlines():
        prompt = json.loads(line)
        found.setdefault(prompt["language"], []).append(prompt["prompt"])
    return found


def judge_router(router: Router) -> None:
    """Print what a saved router says of whole sets that it has not seen, of everyday and noise."""
    print(f"| set | {HEAD} |\n|{10 * '---|'}")
    for name in (name for name in SETS if name not in PERMISSIVE):
        table = load(name)
        names = {e: router.library[e].name for e in table.experts if e in router.library}
        names = {e: known for e, known in names.items() if known in router.perception.experts}
        if len(set(names.values())) < 2:
            continue
        found, columns = Found(), list(dict(zip(names.values(), names, strict=True)).values())
        part = table.select(columns)
        part = part.take(np.flatnonzero(part.measured.any(axis=1)))
        known = Router(router.perception, [names[e] for e in columns])
        judge(found, AlignedPerception(known.perception, known.library), part)
        print(row(f"{name}, {len(columns)} experts", found), flush=True)
    print("\n| texts | number | typicality below .01 | below .05 |\n|---|---|---|---|")
    for name, prompts in {**everyday(), **noise()}.items():
        values = router.perception.predict(prompts).typicality
        if values is not None:
            shares = f"{np.mean(values < 0.01):.0%} | {np.mean(values < 0.05):.0%}"
            print(f"| {name} | {len(prompts)} | {shares} |")


def plot(parts: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    """Draw confidence against the share of better answers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), dpi=150)
    axes = figure.subplots()
    axes.plot([0.5, 1], [0.5, 1], color="0.6", lw=1)
    for label, bins in parts.items():
        counts, x, y = np.array(bins).T
        axes.errorbar(
            x, y, yerr=2 * np.sqrt(y * (1 - y) / counts), marker="o", capsize=2, label=LABELS[label]
        )
    axes.set_xlabel("confidence")
    axes.set_ylabel("the chosen expert's answer is better,\nof the prompts where the two differ")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(LARGER))
    parser.add_argument("--kinds", nargs="+", default=["prompts", "tasks"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--router", type=Path, help="a saved router, in place of the sets")
    arguments = parser.parse_args()
    if arguments.router is not None:
        judge_router(Router.from_pretrained(arguments.router))
        return
    encoder = load_encoder(arguments.encoder)
    bins = {}
    for kind in arguments.kinds:
        print(f"\n{kind}\n| set | {HEAD} |\n|{10 * '---|'}")
        found = []
        for name in arguments.sets:
            found.append(measure(name, kind, encoder, range(arguments.seeds)))
            print(row(name, found[-1]), flush=True)
        bins[kind] = reliability(found)
        print("\n| confidence | better | prompts |\n|---|---|---|")
        for count, confidence, better in bins[kind]:
            print(f"| {confidence:.3f} | {better:.3f} | {count:,} |")
    if arguments.picture is not None:
        plot(bins, arguments.picture)


if __name__ == "__main__":
    main()
