"""Answers are computed, or compared: a typed answer that is wrong does not get into the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[3] / "benchmarks" / "questions"


@pytest.fixture
def answers(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCES))
    import answers

    yield answers
    for name in ("answers", "helpers"):
        sys.modules.pop(name)


def item(**fields):
    return {
        "kind": "any",
        "language": "en",
        "level": "easy",
        "scorer": "numeric",
        "prompt": "?",
    } | fields


def test_a_typed_answer_that_its_expression_contradicts_is_refused(answers):
    assert answers.complete(item(answer="6", check="2 * 3"))["second"] is False
    with pytest.raises(ValueError, match="typed '5', computed 6"):
        answers.complete(item(answer="5", check="2 * 3"))


def test_an_answer_that_nothing_computes_must_be_read_again(answers):
    assert answers.complete(item(answer="6"))["second"] is True


def test_the_answer_of_a_program_and_of_a_query_is_what_they_give(answers):
    program = item(prompt="Output? {program}", program="print(7 * 6)")
    assert answers.complete(program)["answer"] == "42"
    tables = "CREATE TABLE t(x); INSERT INTO t VALUES (1), (NULL);"
    query = item(prompt="{tables} {query}", tables=tables, query="SELECT COUNT(x) FROM t")
    assert answers.complete(query)["answer"] == "1"


def test_a_search_with_two_solutions_is_refused(answers):
    with pytest.raises(ValueError, match="2 solutions"):
        answers.complete(item(answer="2", check="only(x for x in (-2, 2) if x * x == 4)"))


def test_an_answer_that_its_own_scorer_refuses_is_refused(answers):
    with pytest.raises(ValueError, match="refuses"):
        answers.complete(item(scorer="regular_expression", answer="b", pattern="a"))


def test_the_schema_of_a_value_accepts_only_that_value(answers):
    jsonschema = pytest.importorskip("jsonschema")
    schema = answers.schema_of({"a": [1, "x"], "b": None})

    def is_valid(value):
        return jsonschema.Draft202012Validator(schema).is_valid(value)

    assert is_valid({"b": None, "a": [1, "x"]})
    for value in ({"a": [1, "x"]}, {"a": ["x", 1], "b": None}, {"a": [1], "b": None}, [], 1):
        assert not is_valid(value)
