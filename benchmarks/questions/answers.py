"""The answer of a question: computed where a program can, else compared with a second one."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sqlite3
import warnings
from fractions import Fraction
from typing import Any

import helpers

from tryage.scoring.formats import final_answer, json_schema, regular_expression
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import PassesTests, exact_match, multiple_choice, numeric

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the code that runs here is ours
    passes_tests = PassesTests(sandbox=True)

SCORERS = {
    "exact_match": exact_match,
    "final_answer": final_answer,
    "json_schema": json_schema,
    "multiple_choice": multiple_choice,
    "numeric": numeric,
    "passes_tests": passes_tests,
    "regular_expression": regular_expression,
}


def complete(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item with `answer`, `references` and `second`: whether it must be read again."""
    item = {"second": False, **item}
    if "program" in item:
        item["prompt"] = item["prompt"].replace("{program}", item["program"].strip())
        _set_computed(item, run_program(item["program"]))
    elif "query" in item:
        item["prompt"] = item["prompt"].replace("{tables}", item["tables"].strip())
        item["prompt"] = item["prompt"].replace("{query}", item["query"].strip())
        _set_computed(item, run_query(item["tables"], item["query"]))
    elif "value" in item or "schema" in item:
        _set_schema(item)
    elif "tests" in item:
        item["answer"] = item["answer"].strip()
        item["references"] = [item["tests"].strip()]
    elif "pattern" in item:
        item["references"] = [item["pattern"]]
        if "check" in item:
            _check(item)
    elif "check" in item:
        _check(item)
    elif not item.get("computed"):
        item["second"] = True
    item.setdefault("answer", item["choices"][0] if item.get("choices") else None)
    item.setdefault("references", [item["answer"], *item.get("also", [])])
    _check_scorer(item)
    return item


def run_program(program: str) -> str:
    """Return what a Python program prints."""
    output = io.StringIO()
    signal.alarm(10)  # a program that never ends is a mistake in its source
    with contextlib.redirect_stdout(output):
        exec(compile(program, "question", "exec"), {"__name__": "__main__"})  # noqa: S102 - ours
    signal.alarm(0)
    return output.getvalue().strip()


def run_query(tables: str, query: str) -> str:
    """Return the rows of a query, a line each, values divided by commas."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(tables)
    rows = connection.execute(query).fetchall()
    return "\n".join(", ".join("NULL" if v is None else f"{v}" for v in row) for row in rows)


def agrees(row: dict[str, Any], second: str) -> bool:
    """Return whether a second answer to a row is right by its scorer."""
    prompt = Prompt(row["prompt"], tuple(row["references"]), tuple(row.get("choices", ())))
    return SCORERS[row["scorer"]](prompt, second) == 1.0


def schema_of(value: object, unordered: bool = False) -> dict[str, Any]:
    """Return the JSON schema that only this value fulfils; lists in any order if `unordered`."""
    if isinstance(value, dict):
        properties = {key: schema_of(part, unordered) for key, part in value.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list) and unordered:
        parts = [schema_of(part, unordered) for part in value]
        size = {"minItems": len(value), "maxItems": len(value)}
        return {"type": "array", **size, "allOf": [{"contains": part} for part in parts]}
    if isinstance(value, list):
        parts = [schema_of(part) for part in value]
        size = {"minItems": len(value), "maxItems": len(value)}
        return (
            {"type": "array", "prefixItems": parts, **size} if value else {"type": "array", **size}
        )
    return {"const": value}


def _set_schema(item: dict[str, Any]) -> None:
    """Set the schema of a JSON answer, from the one right value unless the item has its own."""
    if "value" in item:
        value = json.loads(item["value"])
        item["answer"] = json.dumps(value, ensure_ascii=False)
        item.setdefault("schema", schema_of(value, item.get("unordered", False)))
        item["second"] = "check" not in item and not item.get("computed")
    schema = item["schema"]
    text = schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)
    item["references"] = [json.dumps(json.loads(text), ensure_ascii=False)]
    if "check" in item and json.loads(item["answer"]) != eval(item["check"], vars(helpers).copy()):  # noqa: S307 - ours
        raise ValueError(f"check gives {eval(item['check'], vars(helpers).copy())!r}")  # noqa: S307 - ours


def _set_computed(item: dict[str, Any], output: str) -> None:
    """Set a computed answer; where one was typed as well, compare the two."""
    if "answer" in item and item["answer"] != output:
        raise ValueError(f"typed {item['answer']!r}, computed {output!r}")
    if item.get("choices"):
        if item["choices"][0] != output:
            raise ValueError(f"the first choice is {item['choices'][0]!r}, computed {output!r}")
        return
    item["answer"] = output
    item["references"] = [output, *item.get("also", [])]


def _check(item: dict[str, Any]) -> None:
    """Compare a typed answer with the value of the item's expression."""
    computed = eval(item["check"], vars(helpers).copy())  # noqa: S307 - ours
    typed = item["choices"][0] if item.get("choices") else item["answer"]
    if isinstance(computed, bool):
        same = computed
    elif isinstance(computed, (int, float, Fraction)):
        same = abs(float(Fraction(str(typed).replace(",", ""))) - float(computed)) < 1e-9
    else:
        same = str(computed) == str(typed)
    if not same:
        raise ValueError(f"typed {typed!r}, computed {computed!r}")


def _check_scorer(item: dict[str, Any]) -> None:
    """Stop unless the scorer accepts the item's own answer."""
    prompt = Prompt(item["prompt"], tuple(item["references"]), tuple(item.get("choices") or ()))
    if SCORERS[item["scorer"]](prompt, item["answer"]) != 1.0:
        raise ValueError(f"{item['scorer']} refuses {item['answer']!r}")
