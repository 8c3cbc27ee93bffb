"""Compares the estimate of tokens with real tokenizers, and fits its coefficients.

    python benchmarks/token_estimate.py TEXTS --tokenizer llama3=PATH/tokenizer.json
    python benchmarks/token_estimate.py TEXTS --tokenizer ... --fit TRAINING_TEXTS

A folder of texts holds a folder for each kind (`english`, `csv` ...), in it a UTF-8 file for each
source. Pieces of 200 to 12,000 characters are drawn from every source. The tokenizer of GPT-4o and
later comes with LlamaIndex; others are read from the `tokenizer.json` of their models. It prints
the median and the 95th percentile of the relative error, and the median of estimate / count.
`--fit` prints the coefficients that fit the geometric mean of the counts of all tokenizers.
"""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls
from tokenizers import Tokenizer

from tryage.core.token_estimate import COEFFICIENTS, estimate_tokens, token_features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import Float64Array

SIZES = {200: 10, 1_000: 8, 4_000: 5, 12_000: 3}  # characters -> pieces of every source
PRIOR_WEIGHT = 1.5  # of the present coefficients, for kinds of characters that are seldom
ROUNDS = 15  # of reweighting, which turns least squares into about least absolute deviations
SMALL_ERROR = 0.04  # relative; below it all errors weigh the same


@dataclass(frozen=True)
class Piece:
    """A piece of a text, its kind and the file it comes from."""

    kind: str
    source: str
    text: str


def main() -> None:
    """Print the errors of the estimate, and the coefficients of a new fit if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--tokenizer", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--fit", type=Path, metavar="TEXTS")
    options = parser.parse_args()
    counters = load_counters(options.tokenizer)
    report("the estimate", draw_pieces(options.texts), counters, estimate_tokens)
    report("bytes / 4", draw_pieces(options.texts), counters, lambda text: len(text.encode()) / 4)
    if options.fit:
        print_coefficients(fit(draw_pieces(options.fit), counters))


def load_counters(named_files: Sequence[str]) -> dict[str, Callable[[str], int]]:
    """Return a function that counts tokens for each tokenizer."""
    counters: dict[str, Callable[[str], int]] = {"o200k_base": load_o200k()}
    for named_file in named_files:
        name, _, path = named_file.partition("=")
        counters[name] = load_counter(path)
    return counters


def load_o200k() -> Callable[[str], int]:
    """Return the counter of o200k_base, from the cache that LlamaIndex ships."""
    spec = find_spec("llama_index.core")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install llama-index-core, which ships the tokenizer o200k_base")
    cache = Path(spec.submodule_search_locations[0]) / "_static" / "tiktoken_cache"
    os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")
    return lambda text: len(encoding.encode_ordinary(text))


def load_counter(path: str) -> Callable[[str], int]:
    """Return the counter of a `tokenizer.json`."""
    tokenizer = Tokenizer.from_file(path)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def draw_pieces(folder: Path) -> list[Piece]:
    """Draw pieces of several lengths from every file, with a fixed seed."""
    rng, pieces = np.random.default_rng(11), []
    for path in sorted(folder.glob("*/*")):
        text = path.read_text("utf-8")
        for size, count in SIZES.items():
            for _ in range(count if len(text) > 1.5 * size else 0):
                length = int(size * rng.uniform(0.7, 1.3))
                start = int(rng.integers(len(text) - length))
                pieces.append(Piece(path.parent.name, path.name, text[start : start + length]))
    if not pieces:
        raise SystemExit(f"{folder} holds no texts: expected KIND/SOURCE.txt")
    return pieces


def report(
    title: str,
    pieces: Sequence[Piece],
    counters: Mapping[str, Callable[[str], int]],
    estimate: Callable[[str], float],
) -> None:
    """Print one row for each kind: the errors against every tokenizer."""
    estimates = np.array([estimate(piece.text) for piece in pieces])
    ratios = {
        name: estimates / np.array([count(piece.text) for piece in pieces])
        for name, count in counters.items()
    }
    print(f"\n| {title} | pieces | {' | '.join(ratios)} |\n|---|---:|{'---:|' * len(ratios)}")
    for kind in dict.fromkeys(piece.kind for piece in pieces):
        rows = np.array([piece.kind == kind for piece in pieces])
        cells = [describe(ratio[rows]) for ratio in ratios.values()]
        print(f"| {kind} | {rows.sum()} | {' | '.join(cells)} |")


def describe(ratios: Float64Array) -> str:
    """Return the median error, its 95th percentile and the median ratio."""
    errors = np.abs(ratios - 1)
    return f"{np.median(errors):.2f} / {np.quantile(errors, 0.95):.2f} ({np.median(ratios):.2f})"


def fit(pieces: Sequence[Piece], counters: Mapping[str, Callable[[str], int]]) -> Float64Array:
    """Fit coefficients of zero or more by their relative errors, close to the present ones."""
    counts = [[math.log(count(piece.text)) for count in counters.values()] for piece in pieces]
    features = np.array([token_features(piece.text) for piece in pieces])
    relative = features / np.exp(np.mean(counts, axis=1))[:, None]
    weights, prior = source_weights(pieces), PRIOR_WEIGHT * np.eye(len(COEFFICIENTS))
    coefficients = COEFFICIENTS
    for _ in range(ROUNDS):
        errors = np.maximum(np.abs(relative @ coefficients - 1), SMALL_ERROR)
        row_weights = weights / np.sqrt(errors)
        equations = np.vstack([relative * row_weights[:, None], prior])
        targets = np.append(row_weights, prior @ COEFFICIENTS)
        coefficients = nnls(equations, targets, maxiter=9_000)[0]
    return coefficients


def source_weights(pieces: Sequence[Piece]) -> Float64Array:
    """Return weights by which every kind counts the same, and every source of a kind, too."""
    sources = [(piece.kind, piece.source) for piece in pieces]
    n_pieces = {source: sources.count(source) for source in set(sources)}
    kinds = [kind for kind, _ in n_pieces]
    shares = [1 / kinds.count(kind) / n_pieces[kind, source] for kind, source in sources]
    return np.sqrt(300 * np.array(shares))


def print_coefficients(coefficients: Float64Array) -> None:
    """Print the coefficients in the order of the table in `tryage/core/token_estimate.py`."""
    for row in coefficients[:-2].reshape(-1, 5):
        print(f"({', '.join(f'{value:.2f}' for value in row)}),")
    print("repeated, accented:", *np.round(coefficients[-2:], 2))


if __name__ == "__main__":
    main()
