"""Commands about the Hub: `sync` fetches facts about models, `search` and `show` print them."""

from __future__ import annotations

import datetime
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from tryage.cli.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_UNFINISHED,
    JsonFlag,
    format_count,
    format_value,
)
from tryage.cli.terminal import (
    echo,
    echo_error,
    echo_json,
    echo_table,
    format_table,
    shows_progress,
)
from tryage.errors import CatalogueError, FlagError, HubError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tryage.hub.catalog import Catalogue
    from tryage.hub.catalog_query import CatalogRow, Query
    from tryage.hub.catalog_sync import SyncReport
    from tryage.hub.model import Model

app = typer.Typer(
    help="Facts about models on the Hugging Face Hub. A catalogue on this machine keeps them.",
    no_args_is_help=True,
)

CatalogPath: TypeAlias = Annotated[
    Path | None,
    typer.Option("--catalogue", metavar="PATH", help="The catalogue's file, if not the default."),
]

_COLUMNS: tuple[tuple[str, Callable[[CatalogRow], str]], ...] = (
    ("name", lambda row: row.name),
    ("task", lambda row: format_value(row.task)),
    ("license", lambda row: format_value(row.license)),
    ("size", lambda row: format_count(row.parameters)),
    ("released", lambda row: _format_released(row.released)),
    ("downloads", lambda row: format_count(row.downloads)),
    ("$/M in", lambda row: format_value(row.input_price)),
    ("$/M out", lambda row: format_value(row.output_price)),
    ("context", lambda row: format_count(row.context_length)),
    ("gated", lambda row: format_value(row.gated)),
)

_COUNT_FACTS = frozenset(
    ("parameters", "active_parameters", "context_length", "max_context_length", "weight_bytes")
)

_RESUME_HINT = "What was fetched is kept: the same command resumes from there."


