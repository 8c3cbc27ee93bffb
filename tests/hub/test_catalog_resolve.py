"""What models inherit from their bases in the catalogue, whatever the order of writing."""

from __future__ import annotations

import dataclasses
import datetime

from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_resolve import InheritanceResolver

LATER = datetime.timedelta(hours=1)
QUANT = "base_model:quantized:"


def bf16(count):
    return {"parameters": {"BF16": count}, "total": count}


def later(model, **changed):
    return dataclasses.replace(model, fetched_at=model.fetched_at + LATER, **changed)


def test_bases_may_be_written_before_or_after_derived_models(catalogue, parse, content, tmp_path):
    base = parse("org/base", safetensors=bf16(7e9), tags=["license:mit"])
    child = parse("org/child", tags=[f"{QUANT}org/base", "license:mit"])
    grandchild = parse("org/grandchild", tags=["base_model:adapter:org/child"])
    catalogue.put([base, child, grandchild])
    with Catalogue(tmp_path / "reversed.sqlite") as other:
        for model in (grandchild, child, base):
            other.put([model])
        assert content(other) == content(catalogue)
    assert {entry.parameters for entry in catalogue.search()} == {7e9}
    source = catalogue.get("org/grandchild").facts["parameters"].source
    assert source.startswith("base org/child: base org/base:")


def test_a_change_of_a_base_updates_its_descendants_and_no_other_model(
    catalogue, parse, monkeypatch
):
    base = parse("org/base", tags=["license:mit"])
    catalogue.put([base, *(parse(f"org/x{i}") for i in range(50))])
    catalogue.put([parse(f"org/c{i}", tags=[f"{QUANT}org/base", "license:mit"]) for i in range(3)])
    written = []
    write = InheritanceResolver._store_resolved
    monkeypatch.setattr(
        InheritanceResolver,
        "_store_resolved",
        lambda self, row: written.append(row) or write(self, row),
    )
    strict = parse("org/base", tags=["license:llama2"])
    catalogue.put([later(strict)])
    assert len(written) == 4
    assert len(catalogue.search(Query(license="llama2"))) == 4
    written.clear()
    catalogue.put([later(later(strict), sha="another commit")])
    assert len(written) == 1  # what could be inherited is the same


def test_a_base_is_found_by_its_key_and_by_a_former_name(catalogue, parse):
    base = parse("org/old", safetensors=bf16(5e9))
    catalogue.put([base])
    catalogue.put([later(base, name="org/new")])
    models = {"relation": "quantized", "models": [{"_id": base.key, "id": "org/whatever"}]}
    catalogue.put([parse("org/a", tags=[f"{QUANT}org/old"]), parse("org/b", baseModels=models)])
    assert catalogue.get("org/a").value("parameters") == 5e9
    assert catalogue.get("org/b").value("parameters") == 5e9


def test_models_in_a_cycle_inherit_nothing_but_models_below_it_do(catalogue, parse):
    a = parse("org/a", tags=[f"{QUANT}org/b", "license:mit"])
    b = parse("org/b", tags=[f"{QUANT}org/a", "license:mit"], safetensors=bf16(3e9))
    below = parse("org/below", tags=[f"{QUANT}org/b"])
    catalogue.put([a, b, below])
    assert catalogue.get("org/a").value("parameters") is None
    assert catalogue.get("org/below").value("parameters") == 3e9
    free = later(parse("org/b", safetensors=bf16(3e9), tags=["license:mit"]))
    catalogue.put([free])
    assert catalogue.get("org/a").value("parameters") == 3e9
    assert {e.parameters for e in catalogue.search()} == {3e9}


def test_a_chain_may_be_longer_than_the_recursion_limit(catalogue, parse):
    chain = [parse(f"org/m{i}", tags=[f"{QUANT}org/m{i - 1}"]) for i in range(1, 1_200)]
    catalogue.put([*chain, parse("org/m0", safetensors=bf16(2e9))])
    assert catalogue.get("org/m1199").value("parameters") == 2e9
