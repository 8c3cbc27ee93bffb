"""Measure what a reasoning effort changes: the ratios in `tryage/models/efforts.py`.

    python benchmarks/efforts.py

Quality: the mean of 1 - score of the same model with two efforts, over pairs of model and benchmark
in `model_level/benchmarks_long`. The package's ratios come from Epoch AI (CC BY 4.0); OpenAI's
simple-evals and livecodebench, which nothing was chosen on, say whether they hold elsewhere.
Length: dollars of aider's polyglot leaderboard (Apache-2.0), tokens of zoonk_tasks. The tokens of
Artificial Analysis, which nothing was chosen on, say whether they hold elsewhere.
Intervals are 95% of 2,000 bootstrap samples of the pairs.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import ABSENT, DATA
from pyarrow import parquet

from tryage.models.efforts import REASONING_TOKENS, loss_ratio, token_ratio
from tryage.models.names import parse_model_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BASE = "medium"

LEVELS = ("none", "minimal", "low", "high", "xhigh", "max")

# Scores of one model: benchmark and model -> effort -> value.
Table = dict[tuple[str, str], dict[str, float]]


def main() -> None:
    """Print each ratio beside the one in the package."""
    if not DATA.is_dir():
        raise SystemExit(ABSENT)
    rows = parquet.read_table(DATA / "model_level" / "benchmarks_long.parquet").to_pylist()
    for source in ("epoch", "openai-simple-evals"):
        print_ratios(f"losses, {source}", losses_of(rows, source), loss_ratio)
    print_ratios("losses, livecodebench", livecodebench_losses(), loss_ratio)
    print_ratios("dollars, aider", aider_dollars(rows), token_ratio)
    print_ratios("tokens, Artificial Analysis", artificial_analysis_tokens(), token_ratio)
    print_everyday_tokens()


# Quality ---------------------------------------------------------------------------------------


def losses_of(rows: Iterable[dict[str, Any]], source: str) -> Table:
    """Return 1 - score by benchmark, model and effort; scores above 1 are percent."""
    losses: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name = parse_model_name(row["model"]) if row["source"] == source else None
        if name is None or row["score"] is None:
            continue
        score = row["score"] / 100 if row["unit"] == "pct" or row["score"] > 1 else row["score"]
        if 0 <= score <= 1:
            losses[row["benchmark"], name.key][name.effort or "default"].append(1 - score)
    return means(losses)


def livecodebench_losses() -> Table:
    """Return 1 - pass rate over the problems that all efforts of a model have answered."""
    outcomes = parquet.read_table(DATA / "livecodebench" / "outcomes.parquet")
    columns = {
        name: outcomes[name].to_numpy(zero_copy_only=False) for name in outcomes.column_names
    }
    models = columns["model"].astype(str)
    by_model: dict[str, dict[str, dict[Any, float]]] = defaultdict(dict)
    for model in sorted(set(models)):
        name, is_row = parse_model_name(model), models == model
        if name is not None and name.effort is not None:
            scores = dict(zip(columns["prompt_id"][is_row], columns["score"][is_row], strict=True))
            by_model[name.key][name.effort] = scores
    table: Table = {}
    for model, efforts in by_model.items():
        shared = set.intersection(*(set(scores) for scores in efforts.values()))
        table["livecodebench", model] = {
            effort: 1 - float(np.mean([scores[prompt] for prompt in shared]))
            for effort, scores in efforts.items()
        }
    return table


# Length ----------------------------------------------------------------------------------------


def aider_dollars(rows: Iterable[dict[str, Any]]) -> Table:
    """Return the dollars of aider's polyglot benchmark by model and effort."""
    dollars: Table = defaultdict(dict)
    for row in rows:
        name = parse_model_name(row["model"]) if row["source"] == "aider" else None
        cost = json.loads(row["extra"])["cost"] if name and row["extra"] else 0
        if name is not None and name.effort is not None and cost:
            dollars["aider", name.key][name.effort] = cost
    return dollars


