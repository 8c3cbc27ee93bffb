"""How much of the oracle's gain over the best single expert is repeatable, on every outcome set.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/repeatable_gain.py ENCODER_FOLDER [--sets mmlu_pro ...]

Each row has the best single expert, the oracle, and the oracle of luck beside the real one: of
independent answers that are right with the probabilities that the other experts' outcomes foretell.
Then come shares of the gap between the first two: the repeatable one of `tryage evaluate`, and what
one half of the prompts tells about the other if the best expert is chosen per category, and per
cluster of embeddings, with more and more clusters. The last rows are about two runs of the same
models: what the outcomes of one tell about the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import SETS, load

from tryage.learning.evaluation.repeatable import (
    complete_part,
    find_repeatable_gain,
    split_predictions,
)
from tryage.learning.evaluation.splits import EvaluationConfig, folds
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.core.arrays import Float32Array, Float64Array, IndexArray
    from tryage.perception.encoder import Encoder
    from tryage.scoring.qtable import QTable

CLUSTER_COUNTS = (4, 16, 64, 256)

PRIOR_PROMPTS = 5.0  # a mean in a cell is shrunk toward the overall one by as many prompts

HALVES = 5  # times that the prompts are divided into two halves

N_RUNS = 10  # of each model of livecodebench whose score is not 0 or 1 everywhere

DRAWS = 50  # of two runs out of ten

# The same model, with two hosts.
HOSTS = [("Llama-3.1-405B-Inst@sambanova", "Meta-Llama-3.1-405B-Instruct@hyperbolic")]

MIN_AGREEMENT = 0.97  # of two models of metabench that count as one


def oracle_of_luck(table: QTable, config: EvaluationConfig) -> tuple[float, float]:
    """Return the oracle's score on candidates, and the one of independent answers.

    Each candidate is right with the probability that is foretold, made a real frequency by isotonic
    regression.
    """
    from sklearn.isotonic import IsotonicRegression

    rng, oracles, luck = np.random.default_rng(0), [], []
    for candidates, predictions in split_predictions(table, config):
        real = table.losses[:, candidates]
        isotonic = IsotonicRegression(out_of_bounds="clip").fit(predictions.ravel(), real.ravel())
        rates = isotonic.predict(predictions.ravel()).reshape(real.shape)
        oracles.append(1 - real.min(axis=1).mean())
        luck.append(1 - (rng.random(rates.shape) < rates).min(axis=1).mean())
    return float(np.mean(oracles)), float(np.mean(luck))


def split_half_share(table: QTable, cells: IndexArray) -> float:
    """Return the share of the gap that the best expert per cell closes on the other half."""
    losses = table.losses.astype(np.float64)
    one_hot = np.eye(int(cells.max()) + 1)[cells]
    gain = 0.0
    for seed in range(HALVES):
        for train, test in folds(table.groups, 2, seed):
            mean = losses[train].mean(axis=0)
            sums = one_hot[train].T @ losses[train] + PRIOR_PROMPTS * mean
            means = sums / (one_hot[train].sum(axis=0)[:, None] + PRIOR_PROMPTS)
            chosen = losses[test, (one_hot[test] @ means).argmin(axis=1)]
            gain += float((losses[test, mean.argmin()] - chosen).mean()) / (2 * HALVES)
    return gain / float(losses.mean(axis=0).min() - losses.min(axis=1).mean())


def cluster(embeddings: Float32Array, n_clusters: int) -> IndexArray:
    """Return the cluster of each prompt, `(n_prompts,)`."""
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(n_clusters, n_init=1, random_state=0)
    return np.asarray(kmeans.fit_predict(embeddings), np.intp)


def set_row(name: str, encoder: Encoder, config: EvaluationConfig) -> str:
    """Return the row of one set."""
    table = complete_part(load(name))
    losses = table.losses.astype(np.float64)
    single, oracle = 1 - losses.mean(axis=0).min(), 1 - losses.min(axis=1).mean()
    cells = [f"{name}, {len(table):,} x {len(table.experts):,}", f"{single:.3f}", f"{oracle:.3f}"]
    found = find_repeatable_gain(table, config)
    if found is None:
        cells += ["-", "unknown", "unknown"]
    else:
        share, is_binary = found.share, bool(np.isin(losses, (0, 1)).all())
        real, luck = oracle_of_luck(table, config) if is_binary else (np.nan, np.nan)
        cells.append(f"{luck:.3f} / {real:.3f}" if is_binary else "-")
        cells.append(f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]")
        cells.append(f"{found.score:.3f}")
    _, categories = np.unique([c or "" for c in table.categories or ()], return_inverse=True)
    embeddings = encoder.encode(table.prompts)
    cells.append(f"{split_half_share(table, categories):+.0%}")
    cells += [
        f"{split_half_share(table, cluster(embeddings, k)):+.0%}" if 8 * k < len(table) else "-"
        for k in CLUSTER_COUNTS
    ]
    return "| " + " | ".join(cells) + " |"


def rerun_row(name: str, runs: Iterator[tuple[Float64Array, Float64Array]]) -> str:
    """Return a row about pairs of runs, losses `(n_prompts, n_models)` each, of the same models.

    It has how often two runs differ, and the share of the gap of one run that is closed by choosing
    on each prompt from the other run's outcomes.
    """
    differences, gaps, gains = [], [], []
    for seen, scored in runs:
        single = seen.mean(axis=0).argmin()
        chosen = (seen + 1e-6 * seen.mean(axis=0)).argmin(axis=1)
        differences.append(np.abs(seen - scored).mean())
        gaps.append(scored[:, single].mean() - scored.min(axis=1).mean())
        gains.append(scored[:, single].mean() - scored[np.arange(len(scored)), chosen].mean())
    size = f"{scored.shape[0]:,} x {scored.shape[1]:,}"
    share = f"{np.sum(gains) / np.sum(gaps):.0%}" if np.sum(gaps) > 0 else "-"
    return f"| {name} | {size} | {np.mean(differences):.1%} | {share} |"


def drawn_runs(table: QTable) -> Iterator[tuple[Float64Array, Float64Array]]:
    """Draw two of the ten runs of each model that has the mean of ten."""
    correct = np.round((1 - table.losses) * N_RUNS)
    is_mean = ~np.isin(table.losses, (0, 1, np.nan)).all(axis=0)
    is_mean &= np.isfinite(table.losses).mean(axis=0) > 0.9
    columns = correct[:, is_mean]
    columns = columns[np.isfinite(columns).all(axis=1)].astype(int)
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        first = rng.random(columns.shape) < columns / N_RUNS
        second = rng.random(columns.shape) < (columns - first) / (N_RUNS - 1)
        yield 1.0 - first, 1.0 - second


def paired_runs(
    table: QTable, pairs: list[tuple[str, str]]
) -> Iterator[tuple[Float64Array, Float64Array]]:
    """Return the outcomes of the first and of the second of each pair, once in each order."""
    names = [name for pair in pairs for name in pair]
    losses = table.losses[:, [table.experts.index(name) for name in names]].astype(np.float64)
    losses = losses[np.isfinite(losses).all(axis=1)]
    yield losses[:, ::2], losses[:, 1::2]
    yield losses[:, 1::2], losses[:, ::2]


def twins(table: QTable) -> list[tuple[str, str]]:
    """Pair models that agree on nearly all prompts, but not on all, each of them once."""
    scores = 1.0 - table.losses
    agreement = (scores.T @ scores + (1 - scores).T @ (1 - scores)) / len(table)
    agreement[np.tril_indices(len(agreement))] = 0
    agreement[agreement > 1 - 1e-6] = 0
    pairs, used = [], set()
    for i, j in zip(*np.nonzero(agreement >= MIN_AGREEMENT), strict=True):
        if not {i, j} & used:
            pairs.append((table.experts[i], table.experts[j]))
            used |= {i, j}
    return pairs


def rerun_rows() -> Iterator[str]:
    """Yield the rows about two runs."""
    yield "| two runs | prompts x models | outcomes that differ | share of the gap |"
    yield "|---|---|---|---|"
    yield rerun_row("livecodebench, two of ten runs", drawn_runs(load("livecodebench")))
    yield rerun_row("zeroeval, two hosts", paired_runs(load("zeroeval"), HOSTS))
    table = load("bfcl_2024_08")
    modes = [(name, f"{name}-FC") for name in table.experts if f"{name}-FC" in table.experts]
    yield rerun_row("bfcl_2024_08, prompt and function mode", paired_runs(table, modes))
    table = load("metabench")
    yield rerun_row("metabench, twins", paired_runs(table, twins(table)))


def main() -> None:
    """Print a row for each set, and the rows about two runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    arguments = parser.parse_args()
    encoder, config = load_encoder(arguments.encoder), EvaluationConfig(draws=1000)
    clusters = [f"{k} clusters" for k in CLUSTER_COUNTS]
    head = ["set", "best single", "oracle", "luck / oracle of candidates", "repeatable"]
    head += ["repeatable oracle", "categories", *clusters]
    print("| " + " | ".join(head) + " |", "|" + "---|" * len(head), sep="\n")
    for name in arguments.sets:
        print(set_row(name, encoder, config), flush=True)
    print("", *rerun_rows(), sep="\n")


if __name__ == "__main__":
    main()
