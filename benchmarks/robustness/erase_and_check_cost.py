"""What EraseAndCheck costs on prompts that nobody attacks: points of score, dollars, and time.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/robustness/erase_and_check_cost.py ENCODER_FOLDER --seeds 5 \
        --results build/erase_and_check_cost.jsonl

On each set a router is trained on one half of at most 1,000 prompts and decides on the other half,
among the experts that were measured on a prompt. The price of an expert is its mean cost in the
training half. The fallback is the expert of the median price among the choices of the training
half. Rows that are in the file of results are not measured again. The table has the mean of the
seeds, and the lowest and the highest in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(pool, "1")  # before numpy starts its pool

import numpy as np  # noqa: E402 - after the pools are set

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from argument_types import positive_int  # noqa: E402 - after the path is set
from datasets import load  # noqa: E402 - the same
from presets import usable_part  # noqa: E402 - the same
from tqdm import tqdm  # noqa: E402 - the same

from tryage import Preferences, Router  # noqa: E402 - the same
from tryage.core.choice import choose_experts  # noqa: E402 - the same
from tryage.core.constraints import DEFAULT_CONSTRAINTS  # noqa: E402 - the same
from tryage.core.decision import score_batch  # noqa: E402 - the same
from tryage.core.library import Library  # noqa: E402 - the same
from tryage.core.perception import Prediction  # noqa: E402 - the same
from tryage.core.request_batch import RequestBatch  # noqa: E402 - the same
from tryage.learning.evaluation.splits import folds  # noqa: E402 - the same
from tryage.learning.training.trainer import FitConfig, fit  # noqa: E402 - the same
from tryage.perception.persistence import load_encoder  # noqa: E402 - the same
from tryage.policies import EraseAndCheck  # noqa: E402 - the same
from tryage.policies.erase_and_check import erased_copies, pick_vote  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.core.perception import Perception
    from tryage.scoring.qtable import QTable

SETS = ("paretobandit", "zoonk_tasks", "coderouter_id", "routerbench_subset", "zeroeval")
PRESETS = ("best", "balanced", "thrifty")
DEFENCES = ("cheapest", "fallback", "middle")
MAX_PROMPTS = 1_000
BATCH = 256  # texts that are predicted at once


@dataclass(frozen=True)
class Readings:
    """Prompts and their copies, predicted.

    `ends[i]` is where the readings of prompt `i` end; `n_end_copies[i]` of them are the prompt
    itself and its copies without words at an end, which come first.
    """

    table: QTable
    prediction: Prediction
    ends: IndexArray
    n_end_copies: IndexArray

    def votes(self, preset: str) -> list[IndexArray]:
        """Return who is chosen for each reading of each prompt, among the measured experts."""
        owners = np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))
        batch = score_batch(
            Library(self.table.experts),
            Preferences.preset(preset),
            DEFAULT_CONSTRAINTS,
            self.prediction,
            RequestBatch(np.zeros(len(owners))),
        )
        chosen = choose_experts(
            batch.library,
            batch.routing_loss,
            batch.eligibility.eligible & self.table.measured[owners],
            batch.request,
            batch.tolerance,
        )
        return np.split(chosen, self.ends[:-1])


def predict_readings(perception: Perception, table: QTable) -> Readings:
    """Predict all prompts of a table and their copies."""
    texts: list[list[str]] = []
    n_end_copies = []
    for prompt in table.prompts:
        n_end_copies.append(1 + len(erased_copies(prompt, 12)))
        texts.append([prompt, *erased_copies(prompt, 12, middle=True)])
    flat = [text for copies in texts for text in copies]
    parts = [perception.predict(flat[i : i + BATCH]) for i in range(0, len(flat), BATCH)]
    prediction = Prediction(
        np.concatenate([part.losses for part in parts]),
        np.concatenate([part.std for part in parts]),
        _joined([part.output_tokens for part in parts]),
        _joined([part.costs for part in parts]),
    )
    ends = np.cumsum([len(copies) for copies in texts])
    return Readings(table, prediction, ends, np.array(n_end_copies))


def _joined(parts: list[FloatArray | None]) -> FloatArray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def defended(
    readings: Readings, votes: list[IndexArray], defence: str, prices: FloatArray, fallback: int
) -> IndexArray:
    """Return who answers each prompt with a defence, `(n_prompts,)`."""
    chosen = np.array([own[0] for own in votes])
    for i, own in enumerate(votes):
        counted = own if defence == "middle" else own[: readings.n_end_copies[i]]
        different = np.unique(counted[counted >= 0])
        if len(different) > 1:
            is_used = defence == "fallback" and readings.table.measured[i, fallback]
            chosen[i] = pick_vote(different, prices, fallback if is_used else None)
    return chosen


def divided(name: str, seed: int) -> tuple[QTable, IndexArray, IndexArray]:
    """Return a part of a set, and its rows to train on and to test on."""
    table = usable_part(load(name), seed=0)
    rows = np.random.default_rng(0).permutation(len(table))[:MAX_PROMPTS]
    table = table.take(np.sort(rows))
    return (table, *folds(table.groups, 2, seed)[0])


def print_bounds(sets: Sequence[str], seeds: int) -> None:
    """Print the scores of the best single expert of the training half, and of the oracle.

    An expert that was not measured on a prompt scores there as it does on average.
    """
    print("| set | best single | oracle |\n|---|---:|---:|")
    for name in sets:
        found = []
        for seed in range(seeds):
            table, train, test = divided(name, seed)
            losses = np.where(table.measured, table.losses, np.nan)
            best = int(np.nanargmin(np.nanmean(losses[train], axis=0)))
            found.append((np.nanmean(losses[test, best]), np.nanmean(np.nanmin(losses[test], 1))))
        single, oracle = 100 * (1 - np.mean(found, axis=0))
        print(f"| {name} | {single:.2f} | {oracle:.2f} |", flush=True)


def measure(name: str, encoder_folder: str, seed: int) -> list[dict[str, object]]:
    """Return the rows of one set and one seed: score and USD of each preset and defence."""
    table, train, test = divided(name, seed)
    encoder = load_encoder(encoder_folder)
    perception = fit(table.take(train), encoder, config=FitConfig(seed=seed), progress=False)
    readings = predict_readings(perception, table.take(test))
    costs = np.asarray(table.costs, np.float64)
    prices = np.nanmean(costs[train], axis=0)
    prices = np.where(np.isnan(prices), np.nanmax(prices), prices)
    paid = np.where(np.isfinite(costs[test]), costs[test], prices)
    found: list[dict[str, object]] = []
    sample = predict_readings(perception, table.take(train[:150]))
    for preset in PRESETS:
        typical = [int(own[0]) for own in sample.votes(preset) if own[0] >= 0]
        fallback = sorted(typical, key=lambda expert: prices[expert])[len(typical) // 2]
        votes = readings.votes(preset)
        answers = {"none": np.array([own[0] for own in votes])}
        for defence in DEFENCES:
            answers[defence] = defended(readings, votes, defence, prices, fallback)
        has_choice = readings.table.measured.sum(axis=1) > 1
        index = np.flatnonzero(has_choice)
        for defence, chosen in answers.items():
            losses = readings.table.losses[index, chosen[index]]
            found.append(
                {
                    "set": name,
                    "seed": seed,
                    "preset": preset,
                    "defence": defence,
                    "n": len(index),
                    "score": 100 * (1 - float(losses.mean())),
                    "usd": float(paid[index, chosen[index]].mean()),
                    "changed": float((chosen != answers["none"])[index].mean()),
                }
            )
    return found


def print_table(rows: list[dict[str, object]]) -> None:
    """Print score and cost of each defence against none, by set and preset."""
    print(
        "| set | preset | defence | points | USD | decisions changed |\n|---|---|---|---|---|---|"
    )
    keys = dict.fromkeys((row["set"], row["preset"]) for row in rows)
    for name, preset in keys:
        here = [row for row in rows if (row["set"], row["preset"]) == (name, preset)]
        plain = {row["seed"]: row for row in here if row["defence"] == "none"}
        for defence in DEFENCES:
            pairs = [(row, plain[row["seed"]]) for row in here if row["defence"] == defence]
            points = [_number(row, "score") - _number(base, "score") for row, base in pairs]
            usd = [_number(row, "usd") / _number(base, "usd") for row, base in pairs]
            changed = np.mean([_number(row, "changed") for row, _ in pairs])
            print(
                f"| {name} | {preset} | {defence} | {np.mean(points):+.2f} [{min(points):+.2f}, "
                f"{max(points):+.2f}] | {np.mean(usd):.0%} [{min(usd):.0%}, {max(usd):.0%}] | "
                f"{changed:.0%} |"
            )


def _number(row: dict[str, object], name: str) -> float:
    return float(str(row[name]))


def print_times() -> None:
    """Print the processor time of a decision, in ms: the median over prompts."""
    router, prompts = Router.from_pretrained(), load("mmlu_pro").prompts[:200]
    for label, policy in (
        ("none", None),
        ("ends", EraseAndCheck()),
        ("ends and middle", EraseAndCheck(middle=True)),
    ):
        chosen, times = router.with_policy(policy), []
        for prompt in prompts:
            start = time.process_time()
            chosen.route(prompt)
            times.append(1e3 * (time.process_time() - start))
        print(f"{label}: {np.median(times):.2f} ms")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", help="folder of a saved encoder")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=positive_int, default=5)
    parser.add_argument("--results", type=Path, default=Path("build/erase_and_check_cost.jsonl"))
    parser.add_argument("--times", action="store_true", help="measure the time of a decision alone")
    parser.add_argument("--bounds", action="store_true", help="print best single and oracle alone")
    arguments = parser.parse_args()
    if arguments.bounds:
        print_bounds(arguments.sets, arguments.seeds)
        return
    if arguments.times:
        print_times()
        return
    path: Path = arguments.results
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    rows: list[dict[str, object]] = [json.loads(line) for line in lines]
    known = {(row["set"], row["seed"]) for row in rows}
    todo = [(name, seed) for seed in range(arguments.seeds) for name in arguments.sets]
    for name, seed in tqdm([one for one in todo if one not in known]):
        found = measure(name, arguments.encoder, seed)
        rows += found
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in found))
    print_table(rows)


if __name__ == "__main__":
    main()
