"""The real outcome sets in ../shared/data as Q-tables, with the peculiarities of each set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.scoring.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ABSENT = (
    f"The outcome sets are not at {DATA}. They are not part of the repository (some may not be "
    "redistributed); put them there, one folder per set with prompts.parquet and "
    "outcomes.parquet, or evaluate your own Q-table with: tryage evaluate table.parquet"
)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The columns of one set, and its peculiarities."""

    name: str
    category: str
    source: str | None = None
    scale: float = 1.0  # the highest score
    extra_prompt: str | None = None  # a second column that belongs to the prompt
    permissive: bool = False  # its licence lets the bundled router be trained on it
    restricted: str | None = None  # categories that begin so have stricter licences of their texts
    failed_score: float | None = None  # a score that says that no judge read the answer


SETS: dict[str, DataSet] = {
    data_set.name: data_set
    for data_set in (
        DataSet("routellm_pair", "category", "dataset", permissive=True),
        DataSet("mmlu_pro", "category", permissive=True),
        DataSet("zeroeval", "dataset", "dataset", permissive=True),
        # The functions on offer are part of the question.
        DataSet("bfcl_2024_08", "category", extra_prompt="functions_json"),
        DataSet("coderouter_id", "category", "prompt_source", permissive=True),
        DataSet("llmrouter_uiuc", "dataset", permissive=True),
        DataSet("routerdc7", "dataset"),
        DataSet("routerbench_subset", "dataset", "dataset"),
        DataSet("metabench", "category", "dataset"),
        DataSet("alpacaeval1", "dataset"),
        DataSet("alpacaeval2", "dataset"),
        DataSet("routellm_mtbench", "category", scale=10.0, permissive=True),
        # Models of 2025 and 2026. Each task of zoonk was run on other models: never compare means.
        DataSet("zoonk_tasks", "dataset", "category", permissive=True),
        DataSet("zoonk_battles", "dataset", "category", permissive=True),
        # ARC is CC BY-SA.
        DataSet("paretobandit", "category", "dataset", permissive=True, restricted="arc"),
        DataSet("paretobandit_gpt41", "category", permissive=True),
        DataSet("paretobandit_chat738", "dataset", "category"),
        # The toxic texts are under OpenRAIL++, with restrictions of use.
        DataSet("textclass", "dataset", "category", permissive=True, restricted="toxicity"),
        DataSet("sql_scale", "dataset", "dataset", permissive=True),
        DataSet("misguided_attention", "category", permissive=True),
        DataSet("livecodebench", "difficulty", "platform"),
        DataSet("lechmazur_generalization", "category"),
        DataSet("pm_llm_v22", "category"),
        DataSet("creative_writing_v3", "category", failed_score=0.0),
        DataSet("longform_writing", "category"),
        DataSet("wmt24_esa", "dataset", "domain"),
        DataSet("diabetes_rag_fr", "category"),
        DataSet("terminal_bench_011", "category"),
    )
}

PERMISSIVE = tuple(name for name, data_set in SETS.items() if data_set.permissive)


def available() -> bool:
    """Return whether the folder with the sets exists."""
    return DATA.is_dir()


def load(name: str, *, permissive: bool = False) -> QTable:
    """Read one set; exit with a message if the folder is missing.

    Prompts without text are left out (most prompts of coderouter_id have none).

    Args:
        name: A key of `SETS`.
        permissive: Whether to leave out what the bundled router must not learn from.
    """
    if not (DATA / name).is_dir():
        sys.exit(ABSENT)
    require_extra("pyarrow", "evaluate")
    data_set = SETS[name]
    prompts = _read(name, "prompts")
    prompts = prompts.take(_usable_rows(prompts, data_set, permissive=permissive))
    texts = prompts["prompt"].to_pylist()
    if data_set.extra_prompt:
        more = prompts[data_set.extra_prompt].to_pylist()
        texts = [f"{text}\n{extra}" for text, extra in zip(texts, more, strict=True)]
    ids = prompts["prompt_id"].to_pylist()
    experts, columns = _responses_wide(ids) if name == "metabench" else _outcomes(name, ids)
    table = QTable(
        prompts=texts,
        experts=experts,
        losses=_losses(columns.pop("score"), data_set),
        categories=prompts[data_set.category].to_pylist(),
        sources=prompts[data_set.source].to_pylist() if data_set.source else (name,) * len(texts),
        **columns,
    )
    return table.merge_experts()  # three pairs of metabench's names differ in case alone


