"""Make the file of published results in the package from public leaderboards.

    python benchmarks/model_facts/results.py ../shared/data/model_level

Only results whose licence lets them ship are read: LMArena (CC BY 4.0), Epoch AI (CC BY 4.0), and
those of MIT and Apache-2.0. AlpacaEval is left out, because its best entries are no models.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from overall_index import fit_index, standardize

from tryage.models.lookup import canonical_name
from tryage.models.names import name_key, parse_model_name
from tryage.models.refresh import current_snapshot
from tryage.models.results import INDEX, RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ARENA = "LMArena"
BOARD = "text_style_control"  # ratings without the advantage of long and decorated answers
JOINT = "Tryage, from all other results"

SOURCES = {
    ARENA: {"url": "https://lmarena.ai", "licence": "CC BY 4.0"},
    "aider": {"url": "https://aider.chat/docs/leaderboards", "licence": "Apache-2.0"},
    "arena-hard-auto": {
        "url": "https://github.com/lmarena/arena-hard-auto",
        "licence": "Apache-2.0",
    },
    "bullshit-bench": {"url": "https://github.com/petergpt/bullshit-benchmark", "licence": "MIT"},
    "epoch": {"url": "https://epoch.ai/data", "licence": "CC BY 4.0"},
    "mcp-bench": {"url": "https://github.com/Accenture/mcp-bench", "licence": "Apache-2.0"},
    "openai-simple-evals": {"url": "https://github.com/openai/simple-evals", "licence": "MIT"},
    "tau2-bench": {"url": "https://github.com/sierra-research/tau2-bench", "licence": "MIT"},
    "vectara": {
        "url": "https://github.com/vectara/hallucination-leaderboard",
        "licence": "Apache-2.0",
    },
}

# Ratings of which the index reads each as a quarter of a benchmark: they have the same voters.
INDEXED_RATINGS = (
    *("overall", "hard_prompts", "coding", "math", "instruction_following"),
    *("creative_writing", "expert", "longer_query"),
)
RATING_WEIGHT = 0.25

# Not of the index: they reward caution, and weak models are as cautious as strong ones.
NOT_INDEXED = ("bullshit-bench", "vectara")

PERCENT_SOURCES = ("aider", "arena-hard-auto", "openai-simple-evals", "tau2-bench")

MAX_INDEX_STD = 0.6  # a model with less evidence gets no index


class Row(NamedTuple):
    """One published result of a model, with the effort that its name states, or `""`."""

    model: str
    effort: str
    category: str
    value: float
    source: str
    date: str


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, help="the folder with the leaderboards")
    parser.add_argument("--output", type=Path, default=RESULTS_FILE)
    options = parser.parse_args()
    content = make_results(read_rows(options.tables))
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    options.output.write_bytes(gzip.compress(text.encode(), mtime=0))
    size = options.output.stat().st_size
    print(f"{options.output}: {len(content['results']):,} models, {size:,} bytes")


def read_rows(folder: Path) -> list[Row]:
    """Return the results of all leaderboards whose licence lets them ship."""
    import pyarrow.parquet as pq

    arena = pq.read_table(folder / "arena_2026_08.parquet").to_pylist()
    others = pq.read_table(folder / "benchmarks_long.parquet").to_pylist()
    found = [
        (one["model"], one["category"], one["rating"], ARENA, one["published"])
        for one in arena
        if one["board"] == BOARD
    ]
    found += [
        (one["model"], one["benchmark"], one["score"], one["source"], one["date"])
        for one in others
        if SOURCES.get(one["source"], {}).get("licence") == one["licence"]
    ]
    return [
        Row(*identity, category, float(value), source, date or "")
        for text, category, value, source, date in found
        if value is not None and (identity := identify(text)) is not None
    ]


def identify(text: str) -> tuple[str, str] | None:
    """Return the key of the model that a name means and the effort that it states.

    None if the text names no model, or several ("o3 (high) + gpt-4.1").
    """
    known = current_snapshot().find(text)
    spelling = parse_model_name(text) if known is None else known.spelling
    name = None if " + " in text else canonical_name(text)
    if name is None or spelling is None:
        return None
    return name_key(name), spelling.effort or ""


def make_results(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of the file; of several results in one category the median counts."""
    cells: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        cells.setdefault((row.model, row.effort, row.category), []).append(row.value)
    categories = {row.category: row.source for row in rows}
    medians = {key: float(np.median(values)) for key, values in cells.items()}
    medians |= index_values(medians, categories)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for (model, effort, category), value in sorted(medians.items()):
        rounded = float(f"{value:.4g}")
        results.setdefault(model, {}).setdefault(effort, {})[category] = rounded
    dates = {source: max(row.date for row in rows if row.source == source) for source in SOURCES}
    sources = {name: {**about, "date": dates[name]} for name, about in SOURCES.items()}
    sources[JOINT] = {"url": "", "licence": "CC BY 4.0", "date": max(dates.values())}
    return {
        "format": 1,
        "sources": sources,
        "categories": {**categories, INDEX: JOINT},
        "results": results,
    }


def index_values(
    medians: dict[tuple[str, str, str], float], categories: dict[str, str]
) -> dict[tuple[str, str, str], float]:
    """Return the index of every model and effort that has enough results."""
    used = [name for name in categories if is_indexed(name, categories[name])]
    models = list(dict.fromkeys((model, effort) for model, effort, _ in medians))
    matrix = np.array([[medians.get((*model, name), np.nan) for name in used] for model in models])
    shares = [categories[name] in PERCENT_SOURCES for name in used]
    matrix[:, shares] /= 100
    weights = np.array([RATING_WEIGHT if categories[name] == ARENA else 1.0 for name in used])
    index = fit_index(standardize(matrix, _share_flags(matrix)), weights)
    return {
        (*model, INDEX): float(mean)
        for model, mean, std in zip(models, index.mean, index.std, strict=True)
        if std < MAX_INDEX_STD
    }


def is_indexed(category: str, source: str) -> bool:
    """Return whether the index reads a category."""
    return category in INDEXED_RATINGS if source == ARENA else source not in NOT_INDEXED


def _share_flags(matrix: NDArray[np.float64]) -> list[bool]:
    """Return which benchmarks hold shares of right answers."""
    return [bool(np.nanmin(column) >= 0 and np.nanmax(column) <= 1) for column in matrix.T]


if __name__ == "__main__":
    main()