@app.command()
def sync(
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Only the N most downloaded models, and the models that providers serve; "
            "without it, the 20,000 most downloaded and all that changed since the last sync.",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Fetch all models: takes an hour and thousands of requests."),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option("--refresh", help="List the models again, even if the catalogue is fresh."),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also fetch this model; may be repeated."),
    ] = None,
    leaderboard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET", help="Fetch the results of this leaderboard: Idavidrein/gpqa"
        ),
    ] = None,
    served: Annotated[
        bool, typer.Option(help="Fetch the models that providers serve, and their prices.")
    ] = True,
    catalogue: CatalogPath = None,
) -> None:
    """Bring the catalogue up to date.

    The same command resumes a stopped run.
    """
    from tryage.hub import catalog_sync
    from tryage.hub.client import HubClient

    overrides: dict[str, Any] = {"refresh": datetime.timedelta(0)} if refresh else {}
    with (
        _open_catalog(catalogue, create=True) as catalog,
        HubClient() as client,
        _progress_bars() as progress,
    ):
        try:
            report = catalog_sync.sync(
                client, catalog, limit=limit, full=full, names=model or (),
                leaderboards=leaderboard or (), served=served, progress=progress, **overrides,
            )  # fmt: skip
        except KeyboardInterrupt:
            echo_error(
                f"Stopped. The catalogue is unchanged, {_format_age(catalog)}. {_RESUME_HINT}"
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except HubError:
            echo_error(f"The catalogue is unchanged, {_format_age(catalog)}. {_RESUME_HINT}")
            raise
        _print_report(catalog, report)


def _print_report(catalog: Catalogue, report: SyncReport) -> None:
    """Print what a sync changed, and on stderr what it could not fetch."""
    counts = {
        "new": report.new,
        "changed": report.changed,
        "renamed": report.renamed,
        "deleted": report.deleted,
    }
    parts = [f"{count:,} {word}" for word, count in counts.items() if count]
    echo(
        f"{report.models:,} models ({', '.join(parts) or 'nothing changed'}) after "
        f"{report.requests:,} requests and {report.seconds:.1f} s, in {catalog.path}"
    )
    if report.missing:
        echo_error(f"The Hub has no model {', '.join(report.missing)}.")
    if report.unanswered:
        names = ", ".join(report.unanswered[:5]) + (" ..." if len(report.unanswered) > 5 else "")
        echo_error(
            f"The Hub did not answer about {len(report.unanswered):,} models, which are unchanged: "
            f"{names}"
        )
    if report.unreadable:
        echo_error(
            f"{report.unreadable:,} records of the Hub had no name or no _id and were left out."
        )
    if report.missing:
        raise typer.Exit(EXIT_FAILED)
    if report.unanswered:
        raise typer.Exit(EXIT_UNFINISHED)


@contextmanager
def _progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each stage if stderr is a terminal; otherwise print nothing."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def progress(stage: str, n_done: int, total: int | None) -> None:
        if stage not in bars:
            for other in bars.values():
                other.close()
            bars[stage] = tqdm(
                desc=stage, total=total, unit="", file=sys.stderr, disable=not shows_progress()
            )
        bars[stage].update(n_done - bars[stage].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="A part of the name.")] = None,
    task: Annotated[str | None, typer.Option(help="Such as text-generation.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag of the model; may be repeated: gguf, fr")
    ] = None,
    license_: Annotated[
        list[str] | None, typer.Option("--license", help="One of these licences: apache-2.0")
    ] = None,
    author: Annotated[str | None, typer.Option(help="The user or organisation.")] = None,
    min_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The fewest parameters: 1B")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The most parameters: 9B")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="The earliest release: 2025-01")
    ] = None,
    gated: Annotated[
        bool | None, typer.Option(help="Only models with, or without, an agreement to accept.")
    ] = None,
    served: Annotated[
        bool | None, typer.Option(help="Only models that providers serve, or do not serve.")
    ] = None,
    sort: Annotated[str, typer.Option(help="downloads, likes, released, parameters ...")] = (
        "downloads"
    ),
    limit: Annotated[int, typer.Option(metavar="N", help="The number of lines.")] = 20,
    catalogue: CatalogPath = None,
    as_json: JsonFlag = False,
) -> None:
    """List the models that meet all conditions.

    A "-" is an unknown value, which meets no condition.
    """
    from tryage.hub.catalog_query import Query

    query = Query(
        task=task, tags=tag or (), license=license_ or (), author=author, search=text,
        min_parameters=_parse_size(min_size, "--min-size"),
        max_parameters=_parse_size(max_size, "--max-size"),
        since=_parse_since(since), gated=gated, served=served, sort=sort, limit=limit,
    )  # fmt: skip
    with _open_catalog(catalogue) as catalog:
        catalog_rows = catalog.search(query)
        if as_json:
            for row in catalog_rows:
                echo_json(_row_to_dict(row))
            return
        if catalog_rows:
            rows = [[format_cell(row) for _, format_cell in _COLUMNS] for row in catalog_rows]
            echo_table([[heading for heading, _ in _COLUMNS], *rows], 3)
        echo(_footer(catalog, query, len(catalog_rows)))


def _parse_size(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    value: float = _parse_requirement_value(f"size<={text}", f"{option} {text!r}", "7B or 350M")
    return value


def _parse_since(text: str | None) -> datetime.date | None:
    if text is None:
        return None
    value: datetime.date = _parse_requirement_value(
        f"since={text}", f"--since {text!r}", "2025-01-31"
    )
    return value


def _parse_requirement_value(item: str, option: str, example: str) -> Any:  # noqa: ANN401 - a size or a date
    """Read a value with the grammar of flags."""
    from tryage.core.flag_items import parse_item

    parsed_item = parse_item(item)
    if parsed_item is None or parsed_item.requirement is None:
        raise FlagError(f"{option} cannot be read; write it as {example}.")
    return parsed_item.requirement.value


def _row_to_dict(row: CatalogRow) -> dict[str, Any]:
    """Return the known fields of a row, JSON-safe."""
    fields = {name: value for name, value in row._asdict().items() if value is not None}
    if row.released is not None:
        fields["released"] = _format_released(row.released)
    for name in ("modified", "seen"):
        if name in fields:
            moment = datetime.datetime.fromtimestamp(fields[name], datetime.timezone.utc)
            fields[name] = moment.isoformat(timespec="seconds")
    if row.capabilities is not None:
        fields["capabilities"] = row.capabilities.split()
    return fields


def _format_released(ordinal: int | None) -> str:
    return "-" if ordinal is None else datetime.date.fromordinal(ordinal).isoformat()


def _footer(catalog: Catalogue, query: Query, n_shown: int) -> str:
    from tryage.hub.catalog import explain_no_match

    n_found = catalog.count(query)
    size = f"{len(catalog):,} models, {_format_age(catalog)}"
    if not n_found:
        return f"No model fits among {size}.{explain_no_match(catalog, query)}"
    return f"{n_shown:,} of {n_found:,} that fit, among {size}; - is unknown."


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model: org/name")],
    catalogue: CatalogPath = None,
    as_json: JsonFlag = False,
) -> None:
    """Show all that is known about a model.

    Every fact has its source, its date and its confidence.
    """
    with _open_catalog(catalogue) as catalog:
        model = catalog.get(name)
        if model is None:
            raise InputError(
                f"The catalogue has no model {name!r:.200}.{catalog.suggest_names(name)}"
            )
        deleted_at = catalog.deleted_at(name)
        if as_json:
            data = {**model.to_dict(), "gone": deleted_at and deleted_at.isoformat()}
            echo_json(data)
            return
        for line in _model_lines(model, deleted_at):
            echo(line.rstrip())
        echo(f"\nThe catalogue is {_format_age(catalog)}; - is unknown.")


