"""Q-tables as files: long rows in Parquet, CSV or JSON lines, through pyarrow."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import QTableError
from tryage.learning.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray
    from typing_extensions import Self

_TEXT_COLUMNS = ("prompt_id", "prompt", "expert", "category", "source")

_NUMBER_FIELDS = {
    "cost": "costs",
    "latency": "latencies",
    "output_tokens": "output_tokens",
    "readability": "readabilities",
}

_BLOCK_BYTES = 256 << 20  # bytes; one row must fit in a block, and prompts can be long

SHARD_SUFFIX, JOURNAL_SUFFIX, PARTIAL_SUFFIX, LOCK_FILE = (
    ".parquet",
    ".journal",
    ".partial",
    ".lock",
)

SHARD_TEXT_COLUMNS = ("prompt_id", "prompt", "expert", "category", "source", "method", "output")

SHARD_NUMBER_COLUMNS = (
    "loss",
    "loss_per_char",
    "bits_per_byte",
    "score",
    "output_tokens",
    "latency",
    "cost",
    "scoring_cost",
    "readability",
)


def read_qtable(path: Path, *, score_scale: float = 1.0, loss: str = "loss") -> QTable:
    """Read long rows; see `QTable.read`."""
    require_extra("pyarrow", "evaluate")
    rows = _select_loss_column(path, _load_table(path), loss)
    _check_columns(path, rows.column_names)
    row_key = "prompt_id" if "prompt_id" in rows.column_names else "prompt"
    row_codes, first = _dictionary_encode(path, rows, row_key)
    expert_codes, first_expert = _dictionary_encode(path, rows, "expert")
    prompts = _take_texts(rows, "prompt", first)
    if row_key == "prompt_id":
        _check_one_text_per_id(path, rows, row_codes, first)
    shape = (len(first), len(first_expert))

    def matrix(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return _average_duplicates(values, row_codes * shape[1] + expert_codes, shape)

    return QTable(
        prompts=tuple(prompts),
        experts=tuple(_take_texts(rows, "expert", first_expert)),
        losses=matrix(_loss_column(path, rows, score_scale)),
        categories=_optional_texts(rows, "category", first),
        sources=_optional_texts(rows, "source", first),
        **{
            field: matrix(_float_column(path, rows, name)) if name in rows.column_names else None
            for name, field in _NUMBER_FIELDS.items()
        },
    )


def write_qtable(table: QTable, path: Path) -> None:
    """Write long rows; see `QTable.write`."""
    require_extra("pyarrow", "evaluate")
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl}
    if path.suffix not in writers:
        raise QTableError(f"cannot write {path.name}: name it .parquet, .csv or .jsonl")
    writers[path.suffix](_to_long_table(table), path)


def _load_table(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, json, parquet

    if path.is_dir():
        return _load_folder(path)
    if not path.is_file():
        raise QTableError(
            f"no Q-table at {path}; give a .parquet, .csv or .jsonl file, or a folder of shards"
        )
    texts = {name: pa.string() for name in _TEXT_COLUMNS}
    try:
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        if path.suffix == ".csv":
            # Only an empty cell is a gap: "null" or "NA" may be a prompt.
            return csv.read_csv(
                path,
                read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=texts,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        if path.suffix == ".jsonl":
            schema = pa.schema(
                [(name, pa.string()) for name in _TEXT_COLUMNS if name != "prompt_id"]
            )
            table = json.read_json(
                path,
                read_options=json.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=json.ParseOptions(explicit_schema=schema),
            )
            return table.drop_columns([n for n in ("category", "source") if _is_all_null(table[n])])
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise QTableError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    raise QTableError(f"cannot read {path.name}: expected .parquet, .csv or .jsonl")


def _load_folder(path: Path) -> pa.Table:
    """Load shards; columns that hold nothing are as if they were not there."""
    rows = read_rows(path)
    if "loss" in rows.column_names and "score" in rows.column_names:
        rows = rows.drop_columns(["score"])  # the loss is 1 - score there
    optional = ("category", "source", *_NUMBER_FIELDS)
    return rows.drop_columns(
        [n for n in optional if n in rows.column_names and _is_all_null(rows[n])]
    )


def _select_loss_column(path: Path, rows: pa.Table, loss: str) -> pa.Table:
    """Put the column that is named in the place of the losses."""
    if loss == "loss":
        return rows
    if loss not in rows.column_names or _is_all_null(rows[loss]):
        raise QTableError(f"{path} has no losses {loss!r}; its columns are {rows.column_names}")
    kept = [name for name in rows.column_names if name not in ("loss", "score", loss)]
    return rows.select(kept).append_column("loss", rows[loss])


def _is_all_null(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column))


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in ("prompt", "expert") if name not in names]
    if missing or ("loss" in names) == ("score" in names):
        raise QTableError(
            f"{path} has the columns {names}; expected prompt, expert and either loss or score"
        )


def _dictionary_encode(
    path: Path, rows: pa.Table, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Encode the values as numbers by first appearance; also return the first row of each."""
    import pyarrow as pa

    column = rows[name].cast(pa.large_string())
    if column.null_count:
        raise QTableError(f"{path}: {column.null_count} rows have no {name}; give one to each")
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    codes = codes.astype(np.int64)
    _, first = np.unique(codes, return_index=True)
    return codes, first


