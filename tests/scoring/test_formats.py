"""Scorers of form: the final answer in free text, regular expressions, JSON schemas."""

from __future__ import annotations

import json

import pytest

from tryage.errors import InputError
from tryage.scoring.formats import final_answer, json_schema, regular_expression
from tryage.scoring.measurement import Prompt

SCHEMA = {
    "type": "object",
    "properties": {"name": {"const": "Ada"}, "age": {"type": "integer", "minimum": 18}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def prompt_for(*references: str) -> Prompt:
    return Prompt("?", references=references)


@pytest.mark.parametrize(
    "answer",
    [
        "[1, 2, 3]",
        "[1,2,3]",
        "The output is [1, 2, 3].",
        "The output of the program is:\n\n```\n[1, 2, 3]\n```\nbecause the list is sorted",
        "First [3, 2], then more.\n\n**[1, 2, 3]**",
        "Let me trace it.\nx = 5\n[1, 2, 3]",
        "Die Ausgabe lautet `[1, 2, 3]`.",
        "La sortie est : [1, 2, 3]",
        "La respuesta es **[1, 2, 3]**",
        "Ответ: [1, 2, 3]",
        "答案是[1, 2, 3]。",
        r"\boxed{[1, 2, 3]}",
        "The answer is [4]. No: the answer is [1, 2, 3].",
        "```\n[9]\n```\nand after the change\n```\n[1, 2, 3]\n```\n",
    ],
)
def test_the_final_answer_is_read_out_of_what_is_around_it(answer):
    assert final_answer(prompt_for("[1, 2, 3]"), answer) == 1


@pytest.mark.parametrize(
    "answer",
    ["", "[1, 2]", "Is it [1, 2, 3]? No.\nThe answer is [3].", "[1, 2, 3]\n[4]", "12 3", "1 2 3"],
)
def test_another_final_answer_is_wrong(answer):
    assert final_answer(prompt_for("[1, 2, 3]"), answer) == 0


def test_spaces_inside_a_final_answer_count():
    assert final_answer(prompt_for("12 3"), "1 23") == 0


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("ABC-12", 1),
        (" ABC-12\n", 1),
        ("```\nABC-12\n```", 1),
        ("abc-12", 0),
        ("It is ABC-12", 0),
        ("", 0),
    ],
)
def test_a_regular_expression_must_match_the_whole_answer(answer, score):
    assert regular_expression(prompt_for(r"[A-Z]{3}-\d\d"), answer) == score


def test_a_broken_regular_expression_is_an_input_error():
    with pytest.raises(InputError, match="no regular expression"):
        regular_expression(prompt_for("("), "x")


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"name": "Ada", "age": 36}', 1),
        ('Here it is:\n```json\n{"name": "Ada", "age": 36}\n```\nAnything else?', 1),
        ('Sure! {"name": "Ada", "age": 36} Done.', 1),
        ('{"name": "Bob"} was wrong, so {"age": 36, "name": "Ada"}', 1),
        ('{"name": "Ada", "age": "36"}', 0),
        ('{"name": "Ada", "age": 17}', 0),
        ('{"name": "Ada"}', 0),
        ('{"name": "Ada", "age": 36, "x": 1}', 0),
        ('{"name": "Ada", "age": 36', 0),
        ("no JSON", 0),
        ("", 0),
        ('{"name": "Ada", "age": NaN}', 0),
        ("[" * 100_000, 0),
    ],
)
def test_the_json_of_an_answer_is_checked_against_the_schema(answer, score):
    pytest.importorskip("jsonschema")
    assert json_schema(prompt_for(json.dumps(SCHEMA)), answer) == score


@pytest.mark.parametrize("schema", ["{", '{"type": "nothing"}', "5"])
def test_a_broken_schema_is_an_input_error(schema):
    pytest.importorskip("jsonschema")
    with pytest.raises(InputError, match="no JSON schema"):
        json_schema(prompt_for(schema), "{}")


def test_a_schema_that_refers_to_another_document_is_an_input_error_and_reads_nothing(monkeypatch):
    pytest.importorskip("jsonschema")
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", asked.append)
    schema = '{"$ref": "http://127.0.0.1:9/schema.json"}'
    with pytest.raises(InputError, match="refers to"):
        json_schema(prompt_for(schema), "{}")
    assert not asked


@pytest.mark.parametrize("answer", ["NaN", "[Infinity]", "it is [-Infinity]"])
def test_what_python_reads_beyond_json_is_no_json(answer):
    pytest.importorskip("jsonschema")
    assert json_schema(prompt_for("{}"), answer) == 0
