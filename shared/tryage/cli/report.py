"""`tryage report`: what the log of traffic shows, as text, as Markdown or as one HTML page."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tryage.cli.options import JsonFile
from tryage.cli.outputs import check_output_file, write_json
from tryage.cli.terminal import echo
from tryage.core.printable import escape_control_characters
from tryage.errors import InputError
from tryage.files import write_text

if TYPE_CHECKING:
    from tryage.learning.traffic_report.summary import TrafficReport

_DATE_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]


Days: TypeAlias = Annotated[
    float | None, typer.Option(min=0, help="Only the last days, such as 7 or .5.")
]

Since: TypeAlias = Annotated[
    datetime | None, typer.Option(formats=_DATE_FORMATS, help="Only from this time on, UTC.")
]

Until: TypeAlias = Annotated[
    datetime | None, typer.Option(formats=_DATE_FORMATS, help="Only before this time, UTC.")
]

RatingKind: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The only feedback that counts as a rating, such as judge."),
]


class ReportFormat(str, Enum):
    """How the report is written."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"


_FORMAT_OF_SUFFIX = {
    ".html": ReportFormat.HTML,
    ".htm": ReportFormat.HTML,
    ".md": ReportFormat.MARKDOWN,
    ".txt": ReportFormat.TERMINAL,
}


def report(
    traffic: Annotated[
        str, typer.Option("--traffic", metavar="URL", help="The log of the traffic.")
    ] = "sqlite:///tryage.db",
    form: Annotated[
        ReportFormat | None,
        typer.Option(
            "--format", help="By default that of the output's suffix: .html or .md; else terminal."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            callback=check_output_file,
            help="The file to write; by default the report is printed.",
        ),
    ] = None,
    days: Days = None,
    since: Since = None,
    until: Until = None,
    kind: RatingKind = None,
    as_json: JsonFile = None,
) -> None:
    """Report what the traffic cost, how good the answers were, and which router is better."""
    first, last = read_period(days, since, until)
    found = _read_report(traffic, first, last, kind)
    if as_json is not None:
        write_json(as_json, found.to_dict())
    _write(found, form or _default_format(output), output)


def read_period(
    days: float | None, since: datetime | None, until: datetime | None
) -> tuple[float | None, float | None]:
    """Return the first and the last time of the period in seconds since 1970, None for no limit.

    Raises:
        InputError: the options contradict each other.
    """
    if days is not None and since is not None:
        raise InputError("--days and --since both say where the period starts; give one.")
    first = None if since is None else since.replace(tzinfo=timezone.utc).timestamp()
    last = None if until is None else until.replace(tzinfo=timezone.utc).timestamp()
    if days is not None:
        first = (time.time() if last is None else last) - 86_400 * days
    if first is not None and last is not None and first >= last:
        raise InputError(f"--since {since} is not before --until {until}.")
    return first, last


def _default_format(output: Path | None) -> ReportFormat:
    suffix = "" if output is None else output.suffix.lower()
    return _FORMAT_OF_SUFFIX.get(suffix, ReportFormat.TERMINAL)


def _read_report(
    url: str, first: float | None, last: float | None, kind: str | None
) -> TrafficReport:
    from tryage.learning.traffic_report.summary import read_report
    from tryage.traffic.traffic import Traffic

    with Traffic(url, create=False) as traffic:
        return read_report(traffic, first, last, kind=kind)


def _write(report: TrafficReport, form: ReportFormat, output: Path | None) -> None:
    """Write the report to a file, or print it."""
    from tryage.learning.traffic_report.documents import to_html, to_markdown

    if form is ReportFormat.TERMINAL and output is None and _is_rich_terminal():
        _print_with_rich(to_markdown(report))
        return
    text = to_html(report) if form is ReportFormat.HTML else to_markdown(report)
    if output is None:
        echo(text.rstrip("\n"))
        return
    # A prompt may hold half of a surrogate pair, which no file can.
    write_text(output, text.encode("utf-8", "backslashreplace").decode("utf-8"))
    echo(f"Written to {output}")


def _is_rich_terminal() -> bool:
    """Tell whether a person reads the output and rich is there to set it."""
    if not sys.stdout.isatty():
        return False
    from importlib.util import find_spec

    return find_spec("rich") is not None


def _print_with_rich(markdown: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(escape_control_characters(markdown), hyperlinks=False))
