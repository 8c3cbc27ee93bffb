"""Print text on a terminal: without control characters, and tables that fit its width."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from tryage.core.printable import CONTROL_CHARACTERS, escape_control_characters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_UNSAFE_IN_JSON = re.compile(f"[{CONTROL_CHARACTERS}]")


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a text without control characters; a character that stdout lacks becomes an escape."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    safe = escape_control_characters(text)
    typer.echo(safe.encode(encoding, "backslashreplace").decode(encoding), err=err)


def echo_json(value: object) -> None:
    r"""Print JSON on one line; what a terminal obeys, or stdout lacks, is written as `\uXXXX`."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = json.dumps(value, ensure_ascii=not encoding.lower().startswith("utf"))
    typer.echo(_UNSAFE_IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text))


def echo_error(text: str) -> None:
    """Print an error or a warning as one line on stderr."""
    echo(f"tryage: {' '.join(text.split())}", err=True)


def shows_progress() -> bool:
    """Return whether to show progress bars: not in a log or a pipe."""
    return sys.stderr.isatty()


# The packages of a server have loggers of their own.
_LOGGERS = ("tryage", "tryage_langchain", "tryage_server")


class _OneLineHandler(logging.Handler):
    """Prints what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "tryage.router":  # each decision has these warnings, with more detail
            echo_error(record.getMessage())


@contextmanager
def one_line_messages() -> Iterator[None]:
    """Print what the library logs and warns of as lines, without the place in the code."""
    handler = _OneLineHandler(logging.WARNING)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: echo_error(str(message))
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def echo_table(rows: Sequence[Sequence[str]], n_left_aligned: int = 1) -> None:
    """Print rows, the first one the header; on a narrower terminal each row as a paragraph.

    The first `n_left_aligned` columns are aligned to the left and the others to the right.
    """
    lines = format_table(rows, n_left_aligned)
    if sys.stdout.isatty() and max(map(len, lines)) > shutil.get_terminal_size().columns:
        lines = format_paragraphs(rows)
    for line in lines:
        echo(line.rstrip())


def format_table(rows: Sequence[Sequence[str]], n_left_aligned: int = 1) -> list[str]:
    """Align the first `n_left_aligned` columns to the left and the others to the right."""
    # An escape is longer than what it stands for, so the widths are those of the safe cells.
    safe_rows = [[escape_control_characters(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe_rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= n_left_aligned else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in safe_rows
    ]


def format_paragraphs(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write each row as its first cell, and below it the known other cells with their headings."""
    header, *body = rows
    width = max(map(len, header))
    lines: list[str] = []
    for name, *cells in body:
        lines.append(name)
        lines += [
            f"  {heading:<{width}}  {cell}"
            for heading, cell in zip(header[1:], cells, strict=True)
            if cell != "-"
        ]
    return lines
