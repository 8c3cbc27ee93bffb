"""The report as a document: Markdown, or one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from tryage.core.printable import escape_markdown
from tryage.core.validation import require_extra
from tryage.learning.traffic_report import charts, text

if TYPE_CHECKING:
    from tryage.learning.traffic_report.summary import TrafficReport
    from tryage.learning.traffic_report.text import Rows

TITLE = "Tryage: report of the traffic"
_TEMPLATE = "page.html.jinja"


def to_markdown(report: TrafficReport) -> str:
    """Return the report as Markdown, with tables that can be read as plain text, too."""
    parts = [f"# {TITLE}", "\n".join(map(escape_markdown, text.headline(report)))]
    for title, lines, rows in _sections(report):
        body = [f"- {escape_markdown(line)}" for line in lines]
        parts += [f"## {title}", *(["\n".join(body)] if body else [])]
        parts += ["\n".join(_markdown_table(rows))] if len(rows) > 1 else []
    return "\n\n".join(parts) + "\n"


def _sections(report: TrafficReport) -> list[tuple[str, list[str], Rows]]:
    """Return the title, the sentences and the table of each section that has anything to say."""
    sections = [
        ("Spending", [], text.spending_rows(report)),
        ("Who got what", [], text.expert_rows(report)),
        (
            "Which router is better",
            text.comparison_sentences(report),
            text.comparison_rows(report),
        ),
        ("Cost and quality", text.front_sentences(report), text.front_rows(report)),
        ("Alarms and events", [], text.alarm_rows(report)),
        ("Surprises", [], text.surprise_rows(report)),
        ("Over time", [], text.bucket_rows(report)),
        ("Notes", text.notes(report), []),
    ]
    return [section for section in sections if section[1] or len(section[2]) > 1]


def _markdown_table(rows: Rows) -> list[str]:
    """Write a table; its columns of numbers are aligned to the right."""
    columns = [[escape_markdown(cell) for cell in column] for column in zip(*rows, strict=True)]
    numeric = [i > 0 and all(_is_number(cell) for cell in one[1:]) for i, one in enumerate(columns)]
    padded = [
        [cell.rjust(width) if is_numeric else cell.ljust(width) for cell in column]
        for column, is_numeric in zip(columns, numeric, strict=True)
        for width in [max(map(len, column))]
    ]
    lines = ["| " + " | ".join(row) + " |" for row in zip(*padded, strict=True)]
    marks = [
        "-" * (len(column[0]) + 1) + (":" if is_numeric else "-")
        for column, is_numeric in zip(padded, numeric, strict=True)
    ]
    return [lines[0], "|" + "|".join(marks) + "|", *lines[1:]]


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "+-$"


def to_html(report: TrafficReport) -> str:
    """Return the report as one page, with its style and its pictures in it.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    require_extra("jinja2", "report")
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = files("tryage.learning.traffic_report").joinpath(_TEMPLATE).read_text("utf-8")
    return environment.from_string(source).render(
        title=TITLE,
        report=report,
        text=text,
        colors=charts.expert_colors(report),
        pictures=_pictures(report),
    )


def _pictures(report: TrafficReport) -> dict[str, str]:
    """Return the pictures that have something to show, by their names in the template."""
    pictures = {"share": charts.draw_share(report)}
    if report.spending.total is not None:
        pictures["spending"] = charts.draw_spending(report)
    if report.quality is not None:
        pictures["quality"] = charts.draw_quality(report)
    if report.front is not None:
        pictures["front"] = charts.draw_front(report, report.front)
    return pictures
