"""Compares which part of a long prompt to read: how well the expert answers that is chosen.

    python benchmarks/prompt_windows.py

Prompts of outcome sets (`../shared/data`) stand before, after or in the middle of 12,000 or 50,000
characters of Python's standard library or of other prompts. The figure is the mean
score of the expert with the lowest predicted loss among those measured on the prompt, each score as
a share of the best one. The prompts were trained on, so compare the columns only.
"""

from __future__ import annotations

import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from tryage import Router
from tryage.perception import features, tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.core.arrays import Float32Array

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("mmlu_pro", "zeroeval", "coderouter_id", "textclass")  # whose prompts are whole
PER_SET = 150  # prompts
LENGTHS = (12_000, 50_000)  # characters around the prompt
PLACES = ("before", "after", "middle")  # of the prompt


class Case(NamedTuple):
    """A prompt and the scores of the experts, by their columns."""

    prompt: str
    scores: dict[int, float]


def main() -> None:
    """Print one row for each length and place of the prompt, one column for each window."""
    router = Router.from_pretrained()
    cases = [case for name in SETS for case in read_cases(name, router)]
    alone = np.concatenate([router.perception.predict([case.prompt]).losses for case in cases])
    print(f"The prompts alone: {mean_score(alone, cases):.4f}\n")
    code, prose = read_code(), "\n\n".join(case.prompt for case in cases)
    windows = make_windows()
    print(f"| {len(cases)} prompts | {' | '.join(windows)} |\n|---|{'---:|' * len(windows)}")
    for length in LENGTHS:
        for place in PLACES:
            for kind, text in (("code", code), ("prose", prose)):
                rng = np.random.default_rng(0)
                prompts = [surround(case.prompt, text, length, place, rng) for case in cases]
                scores = [
                    mean_score(predict(router, prompts, window), cases)
                    for window in windows.values()
                ]
                cells = " | ".join(f"{score:.4f}" for score in scores)
                print(f"| {place} {length:,} characters of {kind} | {cells} |", flush=True)


def read_cases(name: str, router: Router) -> list[Case]:
    """Draw prompts of an outcome set that at least three experts of the router were measured on."""
    prompts = pq.read_table(DATA / name / "prompts.parquet", columns=["prompt_id", "prompt"])
    texts = dict(zip(*prompts.to_pydict().values(), strict=True))
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for row in pq.read_table(DATA / name / "outcomes.parquet").to_pylist():
        if row["score"] is not None and row["model"] in router.library:
            scores[row["prompt_id"]][router.library.index(row["model"])] = row["score"]
    usable = sorted(key for key, found in scores.items() if texts.get(key) and len(found) >= 3)
    order = np.random.default_rng(0).permutation(len(usable))[:PER_SET]
    return [Case(texts[usable[i]], scores[usable[i]]) for i in order]


def read_code() -> str:
    """Return the sources of Python's standard library."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "\n".join(path.read_text("utf-8") for path in paths)


def surround(prompt: str, text: str, length: int, place: str, rng: np.random.Generator) -> str:
    """Put a prompt before, after or into a piece of a text."""
    start = int(rng.integers(len(text) - length))
    piece = text[start : start + length]
    split = {"before": 0, "middle": length // 2, "after": length}[place]
    return f"{piece[:split]}\n\n{prompt}\n\n{piece[split:]}"


def make_windows() -> dict[str, Callable[[str], str]]:
    """Return functions that cut a long prompt, by name."""

    def ends(n: int) -> Callable[[str], str]:
        return lambda text: text if len(text) <= n else f"{text[: n // 2]} {text[1 - n // 2 :]}"

    return {f"{n // 1024} KiB, both ends": ends(n) for n in (65_536, 16_384, 8_192, 4_096)} | {
        "8 KiB, first": lambda text: text[:8_192],
        "8 KiB, last": lambda text: text[-8_192:],
    }


def predict(router: Router, prompts: Sequence[str], window: Callable[[str], str]) -> Float32Array:
    """Predict losses `(batch, n_experts)` from windows of the prompts."""
    original = tokenizer.excerpt
    tokenizer.excerpt = features.excerpt = window
    router.perception.predict([""])  # the encoder remembers the windows of its last call
    try:
        return np.concatenate([router.perception.predict([text]).losses for text in prompts])
    finally:
        tokenizer.excerpt = features.excerpt = original


def mean_score(losses: Float32Array, cases: Sequence[Case]) -> float:
    """Return the mean score of the chosen experts, as shares of the best score of each prompt."""
    shares = []
    for row, case in zip(losses, cases, strict=True):
        columns = list(case.scores)
        chosen = columns[int(np.argmin(row[columns]))]
        shares.append(case.scores[chosen] / max(1.0, *case.scores.values()))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
