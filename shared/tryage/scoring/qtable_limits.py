"""What is checked of the file of a Q-table before pyarrow reads it, or it fills the memory."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from tryage.errors import QTableError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow.parquet as pq

_MAX_NESTING = 500  # brackets in a line; pyarrow overflows the stack at some ten thousand levels

# A Parquet file that grows more than this is damaged, or made to fill the memory.
_MAX_GROWTH = 1_000  # bytes for each byte of the file
_MAX_ROWS, _MAX_ROW_SHARE = 1_000_000, 20  # rows in any case, and for each byte of the file


def check_growth(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a small file that would fill the memory, or keep the reader busy without end."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    n_bytes = sum(group.total_byte_size for group in groups)
    size, n_rows = path.stat().st_size, max(metadata.num_rows, *(g.num_rows for g in groups), 0)
    if n_bytes > _MAX_GROWTH * size or n_rows > max(_MAX_ROWS, _MAX_ROW_SHARE * size):
        raise QTableError(
            f"{path} is refused: it has {size:,} bytes and says that it grows to {n_bytes:,} "
            f"bytes and {n_rows:,} rows."
        )


def check_json_lines(path: Path) -> None:
    """Refuse lines that would end the process: pyarrow has no check for them.

    These are a null in the place of the first object, and brackets that are nested so deeply that
    the stack overflows. Only lines with many brackets are parsed: most of these are code, in a
    prompt.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.lstrip().startswith(b"null"):
                raise QTableError(f"{path}, line {number} is null; expected an object")
            if line.count(b"[") + line.count(b"{") > _MAX_NESTING:
                try:
                    json.loads(line)
                except RecursionError as error:
                    raise QTableError(
                        f"{path}, line {number} is JSON that is nested too deeply"
                    ) from error
                except ValueError:  # pyarrow says what is wrong
                    continue


def check_unique_columns(path: Path, names: list[str]) -> None:
    """Refuse a table in which two columns have one name."""
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        raise QTableError(
            f"{path} has the columns {list_columns(repeated)} more than once; keep one of each"
        )


def list_columns(names: list[str]) -> str:
    """Return names for a message: of many only the first."""
    shown = ", ".join(f"{name!r:.60}" for name in names[:15])
    return f"[{shown}]" + (f" and {len(names) - 15:,} more" if len(names) > 15 else "")
