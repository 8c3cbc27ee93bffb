"""Commands about callable models: `show` and `check` print facts, `update` renews them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.options import JsonFlag, format_count, format_value
from tryage.cli.terminal import echo, echo_error, echo_json, echo_table, format_table
from tryage.core.costs import UNKNOWN_PRICES
from tryage.errors import CatalogueError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.models.results import PublishedResult
    from tryage.models.snapshot import KnownModel, ModelSnapshot

app = typer.Typer(
    help="Facts about models that can be called: prices, limits, abilities, dates.",
    no_args_is_help=True,
)

_UNKNOWN_PRICE = (
    f"it counts as {UNKNOWN_PRICES}, with a weight on cost as the dearest, and "
    "max_cost leaves it out"
)

# The facts that routing uses, with what is assumed while one is unknown.
_ASSUMPTIONS = {
    "input_price": _UNKNOWN_PRICE,
    "output_price": _UNKNOWN_PRICE,
    "context_length": "conversations of any length are sent to it",
    "released": "how well it answers is guessed without its age",
    "capabilities": "conversations with tools, pictures and files are sent to it",
}

_PRICES = ("input_price", "output_price", "cached_input_price", "cache_write_price")
_COUNTS = ("context_length", "output_limit")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="In any spelling: openai:gpt-5.4-mini@high")
    ],
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server that is called; this machine costs nothing."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show all that is known of a model.

    Every fact has its source, its date and its confidence. Prices are USD per million tokens.
    Below the facts are published results: how good the model is.
    """
    from tryage.models.lookup import look_up
    from tryage.models.refresh import current_snapshot
    from tryage.models.results import find_results

    snapshot = current_snapshot()
    model = look_up(name, base_url=base_url, snapshot=snapshot)
    if model is None:
        raise InputError(_unknown_name(name, snapshot))
    results = sorted(find_results(name), key=_result_order)
    if as_json:
        echo_json(_to_dict(model, snapshot, results))
        return
    echo(model.name + _describe_spelling(model))
    rows = [
        [field.replace("_", " "), _format_fact(field, fact.value), fact.source,
         format_value(fact.date), f"{fact.confidence:.0%}"]
        for field, fact in sorted(model.facts.items())
    ]  # fmt: skip
    _echo_rows(["fact", "value", "source", "date", "confidence"], rows)
    _echo_results(results)
    _echo_age(snapshot)


