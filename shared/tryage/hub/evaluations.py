"""What others measured about a model: rows with their source and how far to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.hub.model import Fact
from tryage.hub.record import Record, flag, items, mapping, moment, text

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator, Mapping

    from tryage.hub.model import Model
    from tryage.hub.record import Clues

# One result, JSON-safe: origin, dataset, task, metric, value, verified, weight, date, source.
Row: TypeAlias = dict[str, Any]

# How far a row is trusted, between 0 and 1; `inherit` lowers it for rows of a base.
WEIGHTS: Mapping[tuple[str, bool], float] = {
    ("evalResults", True): 1.0,
    ("evalResults", False): 0.5,
    ("model-index", True): 0.5,  # the Hub checked the number, not the choice of it
    ("model-index", False): 0.2,
    ("leaderboard", True): 0.8,
    ("leaderboard", False): 0.5,
}

OPEN_PULL_REQUEST = 0.5  # nobody of the repository has accepted the row yet

_MOST = 64


def read_quality(clues: Clues) -> dict[str, Fact]:
    """Return the fact `quality`: the rows of `evalResults`, then those of the model index.

    Scores keep the unit of their source and are no losses; popularity is no quality.
    """
    rows = [*_evaluations(clues.record.get("evalResults")), *_index(clues)]
    return quality_fact(rows, clues.seen)


def read_leaderboard(
    dataset: str, records: Iterable[Record], seen: datetime.datetime
) -> dict[str, tuple[Row, ...]]:
    """Return the rows of one data set's leaderboard by model name.

    Reads what `GET /api/datasets/{id}/leaderboard` returns; a row without a model or a number is
    left out.
    """
    found: dict[str, list[Row]] = {}
    for record in records:
        entry = mapping(record)
        name, value = text(entry.get("modelId")), _score(entry.get("value"))
        if name is not None and value is not None:
            row = _row("leaderboard", value, flag(entry.get("verified")) or False)
            row["dataset"], row["date"] = dataset, seen.date().isoformat()
            _add_source(row, entry.get("source"))
            if entry.get("pullRequest") is not None:
                row["weight"] *= OPEN_PULL_REQUEST
            found.setdefault(name, []).append(row)
    return {name: tuple(rows[:_MOST]) for name, rows in found.items()}


def with_rows(model: Model, rows: Iterable[Row]) -> Model:
    """Return the model with these results added to those it has.

    A leaderboard lists what `evalResults` has, too: the same score of a data set is added once.
    """
    own = model.facts.get("quality")
    known = () if own is None else own.value
    had = {(row.get("dataset"), row["value"]) for row in known}
    new = [row for row in rows if (row.get("dataset"), row["value"]) not in had]
    return model.with_facts(quality_fact([*known, *new], model.seen))


def joined(known: Mapping[str, Fact], dataset: str, fresh: Mapping[str, Fact]) -> dict[str, Fact]:
    """Return a model's results on leaderboards, those of one data set replaced by fresh ones."""
    held, new = known.get("quality"), fresh.get("quality")
    rows = [row for row in held.value if row["dataset"] != dataset] if held is not None else []
    latest = max((fact.seen for fact in (held, new) if fact is not None), default=None)
    if latest is None:
        return {}
    return quality_fact([*rows, *(new.value if new is not None else ())], latest)


def quality_fact(rows: Iterable[Row], seen: datetime.datetime) -> dict[str, Fact]:
    """Return the fact `quality` of these rows, most trusted first; empty without rows."""
    ordered = tuple(sorted(rows, key=lambda row: -float(row["weight"]))[:_MOST])
    if not ordered:
        return {}
    origins = ", ".join(sorted({str(row["origin"]) for row in ordered}))
    return {"quality": Fact(ordered, origins, seen, max(row["weight"] for row in ordered))}


def _evaluations(value: object) -> Iterator[Row]:
    """Read `evalResults` raw: the client's own class drops `verified`."""
    for entry in items(value)[:_MOST]:
        outer = mapping(entry)
        data = mapping(outer.get("data")) or outer
        dataset = mapping(data.get("dataset"))
        score = _score(data.get("value"))
        if score is None or text(dataset.get("id")) is None:
            continue
        row = _row("evalResults", score, flag(outer.get("verified")) or False)
        _add(row, dataset=dataset.get("id"), task=dataset.get("task_id"))
        _add_source(row, data.get("source"))
        date = moment(data.get("date"))
        if date is not None:
            row["date"] = date.date().isoformat()
        if outer.get("pullRequest") is not None:
            row["weight"] *= OPEN_PULL_REQUEST
        yield row


def _index(clues: Clues) -> Iterator[Row]:
    """Read the model index, in its own field or on the card."""
    listed = items(clues.record.get("model-index")) or items(clues.card.get("model-index"))
    for model in listed[:4]:
        for entry in items(mapping(model).get("results"))[:_MOST]:
            result = mapping(entry)
            dataset, task = mapping(result.get("dataset")), mapping(result.get("task"))
            for measured in items(result.get("metrics"))[:_MOST]:
                metric = mapping(measured)
                score = _score(metric.get("value"))
                if score is not None:
                    row = _row("model-index", score, flag(metric.get("verified")) or False)
                    named = text(dataset.get("type")) or dataset.get("name")
                    _add(row, dataset=named, task=task.get("type"), metric=metric.get("type"))
                    _add_source(row, result.get("source"))
                    yield row


def _row(origin: str, value: float, verified: bool) -> Row:
    return {
        "origin": origin,
        "value": value,
        "verified": verified,
        "weight": WEIGHTS[origin, verified],
    }


def _add(row: Row, **texts: object) -> None:
    """Add those of the texts that are known."""
    for name, value in texts.items():
        word = text(value)
        if word is not None:
            row[name] = word


def _add_source(row: Row, source: object) -> None:
    block = mapping(source)
    _add(row, source=text(block.get("url")) or block.get("name"))


def _score(value: object) -> float | None:
    """Return a finite score; some measures are negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if abs(score) < 1e12 else None  # also refuses NaN
