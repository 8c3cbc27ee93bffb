"""Q-tables on disk: long rows in CSV, JSON lines or Parquet, and folders of append-only shards."""

from __future__ import annotations

import json
import os
import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from tryage.core.validation import check_number, require_extra
from tryage.errors import QTableError
from tryage.files import explain_write_errors, folder_exists, path_exists, replace_file
from tryage.scoring.qtable_limits import (
    check_growth,
    check_json_lines,
    check_unique_columns,
    list_columns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    from typing_extensions import Self

    from tryage.core.arrays import Float32Array, Float64Array, Int64Array

EXPERTS_FILE = "experts.jsonl"  # in a folder of shards: what is known about the experts

SHARD_SUFFIX = ".parquet"
JOURNAL_SUFFIX = ".journal"  # rows that are not yet in a shard, as JSON lines
PARTIAL_SUFFIX = ".partial"  # a shard while it is being written
LOCK_FILE = ".lock"

_KEPT = "What was measured before is kept, and the same call goes on from there."

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

_TEXT_COLUMNS = ("prompt_id", "prompt", "expert", "category", "source")

_NUMBER_FIELDS = {
    "cost": "costs",
    "latency": "latencies",
    "output_tokens": "output_tokens",
    "readability": "readabilities",
}

# A table is dense in memory: this many cells may be almost empty.
_MAX_SPARSE_CELLS, _MIN_DENSITY = 10_000_000, 0.01

_CELL_BYTES = 28  # of one matrix while it is made

_BLOCK_BYTES = 256 << 20  # bytes; one row must fit in a block, and prompts can be long


class QTableColumns(TypedDict):
    """The fields of a `QTable`; a field that is None has no column in the file."""

    prompts: tuple[str, ...]
    experts: tuple[str, ...]
    losses: Float32Array
    categories: tuple[str | None, ...] | None
    sources: tuple[str | None, ...] | None
    costs: Float32Array | None
    latencies: Float32Array | None
    output_tokens: Float32Array | None
    readabilities: Float32Array | None


def read_columns(path: Path, *, score_scale: float = 1.0, loss: str = "loss") -> QTableColumns:
    """Read long rows as columns; `QTable.read` describes the file and the errors."""
    require_extra("pyarrow", "evaluate")
    score_scale = check_number("score_scale", score_scale, low=0.0)
    with _readable(path):
        return _parse_rows(path, _load_rows(path), score_scale, loss)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into one that names it.

    Raises:
        QTableError: instead of an error of pyarrow, of the file or of its text.
    """
    import pyarrow as pa

    try:
        yield
    except QTableError:
        raise
    except (pa.ArrowException, OSError, UnicodeError, RecursionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise QTableError(f"{path} cannot be read as a Q-table: {reason}") from error


def _parse_rows(path: Path, rows: pa.Table, score_scale: float, loss: str) -> QTableColumns:
    check_unique_columns(path, rows.column_names)
    rows = _select_loss_column(path, rows, loss)
    _check_columns(path, rows.column_names)
    row_key = "prompt_id" if "prompt_id" in rows.column_names else "prompt"
    row_codes, first_rows = _dictionary_encode(path, rows, row_key)
    expert_codes, first_experts = _dictionary_encode(path, rows, "expert")
    if row_key == "prompt_id":
        _check_one_text_per_id(path, rows, row_codes, first_rows)
    shape = (len(first_rows), len(first_experts))
    _check_density(path, shape, len(rows))

    def matrix(values: Float64Array) -> Float32Array:
        return _average_duplicates(values, row_codes * shape[1] + expert_codes, shape)

    def optional_matrix(name: str) -> Float32Array | None:
        return matrix(_float_column(path, rows, name)) if name in rows.column_names else None

    return QTableColumns(
        prompts=tuple(_take_texts(rows, "prompt", first_rows)),
        experts=tuple(_take_texts(rows, "expert", first_experts)),
        losses=matrix(_loss_column(path, rows, score_scale)),
        categories=_take_optional_texts(rows, "category", first_rows),
        sources=_take_optional_texts(rows, "source", first_rows),
        costs=optional_matrix("cost"),
        latencies=optional_matrix("latency"),
        output_tokens=optional_matrix("output_tokens"),
        readabilities=optional_matrix("readability"),
    )


def write_columns(columns: QTableColumns, path: Path) -> None:
    """Write columns as long rows; `QTable.write` describes the file and the errors."""
    require_extra("pyarrow", "evaluate")
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl}
    if path.suffix not in writers:
        raise QTableError(f"cannot write {path.name}: name it .parquet, .csv or .jsonl")
    with replace_file(path) as partial_path:
        writers[path.suffix](_to_long_rows(columns), partial_path)


class ShardWriter:
    """Writes the rows of one expert into a folder; several writers may share the folder.

    Args:
        folder: Where the shards are.
        expert: The name of the expert, which names the files as well.
        rows_per_shard: The number of rows at which the journal becomes a shard.
    """

    def __init__(self, folder: Path, expert: str, rows_per_shard: int = 4096) -> None:
        readable_name = re.sub(r"[^\w.-]+", "-", expert)[:60]
        self._stem = f"{readable_name}-{uuid.uuid4().hex[:12]}"
        self._folder, self._rows_per_shard = folder, rows_per_shard
        self._n_shards = self._n_written = 0
        self._journal: Any = None

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what was written, also after an error."""
        self.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Hand one row to the operating system: from then on a killed process does not lose it.

        Raises:
            FileWriteError: the disk is full.
        """
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n"
        with explain_write_errors(self._folder, _KEPT):
            if self._journal is None:
                self._journal = self._journal_path().open("w", encoding="utf-8")
            self._journal.write(line)
            self._journal.flush()
        self._n_written += 1
        if self._n_written >= self._rows_per_shard:
            self.close()

    def close(self) -> None:
        """Turn the journal into a shard.

        Raises:
            FileWriteError: the disk is full; then the rows stay in the journal.
        """
        if self._journal is not None:
            with explain_write_errors(self._folder, _KEPT):
                self._journal.close()
                _finalize_shard(self._journal_path())
            self._journal, self._n_written, self._n_shards = None, 0, self._n_shards + 1

    def _journal_path(self) -> Path:
        return self._folder / f"{self._stem}-{self._n_shards:05d}{JOURNAL_SUFFIX}"


def read_rows(folder: Path) -> pa.Table:
    """Return all rows of a folder, also those in the journals of a killed process.

    Raises:
        QTableError: there is no shard, or a shard cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    require_extra("pyarrow", "score")
    import pyarrow as pa

    # Journals are listed first: one may become a shard before the shards are listed.
    journals = sorted(folder.glob(f"*{JOURNAL_SUFFIX}"))
    shards = sorted(folder.glob(f"*{SHARD_SUFFIX}"))
    shard_stems = {path.stem for path in shards}
    parts = [_read_shard(path) for path in shards]
    parts += [_read_journal_or_shard(path) for path in journals if path.stem not in shard_stems]
    if not parts:
        raise QTableError(f"{folder} holds no shard (*{SHARD_SUFFIX}); measure some: tryage score")
    return pa.concat_tables(parts, promote_options="permissive")


def recover_journals(folder: Path) -> None:
    """Turn the journals of a killed process into shards; call it while holding the lock.

    Raises:
        FileWriteError: the disk is full or read-only; then the rows stay in the journals.
    """
    with explain_write_errors(folder, _KEPT):
        for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
            path.unlink()
        for path in sorted(folder.glob(f"*{JOURNAL_SUFFIX}")):
            if path.with_suffix(SHARD_SUFFIX).exists():
                path.unlink()
            else:
                _finalize_shard(path)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Make a folder, and lock it for this process until it ends, also when that is by a kill.

    Raises:
        QTableError: another process measures into the folder.
        FileWriteError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE)
    try:
        with explain_write_errors(folder, "Nothing was measured."):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise QTableError(
            f"{folder} is being written by another process. Wait until it has finished, or "
            "stop it: what it has measured is kept."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _load_rows(path: Path) -> pa.Table:
    if folder_exists(path):
        return _load_folder(path)
    if not (path_exists(path) and path.is_file()):
        raise QTableError(
            f"no Q-table at {path}; give a .parquet, .csv or .jsonl file, or a folder of shards"
        )
    readers = {".parquet": _load_parquet, ".csv": _load_csv, ".jsonl": _load_jsonl}
    if path.suffix not in readers:
        raise QTableError(f"cannot read {path.name}: expected .parquet, .csv or .jsonl")
    return readers[path.suffix](path)


def _load_folder(path: Path) -> pa.Table:
    """Load the shards without the columns that hold nothing."""
    rows = read_rows(path)
    if "loss" in rows.column_names and "score" in rows.column_names:
        rows = rows.drop_columns(["score"])  # the loss is 1 - score there
    optional = ("category", "source", *_NUMBER_FIELDS)
    return rows.drop_columns(
        [name for name in optional if name in rows.column_names and _is_all_null(rows[name])]
    )


def _load_parquet(path: Path) -> pa.Table:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    check_growth(path, file.metadata)
    return file.read()


def _load_csv(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=_block_size(path)),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        # Only an empty cell is a gap: "null" or "NA" may be a prompt.
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in _TEXT_COLUMNS},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _block_size(path: Path) -> int:
    """Return the bytes of a block, which is reserved as a whole: no more than there are."""
    return min(_BLOCK_BYTES, path.stat().st_size + 1)


