"""Q-tables as files: long rows in Parquet, CSV or JSON lines, through pyarrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import QTableError
from tryage.extras import require
from tryage.qtable import QTable
from tryage.qtable_shards import read_rows

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

_TEXTS = ("prompt_id", "prompt", "expert", "category", "source")
_NUMBERS = {
    "cost": "costs",
    "latency": "latencies",
    "output_tokens": "output_tokens",
    "readability": "readabilities",
}
_BLOCK = 256 << 20  # bytes; one row must fit in a block, and prompts can be long


def read(path: Path, *, score_scale: float = 1.0, loss: str = "loss") -> QTable:
    """Read long rows; see `QTable.read`."""
    require("pyarrow", "evaluate")
    rows = _with_loss(path, _load(path), loss)
    _check_columns(path, rows.column_names)
    row_key = "prompt_id" if "prompt_id" in rows.column_names else "prompt"
    row_of, first = _encode(path, rows, row_key)
    expert_of, first_expert = _encode(path, rows, "expert")
    prompts = _at(rows, "prompt", first)
    if row_key == "prompt_id":
        _check_one_text_per_id(path, rows, row_of, first)
    shape = (len(first), len(first_expert))

    def matrix(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return _means(values, row_of * shape[1] + expert_of, shape)

    return QTable(
        prompts=tuple(prompts),
        experts=tuple(_at(rows, "expert", first_expert)),
        losses=matrix(_losses(path, rows, score_scale)),
        categories=_optional_texts(rows, "category", first),
        sources=_optional_texts(rows, "source", first),
        **{
            field: matrix(_numbers(path, rows, name)) if name in rows.column_names else None
            for name, field in _NUMBERS.items()
        },
    )


def write(table: QTable, path: Path) -> None:
    """Write long rows; see `QTable.write`."""
    require("pyarrow", "evaluate")
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl}
    if path.suffix not in writers:
        raise QTableError(f"cannot write {path.name}: name it .parquet, .csv or .jsonl")
    writers[path.suffix](_long_rows(table), path)


def _load(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, json, parquet

    if path.is_dir():
        return _load_folder(path)
    if not path.is_file():
        raise QTableError(
            f"no Q-table at {path}; give a .parquet, .csv or .jsonl file, or a folder of shards"
        )
    texts = {name: pa.string() for name in _TEXTS}
    try:
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        if path.suffix == ".csv":
            # Only an empty cell is a gap: "null" or "NA" may be a prompt.
            return csv.read_csv(
                path,
                read_options=csv.ReadOptions(block_size=_BLOCK),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=texts,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        if path.suffix == ".jsonl":
            schema = pa.schema([(name, pa.string()) for name in _TEXTS if name != "prompt_id"])
            table = json.read_json(
                path,
                read_options=json.ReadOptions(block_size=_BLOCK),
                parse_options=json.ParseOptions(explicit_schema=schema),
            )
            return table.drop_columns([n for n in ("category", "source") if _is_null(table[n])])
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise QTableError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    raise QTableError(f"cannot read {path.name}: expected .parquet, .csv or .jsonl")


def _load_folder(path: Path) -> pa.Table:
    """Load shards; columns that hold nothing are as if they were not there."""
    rows = read_rows(path)
    if "loss" in rows.column_names and "score" in rows.column_names:
        rows = rows.drop_columns(["score"])  # the loss is 1 - score there
    optional = ("category", "source", *_NUMBERS)
    return rows.drop_columns([n for n in optional if n in rows.column_names and _is_null(rows[n])])


def _with_loss(path: Path, rows: pa.Table, loss: str) -> pa.Table:
    """Put the column that is named in the place of the losses."""
    if loss == "loss":
        return rows
    if loss not in rows.column_names or _is_null(rows[loss]):
        raise QTableError(f"{path} has no losses {loss!r}; its columns are {rows.column_names}")
    kept = [name for name in rows.column_names if name not in ("loss", "score", loss)]
    return rows.select(kept).append_column("loss", rows[loss])


def _is_null(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column))


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in ("prompt", "expert") if name not in names]
    if missing or ("loss" in names) == ("score" in names):
        raise QTableError(
            f"{path} has the columns {names}; expected prompt, expert and either loss or score"
        )


def _encode(path: Path, rows: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Encode the values as numbers by first appearance; also return the first row of each."""
    import pyarrow as pa

    column = rows[name].cast(pa.large_string())
    if column.null_count:
        raise QTableError(f"{path}: {column.null_count} rows have no {name}; give one to each")
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    codes = codes.astype(np.int64)
    _, first = np.unique(codes, return_index=True)
    return codes, first


