"""The snapshot of the package against the public tables: names and prices.

The tables are in ../shared/data beside the checkout; without them these tests are skipped.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from tryage.models.hosts import host_of
from tryage.models.names import name_key, parse_model_name
from tryage.models.refresh import BUNDLED_SNAPSHOT
from tryage.models.snapshot import ModelSnapshot

TABLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "model_level"

SNAPSHOT = ModelSnapshot.from_bytes(BUNDLED_SNAPSHOT.read_bytes())

# Where the column of the table is another than the model: it was made by simpler rules, which left
# efforts, budgets, agents, makers and revisions in it.
_LEFT_BY_THE_COLUMN = (
    (re.compile(r"-codex-harness$|-unknown$|-nothinking$|-highthinking$|-(?:no|non)$"), ""),
    (re.compile(r"-(?:low|medium|high|xhigh|minimal|med)$"), ""),
    (re.compile(r"^((?:claude|gemini).*)-\d+k$"), r"\1"),
    (re.compile(r"^(nova-.*)-v1(?::0|-0)?$"), r"\1"),
    (re.compile(r"^(?:c4ai|xiaomi|arcee|bytedance|nvidia)-"), ""),
    (re.compile(r"-(?:bf16|fp8|nvfp4)$"), ""),
    (re.compile(r"(?<=\d)p(?=\d)"), "-"),
    (re.compile(r"^(glm)-v"), r"\1-"),
    (re.compile(r"^gpt35"), "gpt-3-5"),
    (re.compile(r"\+$"), "-plus"),
)


def read(name):
    pq = pytest.importorskip("pyarrow.parquet")
    path = TABLES / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return pq.read_table(path).to_pylist()


def expected_key(canonical):
    for pattern, replacement in _LEFT_BY_THE_COLUMN:
        canonical = pattern.sub(replacement, canonical)
    parsed = parse_model_name(canonical) if "-" in canonical else None
    return name_key(canonical) if parsed is None else parsed.key


def is_right(found, expected):
    """Return whether two keys are one model; the column may drop a word such as "max" or "base"."""
    return found == expected or found.startswith(f"{expected}-")


def test_of_all_spellings_97_percent_lead_to_their_model():
    """Not an independent check: names without facts come from the same table."""
    expected = {
        row["model"]: expected_key(row["canonical"])
        for row in read("aliases")
        if "](" not in row["model"]  # there the column has the address of a link
    }
    found = {model: SNAPSHOT.find(model) for model in expected}
    right = [
        model
        for model, known in found.items()
        if known is not None and is_right(name_key(known.name), expected[model])
    ]
    assert len(right) >= 0.97 * len(expected)


def test_of_the_spellings_with_a_price_97_percent_lead_to_a_model_of_other_tables():
    """Models without facts do not count: their names come from the table of spellings."""
    rows = [row for row in read("aliases") if row["price_in"] and "](" not in row["model"]]
    expected = {row["model"]: expected_key(row["canonical"]) for row in rows}
    found = {model: SNAPSHOT.find(model) for model in expected}
    right = [
        model
        for model, known in found.items()
        if known is not None and known.facts and is_right(name_key(known.name), expected[model])
    ]
    assert len(right) >= 0.97 * len(expected)


def test_no_spelling_leads_to_a_number_that_is_not_in_it():
    """A wrong generation would have such a number; the sizes of Ollama are the only addition."""
    for model in {row["model"] for row in read("aliases")}:
        known = SNAPSHOT.find(model)
        if known is None or (model in known.name and ":" not in model):
            continue
        text = re.sub(r"(?<=\d)0\b", r" \g<0>", model)
        digits = re.sub(r"\D", "", text)
        size = re.compile(r"-[\d.x]+b$").sub("", known.name)
        for number in re.findall(r"\d+", size):
            assert number in digits, (model, known.name)


# The snapshot was made from these tables: the test checks the choice, not the tables.
def test_prices_are_within_one_percent_of_both_tables_where_these_agree():
    listed = {
        (host_of(row["provider"]), row["model"].lower()): row
        for row in read("prices_2026_10")
        if row["tier"] == "standard" and row["price_in"] and row["price_out"]
    }
    dev = {
        (host_of(row["provider"]), row["model_id"].lower()): row
        for row in read("models_dev_2026_07")
        if row["price_in"] and row["price_out"]
    }
    fields = {"price_in": "input_price", "price_out": "output_price"}
    wrong = defaultdict(list)
    agreed = [
        key
        for key in listed.keys() & dev.keys()
        if all(
            listed[key][column] == pytest.approx(dev[key][column], rel=0.01) for column in fields
        )
    ]
    for host, model in agreed:
        known = SNAPSHOT.find(f"{host}/{model}")
        for column, field in fields.items():
            value = None if known is None else known.value(field)
            if value != pytest.approx(listed[host, model][column], rel=0.01):
                wrong[host, model].append((field, value, listed[host, model][column]))
    assert len(agreed) > 100
    assert len(wrong) <= 0.02 * len(agreed), dict(wrong)
