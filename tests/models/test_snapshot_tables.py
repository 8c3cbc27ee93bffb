"""The snapshot of the package against the public tables: names and prices.

The tables are in ../shared/data beside the checkout; without them these tests are skipped.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tryage.models.hosts import host_of
from tryage.models.refresh import BUNDLED_SNAPSHOT
from tryage.models.snapshot import ModelSnapshot

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT.parent / "shared" / "data" / "model_level"
SCRIPTS = ROOT / "benchmarks" / "model_facts"

SNAPSHOT = ModelSnapshot.from_bytes(BUNDLED_SNAPSHOT.read_bytes())


def read(name):
    pq = pytest.importorskip("pyarrow.parquet")
    path = TABLES / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return pq.read_table(path).to_pylist()


@pytest.fixture
def spellings(monkeypatch):
    """Return the script that measures spellings."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import spellings

    yield spellings
    del sys.modules["spellings"]


@pytest.fixture
def aliases():
    return sorted({(row["model"], row["canonical"]) for row in read("aliases")})


def test_of_all_spellings_97_percent_are_right_as_strictly_as_the_table_can_tell(
    spellings, aliases
):
    """Most of the others are mistakes of the table, or keep a word that it drops ("-base")."""
    resolved = spellings.resolve(spellings.corrected(aliases), SNAPSHOT)
    assert len(list(spellings.wrong(resolved))) <= 0.03 * len(resolved)


def test_no_spelling_leads_to_another_generation(spellings, aliases):
    resolved = spellings.resolve(aliases, SNAPSHOT)
    assert list(spellings.other_generations(resolved, SNAPSHOT)) == []


@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        lambda name: name.replace("-", " ").title(),
        lambda name: f"openrouter/vendor/{name}",
        lambda name: f"vendor/{name}:free",
        lambda name: f"openai:{name}@low",
        lambda name: f"vendor__{name} (high)",
        lambda name: f"unsloth/{name}-GGUF:Q4_K_M",
        lambda name: f"{name}-instruct-fp8",
    ],
    ids=["upper", "title", "path", "free", "at", "note", "quantized", "instruct"],
)
def test_every_model_is_found_in_every_notation(spell):
    found = {name: SNAPSHOT.find(spell(name)) for name in SNAPSHOT}
    assert {name: known for name, known in found.items() if not known or known.name != name} == {}


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
        if row["price_in"] and row["price_out"] and "tts" not in row["model_id"]  # no chat model
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
