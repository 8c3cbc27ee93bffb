"""Measures what embeddings alone tell of outcomes: the score of the choice that a ridge makes.

    python benchmarks/encoder_quality.py FOLDER [FOLDER ...] [--sets textclass] [--rows ROWS.npz]

Five folds by the text of the prompt, for each seed; each encoder has the best of four penalties.
Sets of many languages are shown by language. `--rows` has arrays `rows` (places in the set) and
`embeddings` of another encoder: all are compared on these rows. With `--features`, what a router
reads beside the embedding (words, surface) stands beside that of the folders; losses play no part.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import load

from tryage.learning.training.estimators import fit_feature_extractor
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array
    from tryage.scoring.qtable import QTable

ENGLISH_SETS = (
    *("mmlu_pro", "zeroeval", "coderouter_id", "llmrouter_uiuc", "routellm_pair", "paretobandit"),
    *("zoonk_tasks", "bfcl_2024_08", "textclass", "routerdc7"),
)
PENALTIES = (3.0, 10.0, 30.0, 100.0)
N_FOLDS, N_PROMPTS = 5, 6_000
MIN_COVERAGE = 0.7  # an expert that was asked less often is left out
CHINESE = ("ceval", "cmmlu")


def sampled(name: str, rows: NDArray[np.intp] | None) -> QTable:
    """Return these rows of a set, or a sample; experts that were asked seldom are left out."""
    table = load(name)
    if rows is None:
        rows = np.random.default_rng(0).permutation(len(table))[:N_PROMPTS]
    is_taken = np.zeros(len(table), np.bool_)
    is_taken[rows] = True
    table = table.take(is_taken)
    coverage = table.measured.mean(axis=0)
    limit = min(MIN_COVERAGE, float(coverage.max()))
    return table.select(
        [name for name, share in zip(table.experts, coverage, strict=True) if share >= limit]
    )


def languages(name: str, table: QTable) -> list[str]:
    """Return the language of each prompt; only two sets have more than English."""
    labels = [str(label) for label in table.categories or ()]
    if name == "textclass":
        return [label.rpartition("_")[2].lower() for label in labels]
    if name == "routerdc7":
        return ["zh" if label in CHINESE else "en" for label in labels]
    return ["en"] * len(table)


def chosen_scores(
    embeddings: Float32Array, table: QTable, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Return the scores of the choices `(n_prompts,)`, and R2 of the prompts' mean loss."""
    means = np.nanmean(table.losses, axis=0)
    losses = np.where(table.measured, table.losses, means).astype(np.float64)
    difficulty = (losses - means).mean(axis=1)
    targets = np.column_stack([losses, difficulty])
    predictions = out_of_fold(embeddings.astype(np.float64), targets, _folds(table.prompts, seed))
    best = min(predictions, key=lambda p: float(((p[:, :-1] - losses) ** 2).sum()))
    choices = np.where(table.measured, best[:, :-1], np.inf).argmin(axis=1)
    scores = 1 - table.losses[np.arange(len(table)), choices]
    explained = 1 - ((difficulty - best[:, -1]) ** 2).mean() / difficulty.var()
    return scores.astype(np.float64), float(explained)


def _folds(prompts: Sequence[str], seed: int) -> NDArray[np.int64]:
    texts = (f"{seed}{prompt}".encode("utf-8", "replace") for prompt in prompts)
    return np.array([hashlib.sha256(text).digest()[0] % N_FOLDS for text in texts])


def out_of_fold(
    x: NDArray[np.float64], targets: NDArray[np.float64], folds: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """Return the predictions of a ridge for each penalty, `(n_prompts, n_targets)`."""
    found = [np.zeros_like(targets) for _ in PENALTIES]
    for fold in range(N_FOLDS):
        test = folds == fold
        mean, target_mean = x[~test].mean(axis=0), targets[~test].mean(axis=0)
        centered = x[~test] - mean
        eigenvalues, axes = np.linalg.eigh(centered.T @ centered)
        projected = axes.T @ (centered.T @ (targets[~test] - target_mean))
        for penalty, out in zip(PENALTIES, found, strict=True):
            slope = projected / (eigenvalues + penalty)[:, None]
            out[test] = (x[test] - mean) @ axes @ slope + target_mean
    return found


def report(
    name: str, table: QTable, embeddings: Mapping[str, Float32Array], seeds: Sequence[int]
) -> None:
    """Print the score of each encoder by language, mean over seeds, and R2 of the mean loss.

    Prompts that no kept expert answered do not count in the score.
    """
    groups = np.array(languages(name, table))
    results = {
        label: [chosen_scores(x, table, seed) for seed in seeds] for label, x in embeddings.items()
    }
    for group in dict.fromkeys(sorted(groups.tolist())):
        inside = groups == group
        shown = []
        for label, runs in results.items():
            by_seed = [np.nanmean(scores[inside]) for scores, _ in runs]
            shown.append(f"{label} {np.mean(by_seed):.4f} +- {np.std(by_seed):.4f}")
        print(f"{name} {group} ({inside.sum()}): {', '.join(shown)}", flush=True)
    explained = (
        f"{label} {np.mean([r2 for _, r2 in runs]):.3f}" for label, runs in results.items()
    )
    print(f"{name} R2 of the mean loss: {', '.join(explained)}", flush=True)


def main() -> None:
    """Print the figures of each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="*", default=ENGLISH_SETS)
    parser.add_argument("--rows", type=Path, help="embeddings of another encoder, of one set")
    parser.add_argument("--features", action="store_true", help="also with words and surface")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    other = np.load(options.rows) if options.rows else None
    for name in options.sets:
        rows = None if other is None else np.sort(other["rows"])
        table = sampled(name, rows)
        embeddings = {folder.name: _encode(folder, table.prompts) for folder in options.encoders}
        if options.features:
            embeddings |= {
                f"{folder.name} with features": _describe(folder, table.prompts)
                for folder in options.encoders
            }
        if other is not None:
            embeddings[options.rows.stem] = other["embeddings"][np.argsort(other["rows"])]
        report(name, table, embeddings, range(options.seeds))


def _encode(folder: Path, prompts: Sequence[str]) -> Float32Array:
    encoder = load_encoder(folder)
    parts = [encoder.encode(prompts[i : i + 64]) for i in range(0, len(prompts), 64)]
    return np.concatenate(parts)


def _describe(folder: Path, prompts: Sequence[str]) -> Float32Array:
    encoder = load_encoder(folder)
    ids = encoder.token_ids(prompts)
    extractor = fit_feature_extractor(prompts, ids, encoder.vocabulary)
    return extractor.extract(prompts, _encode(folder, prompts), ids)


if __name__ == "__main__":
    main()
