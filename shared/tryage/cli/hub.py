"""Commands about the Hub: `sync` fetches what is known of models, `search` and `show` tell it."""

from __future__ import annotations

import datetime
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from tryage.cli.options import JsonFlag, format_count, format_table, format_value
from tryage.errors import CatalogueError, FlagError, HubError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tryage.hub.catalog import Catalogue
    from tryage.hub.catalog_query import CatalogRow, Query
    from tryage.hub.catalog_sync import SyncReport
    from tryage.hub.model import Model

EXIT_INTERRUPTED = 130  # what the shell sees after Ctrl-C

app = typer.Typer(
    help="What is known of the models on the Hugging Face Hub, kept on this machine.",
    no_args_is_help=True,
)

CatalogPath: TypeAlias = Annotated[
    Path | None,
    typer.Option("--catalogue", metavar="PATH", help="The catalogue's file, if not the usual one."),
]


@app.command()
def sync(
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only the N most downloaded models, and those served."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="All models: an hour, thousands of requests."),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option("--refresh", help="List models anew, however fresh they are."),
    ] = False,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Fetch this model in any case.")
    ] = None,
    leaderboard: Annotated[
        list[str] | None,
        typer.Option(metavar="DATASET", help="Fetch results: Idavidrein/gpqa"),
    ] = None,
    served: Annotated[
        bool, typer.Option(help="Fetch what providers serve, and for how much.")
    ] = True,
    catalogue: CatalogPath = None,
) -> None:
    """Bring the catalogue up to date; stopped at any moment, it goes on from there."""
    from tryage.hub import catalog_sync as room
    from tryage.hub.client import HubClient

    usual: dict[str, Any] = {"refresh": datetime.timedelta(0)} if refresh else {}
    with (
        _open_catalog(catalogue, create=True) as known,
        HubClient() as client,
        _progress_bars() as progress,
    ):
        try:
            done = room.sync(
                client, known, limit=limit, full=full, names=model or (),
                leaderboards=leaderboard or (), served=served, progress=progress, **usual,
            )  # fmt: skip
        except KeyboardInterrupt:
            _print_stderr(
                f"Stopped. The catalogue is as it was, {_format_age(known)}. {_RESUME_HINT}"
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except HubError:
            _print_stderr(f"The catalogue is as it was, {_format_age(known)}. {_RESUME_HINT}")
            raise
        _print_report(known, done)


def _print_report(catalogue: Catalogue, report: SyncReport) -> None:
    parts = [
        f"{count:,} {word}"
        for count, word in (
            (report.new, "new"),
            (report.changed, "changed"),
            (report.renamed, "renamed"),
            (report.deleted, "gone"),
        )
        if count
    ]
    typer.echo(
        f"{report.models:,} models ({', '.join(parts) or 'nothing changed'}) after "
        f"{report.requests:,} requests and {report.seconds:.1f} s, in {catalogue.path}"
    )
    if report.missing:
        _print_stderr(f"The Hub has no model {', '.join(report.missing)}.")
    if report.unanswered:
        some = ", ".join(report.unanswered[:5]) + (" ..." if len(report.unanswered) > 5 else "")
        _print_stderr(
            f"No answer about {len(report.unanswered):,} models, left as they were: {some}"
        )
    if report.unreadable:
        _print_stderr(
            f"{report.unreadable:,} records of the Hub had no name or no _id and were left out."
        )


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="A part of the name.")] = None,
    task: Annotated[str | None, typer.Option(help="Such as text-generation.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag it has: gguf, fr")] = None,
    license_: Annotated[
        list[str] | None, typer.Option("--license", help="One of these licences: apache-2.0")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who published it.")] = None,
    min_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Parameters: 1B")] = None,
    max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Parameters: 9B")] = None,
    since: Annotated[str | None, typer.Option(metavar="DATE", help="Released: 2025-01")] = None,
    gated: Annotated[
        bool | None, typer.Option(help="Only with, or without, an agreement to accept.")
    ] = None,
    served: Annotated[bool | None, typer.Option(help="Only what providers serve, or not.")] = None,
    sort: Annotated[str, typer.Option(help="downloads, likes, released, parameters ...")] = (
        "downloads"
    ),
    limit: Annotated[int, typer.Option(metavar="N", help="How many lines.")] = 20,
    catalogue: CatalogPath = None,
    as_json: JsonFlag = False,
) -> None:
    """List the models that fit; - is unknown, and what is unknown fits no condition."""
    from tryage.hub.catalog_query import Query

    query = Query(
        task=task, tags=tag or (), license=license_ or (), author=author, search=text,
        min_parameters=_parse_size(min_size, "--min-size"), max_parameters=_parse_size(max_size, "--max-size"),
        since=_parse_since(since), gated=gated, served=served, sort=sort, limit=limit,
    )  # fmt: skip
    with _open_catalog(catalogue) as known:
        found = known.search(query)
        if as_json:
            for entry in found:
                typer.echo(json.dumps(row_to_dict(entry), ensure_ascii=False))
            return
        if found:
            heads = [head for head, _ in COLUMNS]
            for line in format_table(
                [heads, *([show(e) for _, show in COLUMNS] for e in found)], 3
            ):
                typer.echo(line)
        typer.echo(_footer(known, query, len(found)))