def _load_jsonl(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import json

    check_json_lines(path)
    # A prompt_id may be a number, so the schema leaves its type open.
    names = [name for name in _TEXT_COLUMNS if name != "prompt_id"]
    table = json.read_json(
        path,
        read_options=json.ReadOptions(block_size=_block_size(path)),
        parse_options=json.ParseOptions(
            explicit_schema=pa.schema([(name, pa.string()) for name in names])
        ),
    )
    return table.drop_columns(
        [name for name in ("category", "source") if _is_all_null(table[name])]
    )


def _select_loss_column(path: Path, rows: pa.Table, loss: str) -> pa.Table:
    """Put the named column in the place of the losses."""
    if loss == "loss":
        return rows
    if loss not in rows.column_names or _is_all_null(rows[loss]):
        raise QTableError(
            f"{path} has no losses {loss!r}; its columns are {list_columns(rows.column_names)}"
        )
    other_columns = [name for name in rows.column_names if name not in ("loss", "score", loss)]
    return rows.select(other_columns).append_column("loss", rows[loss])


def _is_all_null(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column))


def _check_columns(path: Path, names: list[str]) -> None:
    missing_columns = [name for name in ("prompt", "expert") if name not in names]
    if missing_columns or ("loss" in names) == ("score" in names):
        raise QTableError(
            f"{path} has the columns {list_columns(names)}; expected prompt, expert and either "
            "loss or score"
        )