def recorded_column(name: str, column: str, experts: Sequence[str]) -> np.ndarray | None:
    """Return another figure of the answers of a set, `(n_prompts, n_experts)`, NaN where unknown.

    The prompts are those of `load(name)`. It is None if the set does not record the column.
    """
    rows = _read(name, "outcomes")
    if column not in rows.column_names:
        return None
    prompts = _read(name, "prompts")
    prompts = prompts.take(_usable_rows(prompts, SETS[name], permissive=False))
    row_of, column_of = _positions(prompts["prompt_id"].to_pylist()), _positions(list(experts))
    row = np.array([row_of.get(one, -1) for one in rows["prompt_id"].to_pylist()])
    expert = np.array([column_of.get(one, -1) for one in rows["model"].to_pylist()])
    known = (row >= 0) & (expert >= 0)
    figures = np.full((len(row_of), len(column_of)), np.nan, np.float32)
    figures[row[known], expert[known]] = _floats(rows[column])[known]
    return figures


def _usable_rows(prompts: pa.Table, data_set: DataSet, *, permissive: bool) -> list[int]:
    """Return the positions of prompts with a text, of a permissive licence if that is asked."""
    left_out = data_set.restricted if permissive else None
    pairs = zip(prompts["prompt"].to_pylist(), prompts[data_set.category].to_pylist(), strict=True)
    return [
        row
        for row, (text, category) in enumerate(pairs)
        if text is not None and not (left_out and str(category).startswith(left_out))
    ]


def _losses(scores: np.ndarray, data_set: DataSet) -> np.ndarray:
    """Convert scores to losses in [0, 1]; a failed judgement is a gap."""
    if data_set.failed_score is not None:
        scores = np.where(scores == data_set.failed_score, np.nan, scores)
    return np.asarray(1.0 - scores / data_set.scale, np.float32)


def _read(name: str, part: str) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(DATA / name / f"{part}.parquet")


def _outcomes(name: str, ids: list[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Convert long rows to a matrix (prompt, expert) per figure; missing values are NaN."""
    rows = _read(name, "outcomes")
    experts = sorted(set(rows["model"].to_pylist()))
    row_of, column_of = _positions(ids), _positions(experts)
    row = np.array([row_of.get(prompt_id, -1) for prompt_id in rows["prompt_id"].to_pylist()])
    column = np.array([column_of[model] for model in rows["model"].to_pylist()])
    known = row >= 0
    figures = {
        "score": "score",
        "cost_usd": "costs",
        "latency_s": "latencies",
        "output_tokens": "output_tokens",
    }
    matrices = {}
    for figure, field in figures.items():
        if figure in rows.column_names:
            matrix = np.full((len(ids), len(experts)), np.nan, dtype=np.float32)
            matrix[row[known], column[known]] = _floats(rows[figure])[known]
            matrices[field] = matrix
    return experts, matrices


def _responses_wide(ids: list[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Read metabench's 0/1 answers of the models that answered every item, so without gaps."""
    rows = _read("metabench", "responses_wide").select(["model", *ids])
    answers = np.column_stack([_floats(rows[prompt_id]) for prompt_id in ids])
    complete = ~np.isnan(answers).any(axis=1)
    models = rows["model"].to_pylist()
    experts = [model for model, kept in zip(models, complete, strict=True) if kept]
    return experts, {"score": answers[complete].T}


def _positions(names: list[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def _floats(column: Any) -> np.ndarray:  # noqa: ANN401 - a pyarrow column; pyarrow has no types
    return np.asarray(column.to_numpy(), dtype=np.float32)