def _take_texts(rows: pa.Table, name: str, positions: NDArray[np.int64]) -> list[Any]:
    import pyarrow as pa

    values: list[Any] = rows[name].cast(pa.large_string()).take(pa.array(positions)).to_pylist()
    return values


def _optional_texts(
    rows: pa.Table, name: str, positions: NDArray[np.int64]
) -> tuple[str | None, ...] | None:
    return tuple(_take_texts(rows, name, positions)) if name in rows.column_names else None


def _check_one_text_per_id(
    path: Path, rows: pa.Table, row_of: NDArray[np.int64], first: NDArray[np.int64]
) -> None:
    text_of, _ = _dictionary_encode(path, rows, "prompt")
    odd = np.flatnonzero(text_of != text_of[first[row_of]])
    if len(odd):
        name = rows["prompt_id"][int(odd[0])].as_py()
        raise QTableError(
            f"{path}: prompt_id {name!r} has two different prompts; give each its own"
        )


def _float_column(path: Path, rows: pa.Table, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    try:
        column = rows[name].cast(pa.float64()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise QTableError(f"{path}: the column {name} is not all numbers: {error}") from error
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return values


def _loss_column(path: Path, rows: pa.Table, score_scale: float) -> NDArray[np.float64]:
    if "loss" in rows.column_names:
        return _float_column(path, rows, "loss")
    score = _float_column(path, rows, "score") / score_scale
    outside = np.flatnonzero((score < 0) | (score > 1))
    if len(outside):
        value = score[outside[0]] * score_scale
        raise QTableError(
            f"{path}: the score {value:g} is outside 0..{score_scale:g}; declare the scale "
            "of the scores with score_scale"
        )
    return 1.0 - score


def _average_duplicates(
    values: NDArray[np.float64], cells: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Mean of the known values that fall on each cell; NaN where there is none."""
    known = ~np.isnan(values)
    size = shape[0] * shape[1]
    total = np.bincount(cells[known], weights=values[known], minlength=size)
    count = np.bincount(cells[known], minlength=size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return np.asarray(mean.reshape(shape), dtype=np.float32)


def _to_long_table(table: QTable) -> pa.Table:
    import pyarrow as pa

    matrices = {"loss": table.losses}
    matrices |= {n: m for n, f in _NUMBER_FIELDS.items() if (m := getattr(table, f)) is not None}
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


class ShardWriter:
    """Writes rows of one expert; several writers may share a folder.

    `rows` is how many a shard holds.
    """

    def __init__(self, folder: Path, expert: str, rows_per_shard: int = 4096) -> None:
        readable = re.sub(r"[^\w.-]+", "-", expert)[:60]
        self._stem = f"{readable}-{uuid.uuid4().hex[:12]}"
        self._folder, self._rows_per_shard = folder, rows_per_shard
        self._n_shards = self._n_written = 0
        self._journal: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Hand one row to the operating system: from then on a killed process does not lose it."""
        if self._journal is None:
            self._journal = self._journal_path().open("w", encoding="utf-8")
        self._journal.write(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n")
        self._journal.flush()
        self._n_written += 1
        if self._n_written >= self._rows_per_shard:
            self.close()

    def close(self) -> None:
        """Make a shard of what is in the journal."""
        if self._journal is not None:
            self._journal.close()
            _finalize_shard(self._journal_path())
            self._journal, self._n_written, self._n_shards = None, 0, self._n_shards + 1

    def _journal_path(self) -> Path:
        return self._folder / f"{self._stem}-{self._n_shards:05d}{JOURNAL_SUFFIX}"

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what was written, whatever happened."""
        self.close()


def read_rows(folder: Path) -> pa.Table:
    """Return all rows of a folder, also those of journals that a killed process left.

    Raises:
        QTableError: there is none, or a shard cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    require_extra("pyarrow", "score")
    import pyarrow as pa

    journals = sorted(folder.glob(f"*{JOURNAL_SUFFIX}"))  # first: one may become a shard meanwhile
    shards = sorted(folder.glob(f"*{SHARD_SUFFIX}"))
    ended = {path.stem for path in shards}
    parts = [_read_shard(path) for path in shards]
    parts += [_read_journal_or_shard(path) for path in journals if path.stem not in ended]
    if not parts:
        raise QTableError(f"{folder} holds no shard (*{SHARD_SUFFIX}); measure some: tryage score")
    return pa.concat_tables(parts, promote_options="permissive")


def recover_journals(folder: Path) -> None:
    """Make shards of the journals that a killed process left; call it with the lock held."""
    for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
        path.unlink()
    for path in sorted(folder.glob(f"*{JOURNAL_SUFFIX}")):
        if path.with_suffix(SHARD_SUFFIX).exists():
            path.unlink()
        else:
            _finalize_shard(path)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder alone; the lock ends with its process, also when that is killed.

    Raises:
        QTableError: another process measures into it.
    """
    with closing(sqlite3.connect(folder / LOCK_FILE, timeout=0.0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise QTableError(
                f"{folder} is being written by another process. Wait until it has finished, or "
                "stop it: what it has measured is kept."
            ) from error
        yield


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [(name, pa.string()) for name in SHARD_TEXT_COLUMNS]
        + [(name, pa.float64()) for name in SHARD_NUMBER_COLUMNS]
    )


def _finalize_shard(journal: Path) -> None:
    """Turn a journal into a shard: whole under its name, or not there."""
    from pyarrow import parquet

    rows, partial = _read_journal(journal), journal.with_suffix(PARTIAL_SUFFIX)
    if len(rows):
        with partial.open("wb") as file:
            parquet.write_table(rows, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(journal.with_suffix(SHARD_SUFFIX))
    journal.unlink()


def _read_journal_or_shard(journal: Path) -> pa.Table:
    try:
        return _read_journal(journal)
    except FileNotFoundError:  # its writer has just made a shard of it
        return _read_shard(journal.with_suffix(SHARD_SUFFIX))


def _read_journal(path: Path) -> pa.Table:
    import pyarrow as pa

    lines = path.read_bytes().split(b"\n")[:-1]  # what is behind the last newline was cut off
    try:
        return pa.Table.from_pylist([json.loads(line) for line in lines], schema=_schema())
    except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise QTableError(f"{path} is damaged: {error}. Mend or remove it.") from error


def _read_shard(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise QTableError(f"{path} cannot be read as Parquet: {error}. Remove it.") from error
