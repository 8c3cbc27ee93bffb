"""Benchmark results of models: their sources, and how far they are trusted."""

from __future__ import annotations

import json

import pytest

from tryage.hub.evaluations import parse_leaderboard, with_results
from tryage.hub.model import to_expert

EVALUATED = {
    "filename": ".eval_results/gpqa.yaml",
    "verified": True,
    "data": {
        "dataset": {"id": "Idavidrein/gpqa", "task_id": "diamond"},
        "value": 0.412,
        "date": "2025-01-15T10:30:00Z",
        "source": {"url": "https://hf.co/spaces/acme/evals", "name": "Eval Logs"},
    },
}
INDEX = [
    {
        "name": "distilbert-base-uncased-finetuned-sst-2-english",
        "results": [
            {
                "task": {"type": "text-classification", "name": "Text Classification"},
                "dataset": {"name": "glue", "type": "glue", "config": "sst2"},
                "metrics": [
                    {"type": "accuracy", "value": 0.91, "name": "Accuracy", "verified": True},
                    {"type": "loss", "value": 0.39},
                    {"type": "f1", "value": "0.9"},
                ],
            }
        ],
    }
]
RANKED = {
    "rank": 1,
    "modelId": "acme/model",
    "value": 83.1,
    "filename": "olmocr.yaml",
    "verified": False,
    "author": {"type": "org", "name": "acme"},
}


def test_a_result_has_its_benchmark_score_date_and_source(parse):
    assert parse(evalResults=[EVALUATED]).value("quality") == (
        {
            "origin": "evalResults",
            "dataset": "Idavidrein/gpqa",
            "task": "diamond",
            "value": 0.412,
            "verified": True,
            "weight": 1.0,
            "date": "2025-01-15",
            "source": "https://hf.co/spaces/acme/evals",
        },
    )


@pytest.mark.parametrize(
    ("more", "weight"),
    [
        ({}, 1.0),
        ({"verified": False}, 0.5),
        ({"verified": "true"}, 0.5),
        ({"verified": None, "pullRequest": 3}, 0.25),
    ],
)
def test_an_unverified_result_has_a_lower_weight(parse, more, weight):
    (row,) = parse(evalResults=[EVALUATED | more]).value("quality")
    assert row["weight"] == weight


@pytest.mark.parametrize("place", [{"model-index": INDEX}, {"cardData": {"model-index": INDEX}}])
def test_results_of_a_model_index_have_a_low_weight(parse, place):
    rows = parse(**place).value("quality")
    assert [(row["metric"], row["value"], row["weight"]) for row in rows] == [
        ("accuracy", 0.91, 0.5),
        ("loss", 0.39, 0.2),
    ]


def test_the_most_trusted_results_come_first_and_a_long_list_is_cut(parse):
    model = parse(**{"evalResults": [EVALUATED] * 40, "model-index": INDEX * 50})
    weights = [row["weight"] for row in model.value("quality")]
    assert weights == sorted(weights, reverse=True)
    assert len(weights) <= 64


def test_popularity_is_not_quality(parse):
    assert "quality" not in parse(downloads=10**9, likes=10**6).facts


def test_a_leaderboard_is_read_by_model(parse, fetched_at):
    found = parse_leaderboard(
        "allenai/olmOCR-bench", [RANKED, RANKED | {"pullRequest": 7}], fetched_at
    )
    assert [row["weight"] for row in found["acme/model"]] == [0.5, 0.25]
    model = with_results(parse(evalResults=[EVALUATED]), found["acme/model"])
    rows = to_expert(model).metadata["hub"]["quality"]
    assert [row["origin"] for row in rows] == ["evalResults", "leaderboard", "leaderboard"]
    assert rows[1]["dataset"] == "allenai/olmOCR-bench"
    json.dumps(rows)


def test_a_known_score_is_not_added_again(parse, fetched_at):
    model = parse(evalResults=[EVALUATED])
    again = RANKED | {"value": 0.412}
    (rows,) = parse_leaderboard(
        "Idavidrein/gpqa", [again, again | {"value": 0.5}], fetched_at
    ).values()
    assert [row["value"] for row in with_results(model, rows).value("quality")] == [0.412, 0.5]


def test_rows_without_a_model_or_a_number_are_left_out(fetched_at):
    odd = [None, [], {}, {"modelId": "a/b"}, {"modelId": 3, "value": 1}, RANKED | {"value": "83"}]
    assert parse_leaderboard("d", odd, fetched_at) == {}


@pytest.mark.parametrize("value", [None, True, "9", float("nan"), float("inf"), 10**400, [1]])
def test_a_score_that_is_not_a_number_is_no_result(parse, value):
    data = EVALUATED["data"] | {"value": value}
    assert "quality" not in parse(evalResults=[EVALUATED | {"data": data}]).facts


def test_a_score_may_be_negative(parse):
    data = EVALUATED["data"] | {"value": -3.5}
    (row,) = parse(evalResults=[EVALUATED | {"data": data}]).value("quality")
    assert row["value"] == -3.5
