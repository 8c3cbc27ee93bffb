"""Benchmark results of models: `evalResults`, model index and leaderboards, with trust weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.hub.model import Fact
from tryage.hub.record import (
    HubRecord,
    as_bool,
    as_datetime,
    as_list,
    as_mapping,
    as_model_name,
    as_str,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator, Mapping

    from tryage.hub.model import Model
    from tryage.hub.record import ParsedRecord

# One result, JSON-safe: origin, dataset, task, metric, value, verified, weight, date, source.
EvaluationResult: TypeAlias = dict[str, Any]

# How far a result is trusted, from 0 to 1; `inherit` lowers it for results of a base.
SOURCE_WEIGHTS: Mapping[tuple[str, bool], float] = {
    ("evalResults", True): 1.0,
    ("evalResults", False): 0.5,
    ("model-index", True): 0.5,  # the Hub checked the number, not the choice of the benchmark
    ("model-index", False): 0.2,
    ("leaderboard", True): 0.8,
    ("leaderboard", False): 0.5,
}

OPEN_PULL_REQUEST_FACTOR = 0.5  # the owner of the repository has not accepted the result yet

_MAX_RESULTS = 64


def parse_quality(record: ParsedRecord) -> dict[str, Fact]:
    """Return the fact `quality`: the results of `evalResults`, then those of the model index.

    Scores keep the unit of their source and are not losses. Popularity is not quality.
    """
    rows = [*_parse_eval_results(record.raw.get("evalResults")), *_parse_model_index(record)]
    return quality_fact(rows, record.fetched_at)


def parse_leaderboard(
    dataset: str, records: Iterable[HubRecord], fetched_at: datetime.datetime
) -> dict[str, tuple[EvaluationResult, ...]]:
    """Return the results of one data set's leaderboard by model name.

    `records` is the answer of `GET /api/datasets/{id}/leaderboard`; a row without a model or a
    number is left out.
    """
    rows_by_model: dict[str, list[EvaluationResult]] = {}
    for record in records:
        entry = as_mapping(record)
        name, value = as_model_name(entry.get("modelId")), _parse_score(entry.get("value"))
        if name is not None and value is not None:
            row = _make_result("leaderboard", value, as_bool(entry.get("verified")) or False)
            row["dataset"], row["date"] = dataset, fetched_at.date().isoformat()
            _set_source(row, entry.get("source"))
            if entry.get("pullRequest") is not None:
                row["weight"] *= OPEN_PULL_REQUEST_FACTOR
            rows_by_model.setdefault(name, []).append(row)
    return {name: tuple(rows[:_MAX_RESULTS]) for name, rows in rows_by_model.items()}


def with_results(model: Model, results: Iterable[EvaluationResult]) -> Model:
    """Return the model with these results added.

    A leaderboard repeats results of `evalResults`: the same score of a data set is added once.
    """
    fact = model.facts.get("quality")
    old_rows = () if fact is None else fact.value
    old_scores = {(row.get("dataset"), row["value"]) for row in old_rows}
    new_rows = [row for row in results if (row.get("dataset"), row["value"]) not in old_scores]
    return model.with_facts(quality_fact([*old_rows, *new_rows], model.fetched_at))


def merge_results(
    old_facts: Mapping[str, Fact], dataset: str, new_facts: Mapping[str, Fact]
) -> dict[str, Fact]:
    """Return a model's results of all leaderboards, with those of one data set replaced."""
    old_fact, new_fact = old_facts.get("quality"), new_facts.get("quality")
    rows = (
        [row for row in old_fact.value if row["dataset"] != dataset] if old_fact is not None else []
    )
    fetched_at = max(
        (fact.fetched_at for fact in (old_fact, new_fact) if fact is not None), default=None
    )
    if fetched_at is None:
        return {}
    return quality_fact([*rows, *(new_fact.value if new_fact is not None else ())], fetched_at)


def quality_fact(
    results: Iterable[EvaluationResult], fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Return the fact `quality` with these results, most trusted first; empty without results."""
    rows = tuple(sorted(results, key=lambda row: -float(row["weight"]))[:_MAX_RESULTS])
    if not rows:
        return {}
    origins = ", ".join(sorted({str(row["origin"]) for row in rows}))
    return {"quality": Fact(rows, origins, fetched_at, max(row["weight"] for row in rows))}


def _parse_eval_results(value: object) -> Iterator[EvaluationResult]:
    """Read `evalResults` of the raw record; the class of huggingface_hub drops `verified`."""
    for entry in as_list(value)[:_MAX_RESULTS]:
        wrapper = as_mapping(entry)
        data = as_mapping(wrapper.get("data")) or wrapper
        dataset = as_mapping(data.get("dataset"))
        score = _parse_score(data.get("value"))
        if score is None or as_str(dataset.get("id")) is None:
            continue
        row = _make_result("evalResults", score, as_bool(wrapper.get("verified")) or False)
        _set_texts(row, dataset=dataset.get("id"), task=dataset.get("task_id"))
        _set_source(row, data.get("source"))
        date = as_datetime(data.get("date"))
        if date is not None:
            row["date"] = date.date().isoformat()
        if wrapper.get("pullRequest") is not None:
            row["weight"] *= OPEN_PULL_REQUEST_FACTOR
        yield row


def _parse_model_index(record: ParsedRecord) -> Iterator[EvaluationResult]:
    """Read the model index of the record, else of the model card."""
    models = as_list(record.raw.get("model-index")) or as_list(record.card.get("model-index"))
    for model in models[:4]:
        for entry in as_list(as_mapping(model).get("results"))[:_MAX_RESULTS]:
            result = as_mapping(entry)
            dataset, task = as_mapping(result.get("dataset")), as_mapping(result.get("task"))
            for metric_entry in as_list(result.get("metrics"))[:_MAX_RESULTS]:
                metric = as_mapping(metric_entry)
                score = _parse_score(metric.get("value"))
                if score is not None:
                    row = _make_result(
                        "model-index", score, as_bool(metric.get("verified")) or False
                    )
                    dataset_name = as_str(dataset.get("type")) or dataset.get("name")
                    _set_texts(
                        row, dataset=dataset_name, task=task.get("type"), metric=metric.get("type")
                    )
                    _set_source(row, result.get("source"))
                    yield row


def _make_result(origin: str, value: float, verified: bool) -> EvaluationResult:
    return {
        "origin": origin,
        "value": value,
        "verified": verified,
        "weight": SOURCE_WEIGHTS[origin, verified],
    }


def _set_texts(row: EvaluationResult, **texts: object) -> None:
    """Add the texts that are known."""
    for name, value in texts.items():
        word = as_str(value)
        if word is not None:
            row[name] = word


def _set_source(row: EvaluationResult, source: object) -> None:
    block = as_mapping(source)
    _set_texts(row, source=as_str(block.get("url")) or block.get("name"))


def _parse_score(value: object) -> float | None:
    """Return a finite score; it may be negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if abs(score) < 1e12 else None  # also refuses NaN