@app.command()
def check(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="The models of a router, in any spelling.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Tell what is known of models, what is missing, what is assumed, and how to mend it."""
    from tryage.models.lookup import look_up
    from tryage.models.refresh import current_snapshot

    snapshot = current_snapshot()
    models = [look_up(name, snapshot=snapshot) for name in names]
    missing = [_missing_facts(model) for model in models]
    if as_json:
        for name, model, fields in zip(names, models, missing, strict=True):
            record = {"given": name, "model": model and model.name, "missing": fields}
            echo_json(record)
        return
    header = ["name", "model", "$/M in", "$/M out", "context", "released", "missing"]
    echo_table([header, *map(_check_row, names, models, missing)], 2)
    for name, model, fields in zip(names, models, missing, strict=True):
        if fields:
            _echo_missing(name, model, fields, snapshot)
    _echo_age(snapshot)


@app.command()
def update(
    source: Annotated[
        str,
        typer.Argument(metavar="URL|FILE", help="A snapshot: an address with https, or a file."),
    ],
) -> None:
    """Replace the facts about models with those of a newer snapshot.

    All is checked before anything is replaced; after an error the old facts are used.
    """
    from tryage.models.refresh import (
        current_snapshot,
        describe_age,
        snapshot_path,
        update_snapshot,
    )

    try:
        snapshot, is_new = update_snapshot(source)
    except (CatalogueError, InputError):
        age = describe_age(current_snapshot())
        echo_error(f"The facts about models are unchanged; they are {age}.")
        raise
    verb = "are now" if is_new else "were already"
    echo(f"The facts about {len(snapshot):,} models {verb} in {snapshot_path()}")
    _echo_age(snapshot)


# --- what is printed --------------------------------------------------------------------------


def _unknown_name(name: str, snapshot: ModelSnapshot) -> str:
    from tryage.models.lookup import canonical_name
    from tryage.models.refresh import describe_age

    suggestions = snapshot.suggest(name)
    hint = f" Did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""
    model = canonical_name(name, snapshot=snapshot)
    read_as = f" It is read as {model!r:.80}." if model and model != name else ""
    age = describe_age(snapshot)
    return f"Nothing is known of {name!r:.80}; the facts are {age}.{read_as}{hint}"


def _describe_spelling(model: KnownModel) -> str:
    """Return what a name says beside the model: " (provider openai, effort high)"."""
    spelling = model.spelling
    parts = {
        "provider": spelling.provider,
        "date": spelling.date,
        "effort": spelling.effort,
        "quantization": spelling.quantization,
    }
    text = ", ".join(f"{word} {value}" for word, value in parts.items() if value is not None)
    return f"  ({text})" if text else ""


def _format_fact(field: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    if field in _PRICES:
        return f"${value:g}"
    return f"{value:,}" if field in _COUNTS else str(value)


def _echo_rows(header: list[str], rows: Sequence[list[str]]) -> None:
    if rows:
        echo()
        for line in format_table([header, *rows], len(header)):
            echo(line.rstrip())


_ARENA = "LMArena"

_MAX_RESULTS = 12  # of the first sources; --json has all


def _result_order(result: PublishedResult) -> tuple[bool, bool, str]:
    """Return the key that sorts results: the index of all, those of the arena, all others."""
    from tryage.models.results import INDEX

    return result.category != INDEX, result.source != _ARENA, result.category


def _echo_results(results: Sequence[PublishedResult]) -> None:
    """Print published results, of many only the first."""
    from tryage.models.results import result_sources

    sources = result_sources()
    rows = [
        [one.category.replace("_", " "), f"{one.value:.4g}", format_value(one.effort), one.source,
         sources[one.source]["date"]]
        for one in results[:_MAX_RESULTS]
    ]  # fmt: skip
    _echo_rows(["published result", "value", "effort", "source", "date"], rows)
    if rows:
        more = f"; --json prints {len(results) - len(rows)} more" * (len(results) > len(rows))
        echo(
            f"The index joins all results: 0 is the mean of all models, 1 a deviation above{more}."
        )


def _to_dict(
    model: KnownModel, snapshot: ModelSnapshot, results: Sequence[PublishedResult]
) -> dict[str, Any]:
    spelling = model.spelling
    facts = {
        field: {
            "value": fact.value,
            "source": fact.source,
            "date": fact.date,
            "confidence": fact.confidence,
        }
        for field, fact in model.facts.items()
    }
    return {
        "model": model.name,
        "provider": spelling.provider,
        "date": spelling.date,
        "effort": spelling.effort,
        "quantization": spelling.quantization,
        "facts": facts,
        "results": [
            {
                "category": one.category,
                "value": one.value,
                "effort": one.effort,
                "source": one.source,
            }
            for one in results
        ],
        "made": snapshot.made.isoformat(),
    }


def _echo_age(snapshot: ModelSnapshot) -> None:
    from tryage.models.refresh import describe_age

    echo(f"\nThe facts are {describe_age(snapshot)}; prices are USD per million tokens.")


# --- what is missing --------------------------------------------------------------------------


def _missing_facts(model: KnownModel | None) -> list[str]:
    """Return the fields of an expert that are unknown and that routing would use."""
    if model is None:
        return list(_ASSUMPTIONS)
    from tryage.models.lookup import to_expert

    expert = to_expert(model)
    return [field for field in _ASSUMPTIONS if getattr(expert, field) is None]


def _check_row(name: str, model: KnownModel | None, missing: Sequence[str]) -> list[str]:
    if model is None:
        return [name, "-", "-", "-", "-", "-", "all"]
    return [
        name,
        model.name,
        format_value(model.value("input_price")),
        format_value(model.value("output_price")),
        format_count(model.value("context_length")),
        format_value(model.value("released")),
        ", ".join(field.replace("_", " ") for field in missing) or "nothing",
    ]


def _echo_missing(
    name: str, model: KnownModel | None, missing: Sequence[str], snapshot: ModelSnapshot
) -> None:
    """Print what is assumed while facts are missing, and the line that tells them."""
    echo()
    echo(f"{name}: {_format_missing(missing)} unknown." if model else _unknown_name(name, snapshot))
    for assumption in dict.fromkeys(_ASSUMPTIONS[field] for field in missing):
        echo(f"  Until then {assumption}.")
    arguments = ", ".join(f"{field}=..." for field in missing)
    echo(f"  Tell it: experts=[Expert({name!r}, {arguments})]")
    if model is None:
        echo(f"  Or say which model it is like: experts={{{name!r}: like('gpt-5-mini')}}")


def _format_missing(missing: Sequence[str]) -> str:
    words = [field.replace("_", " ") for field in missing]
    return f"{', '.join(words)} {'is' if len(words) == 1 else 'are'}"
