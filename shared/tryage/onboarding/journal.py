"""The journal of a test: each answer is written at once, so that none is paid for twice."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tryage.core.validation import check_number, check_words
from tryage.errors import InputError, MeasurementError
from tryage.files import explain_write_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from filelock import BaseFileLock

_KEPT = "All answers before are kept: the same call goes on from there."


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What one model did on one question, which `question` names by the id of its prompt.

    `method` says how the answer was scored. `latency` is in seconds, `cost` and `scoring_cost` are
    in USD; None means unknown. With an `error` there is no `score`, and the next run asks again.
    """

    model: str
    question: str
    method: str
    score: float | None = None
    latency: float | None = None
    output_tokens: float | None = None
    cost: float | None = None
    scoring_cost: float | None = None
    error: str | None = None

    @property
    def spent(self) -> float:
        """What is known to have been paid, in USD."""
        return (self.cost or 0.0) + (self.scoring_cost or 0.0)


_FIELDS = tuple(field.name for field in fields(AnswerRecord))


class AnswerJournal:
    """The records of a test, in the order in which the answers came.

    They stand in a file of JSON lines, if there is one. Only `open_journal` makes a journal with a
    file. Threads may share a journal.
    """

    def __init__(self) -> None:
        self.records: list[AnswerRecord] = []
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._file: TextIO | None = None

    def append(self, record: AnswerRecord) -> None:
        """Keep a record; it is with the operating system when this returns.

        Raises:
            FileWriteError: the disk is full.
        """
        row = {name: value for name, value in asdict(record).items() if value is not None}
        with self._lock:
            self.records.append(record)
            if self._file is None or self._path is None:
                return
            with explain_write_errors(self._path, _KEPT):
                self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
                self._file.flush()

    def open(self, path: Path) -> None:
        """Read the records of a file, and append to it from now on."""
        self.records += _read_records(path)
        self._path, self._file = path, path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Append no more."""
        file, self._file = self._file, None
        if file is not None and self._path is not None:
            with explain_write_errors(self._path, _KEPT):
                file.close()


@contextmanager
def open_journal(path: Path | None) -> Iterator[AnswerJournal]:
    """Open the journal in a file, which is made if it is missing; None keeps it in memory only.

    A line that a kill has cut off is removed.

    Raises:
        InputError: the file cannot be read, or holds anything else than such a journal.
        FileWriteError: it cannot be written.
        MeasurementError: another process writes to the journal.
    """
    journal = AnswerJournal()
    if path is None:
        yield journal
        return
    with explain_write_errors(path, "No model was asked."):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire_lock(path)
    try:
        with explain_write_errors(path, "No model was asked."):
            journal.open(path)
        yield journal
    finally:
        try:
            journal.close()
        finally:
            lock.release()


def _acquire_lock(path: Path) -> BaseFileLock:
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise MeasurementError(
            f"Another process tests models with the journal {path}. Wait until it has finished, or "
            "stop it: what it has asked is kept."
        ) from error
    return lock


def read_journal(path: Path) -> list[AnswerRecord]:
    """Return the records of a journal, without a last line that is not complete.

    Raises:
        InputError: the file cannot be read, or holds anything else than such a journal.
    """
    content = _read(path)
    return _parse_lines(path, content[: content.rfind(b"\n") + 1])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_records(path: Path) -> list[AnswerRecord]:
    """Read the records, and cut off a line without an end."""
    if not path.exists():
        return []
    content = _read(path)
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with path.open("r+b") as file:
            file.truncate(end)
    return _parse_lines(path, content[:end])


def _parse_lines(path: Path, content: bytes) -> list[AnswerRecord]:
    return [_parse(path, i, line) for i, line in enumerate(content.splitlines(), start=1)]


def _parse(path: Path, number: int, line: bytes) -> AnswerRecord:
    try:
        row: dict[str, Any] = json.loads(line)
        record = AnswerRecord(**{name: row[name] for name in _FIELDS if name in row})
        _check_types(record)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}, line {number} is no record of a test of models: {error}. Give another file "
            "as the journal, or remove this line."
        ) from error
    if record.score is None and record.error is None:
        raise InputError(f"{path}, line {number} has neither a score from 0 to 1 nor an error.")
    return record


def _check_types(record: AnswerRecord) -> None:
    """Raise unless every field of a record has a value that its type allows.

    Raises:
        InputError: one has not, which is a ValueError.
    """
    check_words("model, question and method", [record.model, record.question, record.method])
    if record.score is not None:
        check_number("score", record.score, 0.0, 1.0)
    for name in ("latency", "output_tokens", "cost", "scoring_cost"):
        if getattr(record, name) is not None:
            check_number(name, getattr(record, name))
    if not isinstance(record.error, (str, type(None))):
        raise InputError(f"error must be a string, got {type(record.error).__name__}")
