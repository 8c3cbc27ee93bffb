"""`tryage traffic`: show, export and prune the log of traffic, and give feedback."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from tryage.cli.options import JsonFlag, format_count
from tryage.cli.outputs import check_output_file
from tryage.cli.terminal import echo

if TYPE_CHECKING:
    from tryage.traffic.traffic import Traffic

app = typer.Typer(
    help="The log of decisions, outcomes and feedback that a router with traffic= writes.",
    no_args_is_help=True,
)

LogUrl: TypeAlias = Annotated[
    str, typer.Option("--traffic", metavar="URL", help="The log of the traffic.")
]
Key: TypeAlias = Annotated[
    str | None, typer.Option(metavar="KEY", help="Only what belongs to one thread or user.")
]

_DEFAULT_URL = "sqlite:///tryage.db"

_LINES = {
    "decisions": "decisions",
    "outcomes": "outcomes of answers",
    "feedback": "feedback",
    "pending_feedback": "feedback whose decision is not there",
    "events": "events, such as alarms",
    "snapshots": "snapshots of what was learned",
}


@app.command()
def show(url: LogUrl = _DEFAULT_URL, as_json: JsonFlag = False) -> None:
    """Show how much the log holds."""
    with _open(url) as log:
        counts = log.counts()
        if as_json:
            echo(json.dumps(counts))
            return
        echo(repr(log))
    for name, words in _LINES.items():
        echo(f"{format_count(counts[name]):>10}  {words}")
    if counts["first_pending"] is not None:
        echo(
            "Feedback waits for decisions that another process may still write, or that were lost; "
            f"the oldest since {_format_time(counts['first_pending'])}."
        )
    if counts["first"] is not None:
        echo(f"Decisions from {_format_time(counts['first'])} to {_format_time(counts['last'])}.")


@app.command()
def export(
    output: Annotated[
        Path,
        typer.Argument(metavar="FILE", callback=check_output_file, help="The file to write."),
    ],
    url: LogUrl = _DEFAULT_URL,
    key: Key = None,
) -> None:
    """Write the log as JSON lines: each decision with all that is kept about it."""
    with _open(url) as log:
        echo(f"{log.export(output, key=key):,} decisions written to {output}")


@app.command()
def prune(
    days: Annotated[
        float, typer.Option(min=0, help="Delete what is older than so many days, such as 90.")
    ],
    url: LogUrl = _DEFAULT_URL,
    key: Key = None,
) -> None:
    """Delete what is old, or with --days 0 --key KEY all that belongs to one thread or user."""
    with _open(url) as log:
        deleted = {name: count for name, count in log.prune(days, key=key).items() if count}
    counts = ", ".join(f"{count:,} {name}" for name, count in deleted.items())
    echo(f"Deleted: {counts or 'nothing'}.")


@app.command()
def feedback(
    decision_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the decision.")],
    score: Annotated[
        float, typer.Argument(metavar="SCORE", min=0, max=1, help="From 0 to 1; 1 is best.")
    ],
    url: LogUrl = _DEFAULT_URL,
    kind: Annotated[str, typer.Option(help="What measured it.")] = "thumb",
    comment: Annotated[str | None, typer.Option(help="Your own words; they are kept.")] = None,
    feedback_id: Annotated[
        str | None, typer.Option("--id", help="Feedback with an id that is there changes nothing.")
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help="Which expert answered, if the log does not say so.")
    ] = None,
) -> None:
    """Say how good an answer was; routers that use the log learn from it."""
    from tryage.traffic.decision_log import make_feedback

    given: Any = {"kind": kind, "comment": comment, "feedback_id": feedback_id, "expert": expert}
    with _open(url) as log:
        is_new = log.add_feedback(make_feedback(decision_id, score, **given))
        is_known = log.has_decision(decision_id)
    if not is_new:
        echo("The log has this feedback already.")
    elif is_known:
        echo("Noted.")
    else:
        echo(f"Noted; it counts when the decision {decision_id} is there.")


def _open(url: str) -> Traffic:
    from tryage.traffic.traffic import Traffic

    return Traffic(url, create=False)


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
