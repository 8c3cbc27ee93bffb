"""The experts of the bundled router: their facts are plausible, their names lead to them."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path

import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import LibraryError
from tryage.models import look_up

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = ROOT / "benchmarks" / "bundle"
DATA = ROOT.parent / "shared" / "data"
SETS = (
    "routellm_pair",
    "routellm_mtbench",
    "mmlu_pro",
    "zeroeval",
    "coderouter_id",
    "llmrouter_uiuc",
    "zoonk_tasks",
    "zoonk_battles",
    "paretobandit",
    "paretobandit_gpt41",
    "textclass",
    "sql_scale",
    "misguided_attention",
)
ROWS = json.loads((BUNDLE / "experts.json").read_text(encoding="utf-8"))
EXPERTS = [Expert.from_dict(row) for row in ROWS]

_spec = importlib.util.spec_from_file_location("bundle_names", BUNDLE / "names.py")
assert _spec is not None
assert _spec.loader is not None
names = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(names)

every_expert = pytest.mark.parametrize("expert", EXPERTS, ids=lambda expert: expert.name)
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the outcome sets are not here")


def sizes_in(name: str) -> list[float]:
    """Return the total sizes that a name states; 8x7B counts as at most 56B."""
    found = re.findall(r"(?<![\d.a])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", name.lower())
    return [float(times or 1) * float(size) * 1e9 for times, size in found]


def test_no_name_or_alias_is_used_twice():
    assert len(Library(EXPERTS)) == len(ROWS)


def test_at_least_250_models_are_known_and_60_of_them_are_of_2025_or_later():
    assert len({expert.name.partition("@")[0] for expert in EXPERTS}) >= 250
    assert (
        sum(expert.released is not None and expert.released.year >= 2025 for expert in EXPERTS)
        >= 60
    )


@every_expert
def test_an_expert_is_written_as_it_was_read(expert):
    row = next(row for row in ROWS if row["name"] == expert.name)
    assert expert.to_dict() == row


@every_expert
def test_every_fact_has_a_source_and_every_source_a_fact(expert):
    facts = set(expert.to_dict()) - {"name", "aliases", "metadata", "effort"}
    assert set(expert.metadata["sources"]) == facts


@every_expert
def test_the_size_in_a_name_agrees_with_the_parameters(expert):
    for name in (expert.name, *expert.aliases):
        for size in sizes_in(name):
            shared_layers = 0.75 if re.search(r"\dx\d", name) else 0.8
            assert shared_layers * size < expert.parameters < 1.31 * size  # gemma-2-2b has 2.6B


@every_expert
def test_fewer_parameters_are_active_than_there_are(expert):
    if expert.active_parameters is not None:
        assert expert.active_parameters < 0.5 * expert.parameters


@every_expert
def test_the_date_in_a_name_is_the_release(expert):
    found = re.search(r"(20\d\d)-?([01]\d)-?([0-3]\d)$", expert.name)
    if found:
        assert expert.released.isoformat() == "-".join(found.groups())


@every_expert
def test_an_output_token_costs_no_less_than_an_input_token(expert):
    if expert.input_price is not None:
        assert 0 < expert.input_price <= expert.output_price


@every_expert
def test_each_spelling_leads_to_its_expert_and_is_an_alias_unless_it_means_another_model(expert):
    library = names.library()
    for data_set, spelling in names.spellings(expert):
        assert names.canonical(data_set, spelling) == expert.name
        if spelling in names.MOVED:
            assert spelling not in library
        elif (data_set, spelling) in names.REUSED:
            assert library[spelling].name != expert.name
        elif spelling in library and (model := look_up(expert.name)) is not None:
            other = look_up(library[spelling].name)
            assert library[spelling].name == expert.name or other != model


def test_the_implausible_price_of_kimi_is_left_out():
    assert names.library()["kimi-k2.5"].input_price is None


@pytest.mark.parametrize(
    ("data_set", "spelling"), [("zeroeval", "gpt-5.4"), ("mmlu_pro", "gpt4"), ("other", "gpt-5.4")]
)
def test_a_spelling_that_a_set_does_not_use_is_refused(data_set, spelling):
    with pytest.raises(LibraryError, match="no model spelled"):
        names.canonical(data_set, spelling)


@needs_data
@pytest.mark.parametrize("data_set", SETS)
def test_every_model_of_the_sets_is_an_expert_and_no_spelling_is_left_over(data_set):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(DATA / data_set / "models.parquet", columns=["model"])
    used = {s for expert in EXPERTS for name, s in names.spellings(expert) if name == data_set}
    assert used == set(table["model"].to_pylist())


@needs_data
@pytest.mark.parametrize("data_set", ["zeroeval", "coderouter_id"])
def test_a_price_said_to_be_fitted_gives_back_every_cost(data_set):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(DATA / data_set / "outcomes.parquet")
    if "cost_estimated" in rows.column_names:
        rows = rows.filter(rows["cost_estimated"].to_numpy(zero_copy_only=False) == 0)
    prices = {}
    for expert in EXPERTS:
        if expert.metadata["sources"].get("input_price", "").startswith(data_set):
            for spelling in expert.metadata["measured_as"][data_set]:
                prices[spelling] = (expert.input_price, expert.output_price)
    columns = ["model", "cost_usd", "input_tokens", "output_tokens"]
    checked = 0
    for model, cost, given, answered in zip(*(rows[c].to_pylist() for c in columns), strict=True):
        if model in prices and None not in (cost, given, answered) and not math.isnan(cost):
            dollars = (given * prices[model][0] + answered * prices[model][1]) / 1e6
            assert dollars == pytest.approx(cost, rel=1e-4)
            checked += 1
    assert checked > 10_000
