"""Files that a visitor loads: Q-tables, libraries and logs of traffic, each under an id."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
import threading
import weakref
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tryage.core.expert import FIELDS, Expert
from tryage.core.library import Library
from tryage.core.validation import NUMBER_RANGES, did_you_mean
from tryage.errors import (
    FileWriteError,
    InputError,
    QTableError,
    TrafficError,
    TryageError,
)
from tryage.files import explain_write_errors, scratch_folder
from tryage.scoring.qtable import QTable
from tryage.traffic.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from tryage.core.arrays import Float64Array

    FileKind: TypeAlias = Literal["table", "library", "traffic"]

_MAX_FILES = 8  # of each kind; the oldest one is dropped

_LIST_FIELDS = ("aliases", "capabilities")

_TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A Q-table: mean measured quality of each expert, and on how many prompts."""

    id: str
    name: str
    table: QTable

    @property
    def names(self) -> tuple[str, ...]:
        """The experts of the table."""
        return self.table.experts

    def quality(self) -> dict[str, tuple[float, int]]:
        """Return 1 - the mean measured loss of each expert, and the number of its prompts."""
        losses: Float64Array = np.asarray(self.table.losses, dtype=np.float64)
        counts = np.isfinite(losses).sum(axis=0)
        sums = np.nansum(losses, axis=0)
        return {
            name: (1.0 - float(total) / int(count), int(count))
            for name, total, count in zip(self.table.experts, sums, counts, strict=True)
            if count
        }


@dataclass(frozen=True, slots=True)
class LoadedLibrary:
    """A library: what a file says about models."""

    id: str
    name: str
    experts: dict[str, Expert]

    @property
    def names(self) -> tuple[str, ...]:
        """The models of the file."""
        return tuple(self.experts)


@dataclass(frozen=True, slots=True)
class LoadedTraffic:
    """A copy of a log of traffic, and the models that answered in it."""

    id: str
    name: str
    traffic: Traffic
    names: tuple[str, ...]
    path: Path

    def delete(self) -> None:
        """Close the copy and remove its files: whoever still asks it is told that it is gone."""
        self.traffic.close()
        _delete_database(self.path)


class FileStore:
    """The loaded files by kind and id, in memory and in a folder that ends with the process."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Any]] = {"table": {}, "library": {}, "traffic": {}}
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._scratch = ExitStack()
        weakref.finalize(self, self._scratch.close)

    def find(self, kind: FileKind, file_id: str) -> Any:
        """Return a loaded file, None if there is none of this id."""
        return self._files[kind].get(file_id)

    def load(self, kind: FileKind, name: str, content: bytes) -> Any:
        """Read a file and keep it; its id is that of its content.

        Raises:
            InputError: it is empty, or no file of this kind; the message says what is wrong.
            QTableError, TrafficError: as above.
            FileWriteError: there is no room for temporary files.
            MissingExtraError: the package that reads it is not installed.
        """
        name = PurePath(name.replace("\\", "/")).name[:100] or "file"
        if not content:
            raise InputError(f"{name} is empty.")
        file_id = hashlib.sha256(content).hexdigest()[:12]
        found = self.find(kind, file_id)
        if found is None:
            readers: dict[str, Callable[[str, str, bytes], Any]] = {
                "table": self._read_table,
                "library": _read_library,
                "traffic": self._read_traffic,
            }
            found = readers[kind](file_id, name, content)
            self._keep(kind, file_id, found)
        return found

    def _keep(self, kind: str, file_id: str, loaded: object) -> None:
        with self._lock:
            files = self._files[kind]
            files[file_id] = loaded
            dropped = [files.pop(next(iter(files))) for _ in range(len(files) - _MAX_FILES)]
        for one in dropped:
            if isinstance(one, LoadedTraffic):
                one.delete()

    def _write(self, file_name: str, content: bytes) -> Path:
        """Write a file into the folder, which is made for the first one."""
        with self._lock:
            if self._folder is None:
                self._folder = self._scratch.enter_context(scratch_folder("tryage-playground-"))
            path = self._folder / file_name
        try:
            with explain_write_errors(path, "Nothing was loaded."):
                path.write_bytes(content)
        except FileWriteError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _read_table(self, file_id: str, name: str, content: bytes) -> LoadedTable:
        suffix = PurePath(name).suffix.lower()
        if suffix not in _TABLE_SUFFIXES:
            raise InputError(f"{name} is no Q-table: expected {', '.join(_TABLE_SUFFIXES)}.")
        path = self._write(f"{file_id}{suffix}", content)
        try:
            table = QTable.read(path)
        except QTableError as error:
            raise QTableError(str(error).replace(str(path), name)) from None
        finally:
            path.unlink()
        if not table.experts:
            raise QTableError(f"{name} has no row: expected a loss of a model in each.")
        return LoadedTable(file_id, name, table)

    def _read_traffic(self, file_id: str, name: str, content: bytes) -> LoadedTraffic:
        if not content.startswith(b"SQLite format 3\0"):
            raise InputError(f"{name} is no log of traffic: expected a database of SQLite.")
        path = self._write(f"{file_id}.db", content)
        with ExitStack() as cleanup:
            cleanup.callback(_delete_database, path)
            try:
                traffic = cleanup.enter_context(Traffic(f"sqlite:///{path}", create=False))
                loaded = LoadedTraffic(file_id, name, traffic, _answering_experts(traffic), path)
            except TryageError as error:
                raise TrafficError(str(error).replace(str(path), name)) from None
            cleanup.pop_all()  # the log stays
        return loaded


def _delete_database(path: Path) -> None:
    """Remove a file of SQLite with what it keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _answering_experts(traffic: Traffic) -> tuple[str, ...]:
    """Return the experts of a log, in the order of their first decision."""
    names: dict[str, None] = {}
    for record, _, _ in traffic.decisions():
        names.update(dict.fromkeys((record.chosen, *record.candidates)))
    if not names:
        raise InputError("The log has no decision yet: nothing was learned.")
    return tuple(names)


