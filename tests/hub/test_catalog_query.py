"""`Query`: the models that fit, wrong conditions, and the index that SQLite uses."""

from __future__ import annotations

import datetime
import itertools

import pytest

from tryage.errors import InputError
from tryage.hub.catalog_query import INDEXED_SORTS, SORTS, Query, build_select

CREATED = "2024-0{}-01T00:00:00.000Z"


@pytest.fixture
def filled(catalogue, parse):
    chat, mit, gguf = "text-generation", "license:mit", "gguf"

    def bf16(count):
        return {"parameters": {"BF16": count}, "total": count}

    catalogue.put(
        [
            parse("a/one", downloads=10, pipeline_tag=chat, tags=[mit, gguf], likes=1, gated=False,
                 safetensors=bf16(7_000_000_000), createdAt=CREATED.format(1)),
            parse("a/Two", downloads=30, pipeline_tag=chat, tags=["license:apache-2.0"], likes=9,
                 gated="auto", safetensors=bf16(70_000_000_000), createdAt=CREATED.format(5)),
            parse("b/three", downloads=20, pipeline_tag="fill-mask", tags=[mit, "é"], gated=False),
            parse("b/four_%", downloads=None, pipeline_tag=chat, tags=[gguf]),
            parse("b/off", downloads=99, pipeline_tag=chat, disabled=True),
        ]
    )  # fmt: skip
    return catalogue


def names(catalogue, **conditions):
    return [entry.name for entry in catalogue.search(Query(**conditions))]


def test_without_conditions_all_models_are_found_the_most_downloaded_first_and_unknown_last(filled):
    assert names(filled) == ["a/Two", "b/three", "a/one", "b/four_%"]
    assert names(filled, limit=2) == ["a/Two", "b/three"]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({"task": "text-generation"}, ["a/Two", "a/one", "b/four_%"]),
        ({"license": "MIT"}, ["b/three", "a/one"]),
        ({"license": ["mit", "apache-2.0"]}, ["a/Two", "b/three", "a/one"]),
        ({"tags": "gguf"}, ["a/one", "b/four_%"]),
        ({"tags": ["gguf", "license:mit"]}, ["a/one"]),
        ({"tags": ["é"]}, ["b/three"]),
        ({"tags": ["no model has it"]}, []),
        ({"author": "b"}, ["b/three", "b/four_%"]),
        ({"search": "TWO"}, ["a/Two"]),
        ({"search": "_%"}, ["b/four_%"]),
        ({"search": "'; DROP TABLE models"}, []),
        ({"gated": False}, ["b/three", "a/one"]),
        ({"gated": True}, ["a/Two"]),
        ({"served": True}, []),
        ({"served": False, "limit": 1}, ["a/Two"]),
    ],
)
def test_a_model_fits_when_each_condition_is_known_to_hold(filled, conditions, found):
    assert names(filled, **conditions) == found


def test_a_model_of_unknown_size_or_age_fits_no_limit(filled):
    assert names(filled, min_parameters=0) == ["a/Two", "a/one"]
    assert names(filled, max_parameters=8e9) == ["a/one"]
    assert names(filled, min_parameters=8e9, max_parameters=7e10) == ["a/Two"]
    assert names(filled, since=datetime.date(2024, 5, 1)) == ["a/Two"]


def test_each_sort_starts_with_the_best_and_ends_with_the_unknown(filled):
    assert names(filled, sort="parameters") == ["a/one", "a/Two", "b/four_%", "b/three"]
    assert names(filled, sort="released") == ["a/Two", "a/one", "b/four_%", "b/three"]
    assert names(filled, sort="likes")[:2] == ["a/Two", "a/one"]
    assert names(filled, sort="name") == ["a/one", "a/Two", "b/four_%", "b/three"]


@pytest.mark.parametrize("sort", SORTS)
def test_every_sort_finds_the_same_models(filled, sort):
    assert sorted(names(filled, sort=sort)) == sorted(names(filled))


def test_a_rare_and_a_common_tag_find_the_same_models(filled, monkeypatch):
    rare = names(filled, tags=["gguf"], task="text-generation", sort="parameters")
    monkeypatch.setattr("tryage.hub.catalog.SELECTIVE_TAG_LIMIT", 1)
    common = names(filled, tags=["gguf"], task="text-generation", sort="parameters")
    assert rare == common == ["a/one", "b/four_%"]


@pytest.mark.parametrize(
    ("sort", "task", "license_", "since"),
    list(
        itertools.product(
            sorted(INDEXED_SORTS), (None, "x"), ((), ("mit", "gpl")), (None, "2025-01-01")
        )
    ),
)
def test_the_best_models_are_read_from_an_index_without_sorting(
    catalogue, sort, task, license_, since
):
    day = None if since is None else datetime.date.fromisoformat(since)
    query = Query(
        task=task, license=license_, since=day, max_parameters=9e9, sort=sort, limit=50, gated=False
    )
    sql, values = build_select(query, ["name", "license"])
    plan = catalogue.connection().execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    steps = " ".join(row[3] for row in plan)
    assert f"INDEX by_{'task' if task and sort == 'downloads' else sort}" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sort": "download"}, "Did you mean downloads"),
        ({"sort": "name; DROP TABLE models"}, "must be one of"),
        ({"limit": 0}, "whole number from 1"),
        ({"limit": 2.5}, "whole number"),
        ({"limit": True}, "whole number"),
        ({"task": 5}, "task must be a string"),
        ({"tags": [5]}, "tags must hold"),
        ({"license": [""]}, "license must hold"),
        ({"min_parameters": -1}, "min_parameters"),
        ({"max_parameters": "7B"}, "max_parameters"),
        ({"min_parameters": 9, "max_parameters": 8}, "above"),
        ({"since": "2025"}, "datetime.date"),
        ({"gated": "auto"}, "True, False or None"),
    ],
)
def test_a_wrong_condition_says_what_was_expected(wrong, says):
    with pytest.raises(InputError, match=says):
        Query(**wrong)