def _check_density(path: Path, shape: tuple[int, int], n_rows: int) -> None:
    """Refuse a large table that is almost empty, which has a wrong column more often than not."""
    n_cells = shape[0] * shape[1]
    if n_cells > _MAX_SPARSE_CELLS and n_rows < _MIN_DENSITY * n_cells:
        raise QTableError(
            f"{path} has {shape[0]:,} prompts and {shape[1]:,} experts, and {n_rows:,} rows for "
            f"{n_cells:,} cells, which would take {n_cells * _CELL_BYTES / 1e9:.1f} GB. Check the "
            "column expert, or split the table: at least one cell in a hundred must have a value."
        )


def _dictionary_encode(path: Path, rows: pa.Table, name: str) -> tuple[Int64Array, Int64Array]:
    """Return the values of a column as numbers in order of first appearance, `(n_rows,)`.

    The second array holds the first row of each number.
    """
    import pyarrow as pa

    column = rows[name].cast(pa.large_string())
    if column.null_count:
        raise QTableError(f"{path}: {column.null_count} rows have no {name}; give one to each")
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    codes = codes.astype(np.int64)
    _, first_rows = np.unique(codes, return_index=True)
    return codes, first_rows


def _check_one_text_per_id(
    path: Path, rows: pa.Table, row_codes: Int64Array, first_rows: Int64Array
) -> None:
    text_codes, _ = _dictionary_encode(path, rows, "prompt")
    conflicts = np.flatnonzero(text_codes != text_codes[first_rows[row_codes]])
    if len(conflicts):
        prompt_id = rows["prompt_id"][int(conflicts[0])].as_py()
        raise QTableError(
            f"{path}: prompt_id {prompt_id!r:.80} has two different prompts; give each its own"
        )


def _take_texts(rows: pa.Table, name: str, positions: Int64Array) -> list[Any]:
    import pyarrow as pa

    values: list[Any] = rows[name].cast(pa.large_string()).take(pa.array(positions)).to_pylist()
    return values


def _take_optional_texts(
    rows: pa.Table, name: str, positions: Int64Array
) -> tuple[str | None, ...] | None:
    return tuple(_take_texts(rows, name, positions)) if name in rows.column_names else None