def _model_lines(model: Model, deleted_at: datetime.datetime | None) -> list[str]:
    """Write a model as its address, its metadata, its facts and its evaluation results."""
    lines = [f"{model.name}  https://huggingface.co/{model.name}"]
    if deleted_at is not None:
        lines.append(f"Not on the Hub since {deleted_at:%Y-%m-%d}; these are its last known facts.")
    lines += [*format_table(_metadata_rows(model), 2), "", *format_table(_fact_rows(model), 5)]
    results = _result_rows(model)
    return [*lines, "", *format_table(results, 6)] if results else lines


def _metadata_rows(model: Model) -> list[list[str]]:
    """Return what the Hub itself says about a model, as rows of name and value."""
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
    return [[label, format_value(value)] for label, value in rows.items() if value is not None]


def _fact_rows(model: Model) -> list[list[str]]:
    """Return all facts with their provenance; `_result_rows` holds the evaluation results."""
    rows = [["fact", "value", "sure", "seen", "from"]]
    for name, fact in sorted(model.facts.items()):
        if name != "quality":
            value, confidence = _format_fact(name, fact.value), f"{fact.confidence:.0%}"
            rows.append([name, value, confidence, f"{fact.fetched_at:%Y-%m-%d}", fact.source])
    return rows


def _format_fact(name: str, value: Any) -> str:  # noqa: ANN401 - each fact has its own type
    if name in _COUNT_FACTS:
        return format_count(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list, frozenset)):
        return ", ".join(map(str, sorted(value))) or "none"
    return format_value(value)


def _result_rows(model: Model) -> list[list[str]]:
    """Return the evaluation results, if there are any; scores are in the unit of their source."""
    results = model.value("quality")
    if not results:
        return []
    header = ["measured", "metric", "score", "weight", "seen", "by"]
    return [header, *map(_result_row, results)]


def _result_row(result: Mapping[str, Any]) -> list[str]:
    benchmark = " ".join(str(result[key]) for key in ("dataset", "task") if result.get(key))
    base = f"base {result['base']}" if result.get("base") else None
    origin = ", ".join(filter(None, (result["origin"], base, result.get("source"))))
    weight, date = f"{result['weight']:.2f}", result.get("date", "-")
    return [
        benchmark,
        result.get("metric", ""),
        format_value(result["value"]),
        weight,
        date,
        origin,
    ]


@contextmanager
def _open_catalog(path: Path | None, *, create: bool = False) -> Iterator[Catalogue]:
    """Open the catalogue; without `create` it must hold models."""
    from tryage.hub.catalog import Catalogue

    with Catalogue(path) as catalog:
        if not create and not (catalog.path.exists() and len(catalog)):
            raise CatalogueError(
                f"The catalogue {catalog.path} is empty. Fill it with: tryage hub sync"
                + (f" --catalogue {path}" if path else "")
            )
        yield catalog


def _format_age(catalog: Catalogue) -> str:
    """Write how long ago the catalogue was synced, in words."""
    age = catalog.age()
    if age is None:
        return "never fully synced"
    seconds = age.total_seconds()
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        number = int(seconds // size)
        if number:
            return f"{number:,} {unit}{'' if number == 1 else 's'} old"
    return "less than a minute old"