def read_traffic_file(path: Path) -> bytes:
    """Return a copy of a log, also of one that is in use; the log itself does not change.

    Raises:
        InputError: there is no such file, it is no database of SQLite, or cannot be copied.
        FileWriteError: there is no room for temporary files.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with (
            scratch_folder("tryage-playground-") as folder,
            closing(sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)) as source,
        ):
            copied = folder / "copy.db"
            with closing(sqlite3.connect(copied)) as target:
                source.backup(target)
            return copied.read_bytes()
    except sqlite3.OperationalError as error:  # such as a full disk
        raise InputError(f"{path} cannot be copied to read it: {error}.") from error
    except sqlite3.Error as error:
        raise InputError(f"{path} is no database of SQLite: {error}.") from error


# Libraries -------------------------------------------------------------------------------------


def _read_library(file_id: str, name: str, content: bytes) -> LoadedLibrary:
    """Read facts about models: a JSON list, JSON lines, or CSV with a column `name`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no text in UTF-8 ({error.reason}).") from None
    suffix = PurePath(name).suffix.lower()
    if suffix not in (".json", ".jsonl", ".csv"):
        raise InputError(f"{name} is no library: expected .json, .jsonl or .csv.")
    rows = _csv_rows(name, text) if suffix == ".csv" else _json_rows(name, text)
    try:
        experts = [_read_expert(place, row) for place, row in rows]
    except csv.Error as error:
        raise InputError(f"{name} cannot be read as CSV: {error}.") from None
    if not experts:
        raise InputError(f"{name} has no model.")
    library = Library(experts)  # raises where two share a name
    return LoadedLibrary(file_id, name, {one.name: one for one in library})


def _read_expert(place: str, row: dict[str, Any]) -> Expert:
    try:
        return Expert.from_dict(row)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _json_rows(name: str, text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield the place and the fields of each model; `tryage models` prints {"given": name}."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        lines = enumerate(text.split("\n"), 1)  # other separators may stand in a text of JSON
        data = [_json_line(name, i, line) for i, line in lines if line.strip()]
    if isinstance(data, dict):
        data = data.get("library", [data])
    if not isinstance(data, list):
        raise InputError(f"{name} is a {type(data).__name__}; expected a list of models.")
    for number, row in enumerate(data, start=1):
        fields = {"name": row} if isinstance(row, str) else row
        if not isinstance(fields, dict):
            raise InputError(f"{name}, model {number} is no object: {json.dumps(row)[:60]}.")
        yield f"{name}, model {number}", _without_findings(fields)


def _json_line(name: str, number: int, line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}, line {number} is not JSON: {error}.") from None


def _without_findings(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an expert, of a row of `tryage models check --json` the name."""
    return {"name": fields["given"]} if "given" in fields and "name" not in fields else fields


def _csv_rows(name: str, text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or ()
    if "name" not in columns:
        raise InputError(f"{name} has no column 'name'; its columns are {list(columns)!r:.200}.")
    for column in columns:
        if column not in FIELDS:
            raise InputError(
                f"{name}: {column!r:.60} is no field of a model.{did_you_mean(column, FIELDS)}"
            )
    for number, row in enumerate(reader, start=2):
        place = f"{name}, line {number}"
        if None in row:
            raise InputError(f"{place} has more values than there are columns.")
        yield place, {key: _cell(place, key, value) for key, value in row.items() if value}


def _cell(place: str, column: str, text: str) -> object:
    if column in _LIST_FIELDS:
        return [part.strip() for part in text.split("|")]
    if column in NUMBER_RANGES and column != "released":
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{place}: {column} is {text!r:.40}, expected a number.") from None
    return text