def _footer(catalogue: Catalogue, query: Query, shown: int) -> str:
    from tryage.hub.catalog import explain_no_match

    fitting = catalogue.count(query)
    size = f"{len(catalogue):,} models, {_format_age(catalogue)}"
    if not fitting:
        return f"No model fits among {size}.{explain_no_match(catalogue, query)}"
    return f"{shown:,} of {fitting:,} that fit, among {size}; - is unknown."


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model: org/name")],
    catalogue: CatalogPath = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell all that is known of a model: where from, since when, and how sure."""
    with _open_catalog(catalogue) as known:
        model = known.get(name)
        if model is None:
            raise InputError(
                f"The catalogue has no model {name!r:.200}.{known.suggest_names(name)}"
            )
        gone = known.deleted_at(name)
        if as_json:
            data = {**model.to_dict(), "gone": gone and gone.isoformat()}
            typer.echo(json.dumps(data, ensure_ascii=False))
            return
        typer.echo(f"{model.name}  https://huggingface.co/{model.name}")
        if gone is not None:
            typer.echo(f"Gone from the Hub since {gone:%Y-%m-%d}; this is what was known of it.")
        for line in [
            *format_table(identity_rows(model), 2),
            "",
            *format_table(fact_rows(model), 5),
        ]:
            typer.echo(line.rstrip())
        for line in result_lines(model):
            typer.echo(line.rstrip())
        typer.echo(f"\nThe catalogue is {_format_age(known)}; - is unknown.")


def _parse_size(text: str | None, option: str) -> float | None:
    """Read a size as it stands in a flag."""
    return (
        None
        if text is None
        else _parse_requirement_value(f"size<={text}", f"{option} {text!r}", "7B or 350M")
    )


def _parse_since(text: str | None) -> datetime.date | None:
    return (
        None
        if text is None
        else _parse_requirement_value(f"since={text}", f"--since {text!r}", "2025-01-31")
    )


def _parse_requirement_value(item: str, given: str, example: str) -> Any:  # noqa: ANN401 - a size or a date
    from tryage.core.flag_items import parse_item

    found = parse_item(item)
    if found is None or found.requirement is None:
        raise FlagError(f"{given} cannot be read; write it as {example}.")
    return found.requirement.value


@contextmanager
def _open_catalog(path: Path | None, *, create: bool = False) -> Iterator[Catalogue]:
    """Open the catalogue; unless a new one may be made, there has to be something in it."""
    from tryage.hub.catalog import Catalogue

    with Catalogue(path) as catalogue:
        if not create and not (catalogue.path.exists() and len(catalogue)):
            raise CatalogueError(
                f"The catalogue {catalogue.path} is empty. Fill it with: tryage hub sync"
                + (f" --catalogue {path}" if path else "")
            )
        yield catalogue


def _format_age(catalogue: Catalogue) -> str:
    """Say how old the catalogue is."""
    age = catalogue.age()
    if age is None:
        return "never synced to the end"
    seconds = age.total_seconds()
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        number = int(seconds // size)
        if number:
            return f"{number:,} {unit}{'' if number == 1 else 's'} old"
    return "less than a minute old"


_RESUME_HINT = "What was fetched is kept: the same command goes on from there."


def _print_stderr(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each stage on a terminal, and nothing anywhere else."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage not in bars:
            for other in bars.values():
                other.close()
            quiet = not sys.stderr.isatty()
            bars[stage] = tqdm(desc=stage, total=total, unit="", file=sys.stderr, disable=quiet)
        bars[stage].update(done - bars[stage].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


def identity_rows(model: Model) -> list[list[str]]:
    """Return what the Hub itself says of a model, which nobody has to work out."""
    bases = ", ".join(f"{base.name} ({base.relation})" for base in model.bases)
    rows = {
        "author": model.author,
        "task": model.task,
        "library": model.library,
        "made from": bases or None,
        "created": model.created and f"{model.created:%Y-%m-%d}",
        "modified": model.modified and f"{model.modified:%Y-%m-%d}",
        "downloads": None if model.downloads is None else f"{model.downloads:,.0f} in 30 days",
        "likes": None if model.likes is None else f"{model.likes:,.0f}",
        "gated": f"yes, {model.gated}" if model.gated else None if model.gated is None else "no",
        "disabled": "yes" if model.disabled else None,
    }
    return [[head, format_value(value)] for head, value in rows.items() if value is not None]


def fact_rows(model: Model) -> list[list[str]]:
    """Return a table of all facts with their provenance."""
    rows = [["fact", "value", "sure", "seen", "from"]]
    for name, fact in sorted(model.facts.items()):
        if name == "quality":
            continue
        value = _format_fact(name, fact.value)
        rows.append(
            [name, value, f"{fact.confidence:.0%}", f"{fact.fetched_at:%Y-%m-%d}", fact.source]
        )
    return rows


def _format_fact(name: str, value: Any) -> str:  # noqa: ANN401 - each fact has its own type
    if name in _COUNT_FACTS:
        return format_count(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list, frozenset)):
        return ", ".join(map(str, sorted(value))) or "none"
    return format_value(value)


def result_lines(model: Model) -> list[str]:
    """Return what was measured, if anything was; scores are in the unit of their source."""
    found = model.value("quality")
    if not found:
        return []
    rows = [["measured", "metric", "score", "weight", "seen", "by"]]
    for row in found:
        what = " ".join(str(row[key]) for key in ("dataset", "task") if row.get(key))
        base = f"base {row['base']}" if row.get("base") else None
        by = ", ".join(filter(None, (row["origin"], base, row.get("source"))))
        weight, seen = f"{row['weight']:.2f}", row.get("date", "-")
        rows.append([what, row.get("metric", ""), format_value(row["value"]), weight, seen, by])
    return ["", *format_table(rows, 6)]


_COUNT_FACTS = frozenset(
    ("parameters", "active_parameters", "context_length", "max_context_length", "weight_bytes")
)


def _format_released(row: CatalogRow) -> str:
    if row.released is None:
        return "-"
    return datetime.date.fromordinal(row.released).isoformat()


COLUMNS: tuple[tuple[str, Callable[[CatalogRow], str]], ...] = (
    ("name", lambda e: e.name),
    ("task", lambda e: format_value(e.task)),
    ("license", lambda e: format_value(e.license)),
    ("size", lambda e: format_count(e.parameters)),
    ("released", _format_released),
    ("downloads", lambda e: format_count(e.downloads)),
    ("$/M in", lambda e: format_value(e.input_price)),
    ("$/M out", lambda e: format_value(e.output_price)),
    ("context", lambda e: format_count(e.context_length)),
    ("gated", lambda e: format_value(e.gated)),
)


def row_to_dict(row: CatalogRow) -> dict[str, Any]:
    """Return what is known of an entry, JSON-safe."""
    found = {name: value for name, value in row._asdict().items() if value is not None}
    if row.released is not None:
        found["released"] = _format_released(row)
    for name in ("modified", "seen"):
        if name in found:
            moment = datetime.datetime.fromtimestamp(found[name], datetime.timezone.utc)
            found[name] = moment.isoformat(timespec="seconds")
    if row.capabilities is not None:
        found["capabilities"] = row.capabilities.split()
    return found