def _float_column(path: Path, rows: pa.Table, name: str) -> Float64Array:
    import pyarrow as pa

    try:
        column = rows[name].cast(pa.float64()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # a type of many levels is written with all of them
        raise QTableError(
            f"{path}: the column {name} is not all numbers: {error!s:.200}"
        ) from error
    values: Float64Array = column.to_numpy(zero_copy_only=False)
    return values


def _loss_column(path: Path, rows: pa.Table, score_scale: float) -> Float64Array:
    if "loss" in rows.column_names:
        return _float_column(path, rows, "loss")
    score = _float_column(path, rows, "score") / score_scale
    out_of_range = np.flatnonzero((score < 0) | (score > 1))
    if len(out_of_range):
        value = score[out_of_range[0]] * score_scale
        raise QTableError(
            f"{path}: the score {value:g} is outside 0..{score_scale:g}; declare the scale "
            "of the scores with score_scale"
        )
    return 1.0 - score


def _average_duplicates(
    values: Float64Array, cells: Int64Array, shape: tuple[int, int]
) -> Float32Array:
    """Return the mean of the known values of each cell; NaN where there is none."""
    is_known = ~np.isnan(values)
    size = shape[0] * shape[1]
    total = np.bincount(cells[is_known], weights=values[is_known], minlength=size)
    count = np.bincount(cells[is_known], minlength=size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which a table refuses
        return np.asarray(mean.reshape(shape), dtype=np.float32)


def _to_long_rows(columns: QTableColumns) -> pa.Table:
    import pyarrow as pa

    fields: Mapping[str, Any] = {**columns}
    matrices = {"loss": columns["losses"]}
    matrices |= {
        name: matrix
        for name, field in _NUMBER_FIELDS.items()
        if (matrix := fields[field]) is not None
    }
    is_known = np.any([~np.isnan(matrix) for matrix in matrices.values()], axis=0)
    row_indices, expert_indices = np.nonzero(is_known)
    texts = {
        "prompt_id": [str(i) for i in range(len(columns["prompts"]))],
        "prompt": columns["prompts"],
        "category": columns["categories"],
        "source": columns["sources"],
    }
    long_columns = {
        name: pa.array(values, pa.string()).take(pa.array(row_indices))
        for name, values in texts.items()
        if values is not None
    }
    experts = pa.array(columns["experts"], pa.string())
    long_columns["expert"] = experts.take(pa.array(expert_indices))
    for name, matrix in matrices.items():
        values = matrix[row_indices, expert_indices]
        long_columns[name] = pa.array(values, from_pandas=True)  # NaN becomes null
    return pa.table(long_columns)


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


def _finalize_shard(journal: Path) -> None:
    """Turn a journal into a shard: a shard with its final name is always complete."""
    from pyarrow import parquet

    rows, partial_path = _read_journal(journal), journal.with_suffix(PARTIAL_SUFFIX)
    if len(rows):
        try:
            with partial_path.open("wb") as file:
                parquet.write_table(rows, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial_path.unlink(missing_ok=True)  # on a full disk others need the room
            raise
        partial_path.replace(journal.with_suffix(SHARD_SUFFIX))
    journal.unlink()


def _read_shard(path: Path) -> pa.Table:
    import pyarrow as pa

    try:
        return _load_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise QTableError(
            f"{path} cannot be read as Parquet: {error!s:.500}. Remove it."
        ) from error


def _read_journal_or_shard(journal: Path) -> pa.Table:
    try:
        return _read_journal(journal)
    except FileNotFoundError:  # its writer has just turned it into a shard
        return _read_shard(journal.with_suffix(SHARD_SUFFIX))


def _read_journal(path: Path) -> pa.Table:
    import pyarrow as pa

    lines = path.read_bytes().split(b"\n")[:-1]  # a killed process may have cut the last line
    try:
        return pa.Table.from_pylist([json.loads(line) for line in lines], schema=_shard_schema())
    except (ValueError, RecursionError, AttributeError, pa.ArrowException) as error:
        raise QTableError(f"{path} is damaged: {error!s:.500}. Repair or remove it.") from error


def _shard_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [(name, pa.string()) for name in SHARD_TEXT_COLUMNS]
        + [(name, pa.float64()) for name in SHARD_NUMBER_COLUMNS]
    )
