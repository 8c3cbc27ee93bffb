"""Put the experts of all sets on one scale of ability: an offset per set with its uncertainty.

An expert's ability within a set is its logit of success without the difficulty of the set's tasks;
it is known up to a constant of the set. The model is

    ability within the set = offset of the set + ability of the expert + noise
    ability of the expert  = slopes . (release date, log parameters, parameters unknown) + its own

so shared experts link two sets if there are any, and facts about experts link them otherwise. The
expert's own part has heavy tails, because some were measured with a broken answer format. Run from
the root of the repository:

    python benchmarks/bundle/anchoring.py [--out offsets.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from names import canonical, library

from tryage.core.validation import require_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TASKS = {  # the column with the task of a prompt
    "zeroeval": "dataset",
    "mmlu_pro": "category",
    "routellm_pair": "dataset",
    "llmrouter_uiuc": "dataset",
    "coderouter_id": "category",
}
SETS = tuple(TASKS)
MAX_COUNT = 200  # answers in a cell; with more its noise is not from sampling
OWN = 0.40  # standard deviation of an expert from the prediction by its facts
NOISE = 0.35  # of an expert within a set; shared experts differ by 0.5 between two sets
TAILS = 4.0  # degrees of freedom of the expert's own part


class Measured(NamedTuple):
    """One expert's ability within one set, in logits, up to the set's constant."""

    data_set: str
    expert: str
    ability: float


@dataclass(frozen=True, slots=True)
class Scale:
    """Offsets of the sets `(n_sets,)`, their covariance, and the slopes of the three facts."""

    offsets: NDArray[np.float64]
    covariance: NDArray[np.float64]
    slopes: NDArray[np.float64]

    def between(self, one: str, other: str) -> tuple[float, float]:
        """Return how much higher the abilities of one set are, and the standard deviation."""
        contrast = np.zeros(len(SETS))
        contrast[SETS.index(one)], contrast[SETS.index(other)] = 1.0, -1.0
        return float(contrast @ self.offsets), float(np.sqrt(contrast @ self.covariance @ contrast))


def abilities(data_set: str) -> list[Measured]:
    """Fit the experts of a set: additive logits of expert and task, with centred tasks."""
    cells = _cells(data_set)
    experts = sorted({expert for expert, _ in cells})
    tasks = sorted({task for _, task in cells})
    design = np.zeros((len(cells) + 1, len(experts) + len(tasks)))
    goal = np.zeros(len(cells) + 1)
    for row, ((expert, task), (right, n)) in enumerate(cells.items()):
        weight = np.sqrt(min(n, MAX_COUNT))
        design[row, experts.index(expert)] = weight
        design[row, len(experts) + tasks.index(task)] = weight
        goal[row] = weight * np.log((right + 0.5) / (n - right + 0.5))
    design[-1, len(experts) :] = 1e3  # the tasks' difficulties sum to zero
    solution = np.linalg.lstsq(design, goal, rcond=None)[0]
    return [Measured(data_set, e, float(a)) for e, a in zip(experts, solution, strict=False)]


def _cells(data_set: str) -> dict[tuple[str, str], tuple[float, int]]:
    """Count right answers and all answers by (expert, task), only of the largest serving."""
    require_extra("pyarrow", "evaluate")
    from pyarrow import parquet

    folder, column = DATA / data_set, TASKS[data_set]
    prompts = parquet.read_table(folder / "prompts.parquet", columns=["prompt_id", column])
    rows = parquet.read_table(
        folder / "outcomes.parquet", columns=["prompt_id", "model", "score"]
    ).join(prompts, "prompt_id")
    summed = rows.group_by(["model", column]).aggregate([("score", "sum"), ("score", "count")])
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for row in summed.to_pylist():
        cell = (canonical(data_set, row["model"]), row[column])
        counted = (float(row["score_sum"]), int(row["score_count"]))
        if counted[1] > found.get(cell, (0.0, 0))[1]:
            found[cell] = counted
    return found


def _facts(expert: str) -> list[float]:
    """Return years since mid 2024, log10 of parameters, zero if unknown, and a flag for unknown."""
    known = library()[expert]
    years = (known.released.toordinal() - 739038) / 365.25 if known.released else 0.0
    if known.parameters is None:
        return [years, 0.0, 1.0]
    return [years, float(np.log10(known.parameters)) - 10.3, 0.0]


def link(measured: list[Measured]) -> Scale:
    """Estimate the offsets by generalised least squares, reweighted for heavy tails."""
    goal = np.array([row.ability for row in measured])
    effects = np.array([[row.data_set == name for name in SETS] for row in measured], dtype=float)
    facts = np.array([_facts(row.expert) for row in measured])
    design = np.hstack([effects, facts])
    experts = [row.expert for row in measured]
    is_same = np.array([[one == other for other in experts] for one in experts])
    own = np.full(len(goal), OWN**2)
    precision = np.diag([1e-6] * len(SETS) + [0.1] * facts.shape[1])
    for _ in range(25):
        covariance = (
            np.where(is_same, np.sqrt(np.outer(own, own)), 0.0) + np.eye(len(goal)) * NOISE**2
        )
        weighted = np.linalg.solve(covariance, design)
        posterior = np.linalg.inv(design.T @ weighted + precision)
        solution = posterior @ (weighted.T @ goal)
        residuals = np.linalg.solve(covariance, goal - design @ solution)
        excess = np.where(is_same, own, 0.0) @ residuals  # the expectation of the own part
        own = OWN**2 * (TAILS + excess**2 / OWN**2) / (TAILS + 1.0)
    n = len(SETS)
    return Scale(solution[:n], posterior[:n, :n], solution[n:])


def shared(measured: list[Measured]) -> dict[str, dict[str, float]]:
    """Return the experts of more than one set, with their ability in each."""
    found: dict[str, dict[str, float]] = {}
    for row in measured:
        found.setdefault(row.expert, {})[row.data_set] = row.ability
    return {expert: by_set for expert, by_set in found.items() if len(by_set) > 1}


def cross_validate(
    measured: list[Measured],
) -> list[tuple[str, str, int, float, float, float, float]]:
    """Hide the shared experts of each set, and predict its offset only from facts.

    Returns per pair of sets: the two, the number of shared experts, the true offset (the mean
    difference of shared experts), the predicted one, its standard deviation, and the offset if the
    means of both sets were equal.
    """
    in_both, results = shared(measured), []
    for one in SETS:
        rest = [row for row in measured if row.data_set != one or row.expert not in in_both]
        own = [row.ability for row in rest if row.data_set == one]
        for other in SETS:
            gaps = [w[one] - w[other] for w in in_both.values() if one in w and other in w]
            if one == other or not gaps or not own:
                continue
            predicted, deviation = link(rest).between(one, other)
            others = [row.ability for row in rest if row.data_set == other]
            equal = float(np.mean(own) - np.mean(others))
            results.append(
                (one, other, len(gaps), float(np.mean(gaps)), predicted, deviation, equal)
            )
    return results


def _report(scale: Scale, linked: set[str], error: float) -> dict[str, dict[str, float]]:
    """Print and return the offsets; one only from facts also has the error of the check."""
    print("\nper year, per tenfold parameters, unknown parameters:", scale.slopes.round(2))
    offsets = {SETS[0]: {"offset": 0.0, "std": 0.0}}
    for name in SETS[1:]:
        offset, deviation = scale.between(name, SETS[0])
        if name not in linked:
            deviation = float(np.hypot(deviation, error))
        offsets[name] = {"offset": round(offset, 3), "std": round(deviation, 3)}
        print(f"{name:15} {offset:+.2f} +- {deviation:.2f}")
    return offsets


def main() -> None:
    """Print the shared experts, the check and the offsets; write the offsets with `--out`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="write {set: {offset, std}} here")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"The outcome sets are not at {DATA}; put them there, one folder per set.")
    measured = [row for name in SETS for row in abilities(name)]
    for expert, by_set in sorted(shared(measured).items()):
        print(f"{expert:42}", "  ".join(f"{name} {a:+.2f}" for name, a in by_set.items()))
    print("\noffset hidden and predicted: true, predicted +- deviation, if means were equal")
    checked = cross_validate(measured)
    for one, other, n, true, predicted, deviation, equal in checked:
        print(
            f"{one:15} over {other:15} ({n} shared) {true:+.2f}"
            f"  {predicted:+.2f} +- {deviation:.2f}  {equal:+.2f}"
        )
    errors = np.array([(found - true, equal - true) for *_, true, found, _, equal in checked])
    by_facts, by_means = np.sqrt(np.mean(errors**2, axis=0))
    print(f"missed by {by_facts:.2f} (root mean square); by {by_means:.2f} if means were equal")
    offsets = _report(link(measured), {s for w in shared(measured).values() for s in w}, by_facts)
    if arguments.out:
        arguments.out.write_text(json.dumps(offsets, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
