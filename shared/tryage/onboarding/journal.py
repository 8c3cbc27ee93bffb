"""The journal of a test: each answer is written at once, so that none is paid for twice."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tryage.errors import InputError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO


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
    file.
    """

    def __init__(self) -> None:
        self.records: list[AnswerRecord] = []
        self._file: TextIO | None = None

    def append(self, record: AnswerRecord) -> None:
        """Keep a record; it is with the operating system when this returns."""
        self.records.append(record)
        if self._file is not None:
            row = {name: value for name, value in asdict(record).items() if value is not None}
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()


@contextmanager
def open_journal(path: Path | None) -> Iterator[AnswerJournal]:
    """Open the journal in a file, which is made if it is missing; None keeps it in memory only.

    A line that a kill has cut off is removed.

    Raises:
        InputError: the file holds anything else than such a journal.
        MeasurementError: another process writes to the journal.
    """
    journal = AnswerJournal()
    if path is None:
        yield journal
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise MeasurementError(
            f"Another process tests models with the journal {path}. Wait until it has finished, or "
            "stop it: what it has asked is kept."
        ) from error
    try:
        journal.records += _read_records(path)
        with path.open("a", encoding="utf-8") as file:
            journal._file = file  # noqa: SLF001 - of the class above
            yield journal
    finally:
        journal._file = None  # noqa: SLF001 - of the class above
        lock.release()


def read_journal(path: Path) -> list[AnswerRecord]:
    """Return the records of a journal, without a last line that is not complete.

    Raises:
        InputError: the file cannot be read, or holds anything else than such a journal.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _parse_lines(path, content[: content.rfind(b"\n") + 1])


def _read_records(path: Path) -> list[AnswerRecord]:
    """Read the records, and cut off a line without an end."""
    if not path.exists():
        return []
    content = path.read_bytes()
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
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}, line {number} is no record of a test of models: {error}. Give another file "
            "as the journal, or remove this line."
        ) from error
    is_scored = isinstance(record.score, (int, float)) and 0 <= record.score <= 1
    if not is_scored and record.error is None:
        raise InputError(f"{path}, line {number} has neither a score from 0 to 1 nor an error.")
    return record