def _at(rows: pa.Table, name: str, positions: NDArray[np.int64]) -> list[Any]:
    import pyarrow as pa

    values: list[Any] = rows[name].cast(pa.large_string()).take(pa.array(positions)).to_pylist()
    return values


def _optional_texts(
    rows: pa.Table, name: str, positions: NDArray[np.int64]
) -> tuple[str | None, ...] | None:
    return tuple(_at(rows, name, positions)) if name in rows.column_names else None


def _check_one_text_per_id(
    path: Path, rows: pa.Table, row_of: NDArray[np.int64], first: NDArray[np.int64]
) -> None:
    text_of, _ = _encode(path, rows, "prompt")
    odd = np.flatnonzero(text_of != text_of[first[row_of]])
    if len(odd):
        name = rows["prompt_id"][int(odd[0])].as_py()
        raise QTableError(
            f"{path}: prompt_id {name!r} has two different prompts; give each its own"
        )


def _numbers(path: Path, rows: pa.Table, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    try:
        column = rows[name].cast(pa.float64()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise QTableError(f"{path}: the column {name} is not all numbers: {error}") from error
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return values


def _losses(path: Path, rows: pa.Table, score_scale: float) -> NDArray[np.float64]:
    if "loss" in rows.column_names:
        return _numbers(path, rows, "loss")
    score = _numbers(path, rows, "score") / score_scale
    outside = np.flatnonzero((score < 0) | (score > 1))
    if len(outside):
        value = score[outside[0]] * score_scale
        raise QTableError(
            f"{path}: the score {value:g} is outside 0..{score_scale:g}; declare the scale "
            "of the scores with score_scale"
        )
    return 1.0 - score


def _means(
    values: NDArray[np.float64], cells: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Mean of the known values that fall on each cell; NaN where there is none."""
    known = ~np.isnan(values)
    size = shape[0] * shape[1]
    total = np.bincount(cells[known], weights=values[known], minlength=size)
    count = np.bincount(cells[known], minlength=size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return np.asarray(mean.reshape(shape), dtype=np.float32)


def _long_rows(table: QTable) -> pa.Table:
    import pyarrow as pa

    matrices = {"loss": table.losses}
    matrices |= {n: m for n, f in _NUMBERS.items() if (m := getattr(table, f)) is not None}
    row, expert = np.nonzero(np.any([~np.isnan(m) for m in matrices.values()], axis=0))
    per_row = {
        "prompt_id": [str(i) for i in range(len(table))],
        "prompt": table.prompts,
        "category": table.categories,
        "source": table.sources,
    }
    columns = {
        name: pa.array(values, pa.string()).take(pa.array(row))
        for name, values in per_row.items()
        if values is not None
    }
    columns["expert"] = pa.array(table.experts, pa.string()).take(pa.array(expert))
    for name, matrix in matrices.items():
        columns[name] = pa.array(matrix[row, expert], from_pandas=True)  # NaN becomes null
    return pa.table(columns)


def _write_parquet(rows: pa.Table, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(rows, path, compression="zstd")


def _write_csv(rows: pa.Table, path: Path) -> None:
    from pyarrow import csv

    csv.write_csv(rows, path)


def _write_jsonl(rows: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in rows.to_batches(max_chunksize=10_000):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