def artificial_analysis_tokens() -> Table:
    """Return output tokens, reasoning included, by evaluation, model and effort."""
    path = DATA / "model_level" / "artificial_analysis_2026_07.parquet"
    tokens: Table = defaultdict(dict)
    for row in parquet.read_table(path).to_pylist():
        counts = row["breakdown.eval_token_counts"]
        found = re.fullmatch(r"(.*?) \((.*)\)", row["name"])
        if not counts or found is None:
            continue
        words = found[2].lower().replace("non-reasoning", "none")
        effort = next((word for word in ("xhigh", *LEVELS, BASE) if word in words), None)
        for evaluation, count in json.loads(counts).items():
            if effort is not None and count and count.get("outputTokens"):
                tokens[evaluation, found[1]][effort] = count["outputTokens"]
    return tokens


def print_everyday_tokens() -> None:
    """Print the mean length of answers to everyday prompts, of models that reason and others."""
    outcomes = parquet.read_table(DATA / "zoonk_tasks" / "outcomes.parquet")
    names = [name for name in outcomes.column_names if "output" in name and "token" in name]
    if not names:
        return
    models = outcomes["model"].to_numpy(zero_copy_only=False).astype(str)
    tokens = outcomes[names[0]].to_numpy(zero_copy_only=False).astype(float)
    reasoning = (
        r"gpt-5(?:-mini|-nano)?$|gpt-5\.[56](?!.*high)|gemini-3[.\d]*-(?:pro|flash)(?!-lite)"
        r"|grok-4\.1-fast-reasoning|claude-\w+-5$"
    )
    print(f"\neveryday tokens, zoonk_tasks (package: {REASONING_TOKENS:,.0f} with medium effort)")
    for title, is_wanted in (("reasoning", True), ("others", False)):
        means_by_model = [
            float(np.nanmean(tokens[models == model]))
            for model in sorted(set(models))
            if bool(re.search(reasoning, model)) == is_wanted
            and np.isfinite(tokens[models == model]).sum() >= 20
        ]
        print(
            f"  {title}: {len(means_by_model)} models, mean {np.mean(means_by_model):,.0f}, "
            f"median {np.median(means_by_model):,.0f}"
        )


# Ratios ----------------------------------------------------------------------------------------


def means(values: dict[tuple[str, str], dict[str, list[float]]]) -> Table:
    """Return the mean of each list."""
    return {
        key: {effort: float(np.mean(listed)) for effort, listed in efforts.items()}
        for key, efforts in values.items()
    }


def print_ratios(title: str, table: Table, package: Callable[[str, str], float]) -> None:
    """Print the ratio of each pair of neighboring efforts, with its interval."""
    print(f"\n{title}")
    for effort in LEVELS:
        for reference in (BASE, "low", "high"):
            pairs = np.array(
                [
                    (efforts[effort], efforts[reference])
                    for efforts in table.values()
                    if effort in efforts and reference in efforts and effort != reference
                ]
            )
            if len(pairs) >= 2:
                low, high = bootstrap(pairs)
                print(
                    f"  {effort:>8} / {reference:<6} {len(pairs):4} pairs  "
                    f"{ratio(pairs):.2f} [{low:.2f}, {high:.2f}]  "
                    f"package {package(effort, reference):.2f}"
                )


def ratio(pairs: np.ndarray) -> float:
    """Return the geometric mean of the ratios of pairs `(n, 2)`."""
    return float(np.exp(np.mean(np.log(pairs[:, 0] + 1e-3) - np.log(pairs[:, 1] + 1e-3))))


def bootstrap(pairs: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the ratio over samples of the pairs."""
    rng = np.random.default_rng(0)
    samples = [ratio(pairs[rng.integers(0, len(pairs), len(pairs))]) for _ in range(2_000)]
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
