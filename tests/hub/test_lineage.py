"""Which bases a record declares, what a model inherits from them, and in which order."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub.lineage import inherit, topological_groups
from tryage.hub.model import BaseModelRef

OLD, NEW = "2023-07-18T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
BEFORE_RECORDS = "2022-03-02T23:29:04.000Z"  # the Hub has this time for all older repositories


def counted(number):
    return {"parameters": {"BF16": number}}


def made(relation, base="acme/base"):
    return {"tags": [f"base_model:{relation}:{base}", f"base_model:{base}", "license:mit"]}


@pytest.mark.parametrize(
    ("fields", "bases"),
    [
        ({}, ()),
        (made("quantized"), (BaseModelRef("acme/base", None, "quantized"),)),
        (
            {
                "baseModels": {"relation": "adapter", "models": [{"_id": "9", "id": "acme/base"}]},
                **made("adapter"),
            },
            (BaseModelRef("acme/base", "9", "adapter"),),
        ),
        ({"cardData": {"base_model": "gpt2"}}, (BaseModelRef("gpt2", None, "finetune"),)),
        (
            {"cardData": {"base_model": ["a/b", "c/d"]}},
            (BaseModelRef("a/b", None, "merge"), BaseModelRef("c/d", None, "merge")),
        ),
        (
            {"cardData": {"base_model": "a/b", "base_model_relation": "quantized"}},
            (BaseModelRef("a/b", None, "quantized"),),
        ),
        ({"tags": ["base_model:a/b", "gguf"]}, (BaseModelRef("a/b", None, "quantized"),)),
        (
            {"tags": ["base_model:a/b"], "library_name": "peft"},
            (BaseModelRef("a/b", None, "adapter"),),
        ),
    ],
)
def test_bases_are_parsed_with_their_relation(parse, fields, bases):
    assert parse(**fields).bases == bases


@pytest.mark.parametrize(
    "name", ["./model", "/workspace/out", "a/b/c", "acme/model", "", "https://x.y/z", "a b", "é/b"]
)
def test_a_path_or_the_model_itself_is_no_base(parse, name):
    tags = [f"base_model:{name}", f"base_model:finetune:{name}"]
    assert parse(tags=tags, cardData={"base_model": name}).bases == ()


def test_at_most_32_bases_are_kept(parse):
    assert len(parse(cardData={"base_model": [f"a/{i}" for i in range(900)]}).bases) == 32


def test_a_model_without_bases_inherits_nothing(parse):
    model = parse(safetensors=counted(5))
    assert inherit(model, [parse("other/base")]) is model


# Licence


@pytest.mark.parametrize(
    ("theirs", "holds", "source"),
    [
        ("llama3", "llama3", "base acme/base: license tag 'llama3'"),
        ("mit", "mit", "license tag 'mit'"),
        ("other", None, "license tag 'mit', but base acme/base has no known licence"),
    ],
)
def test_the_strictest_licence_of_the_chain_holds(parse, theirs, holds, source):
    base = parse("acme/base", tags=[f"license:{theirs}"])
    fact = inherit(parse(**made("finetune")), [base]).facts["license"]
    assert (fact.value, fact.source) == (holds, source)


def test_with_an_unknown_base_the_licence_is_unknown(parse):
    fact = inherit(parse(**made("finetune")), []).facts["license"]
    assert (fact.value, fact.confidence) == (None, 0.0)
    assert fact.source == "license tag 'mit', but base acme/base is not known here"


def test_bases_whose_licences_both_apply_leave_no_licence(parse):
    merge = parse(cardData={"base_model": ["a/gemma", "a/llama"], "license": "mit"})
    bases = [parse("a/gemma", tags=["license:gemma"]), parse("a/llama", tags=["license:llama3"])]
    fact = inherit(merge, bases).facts["license"]
    assert fact.value is None
    assert "does not contain 'llama3' of base a/llama" in fact.source


def test_a_model_without_a_licence_does_not_get_that_of_its_base(parse):
    model = parse(tags=["base_model:acme/base"])
    assert "license" not in inherit(model, [parse("acme/base", tags=["license:mit"])]).facts


def test_a_licence_is_inherited_along_the_whole_chain(parse):
    first = parse("a/1", tags=["license:llama3"])
    second = inherit(parse("a/2", tags=["license:mit", "base_model:finetune:a/1"]), [first])
    third = inherit(parse("a/3", tags=["license:mit", "base_model:quantized:a/2"]), [second])
    fact = third.facts["license"]
    assert fact.value == "llama3"
    assert fact.source == "base a/2: base a/1: license tag 'llama3'"
    assert fact.confidence == pytest.approx(0.9 * 0.95**2, abs=0.002)


# Parameters


@pytest.mark.parametrize(
    ("relation", "own", "parameters"),
    [
        ("quantized", None, 8e9),
        ("quantized", 1e9, 8e9),  # packed in an unknown way, and so counted as 1B
        ("adapter", 2e7, 8e9),
        ("finetune", 7.9e9, 7.9e9),
        ("finetune", None, 8e9),
        ("merge", None, None),  # a merge stacks layers or averages them
    ],
)
def test_parameters_come_from_the_base_where_the_weights_do(parse, relation, own, parameters):
    tensors = {} if own is None else {"safetensors": {"parameters": {"U8": own}}}
    model = inherit(
        parse(**made(relation), **tensors), [parse("acme/base", safetensors=counted(8e9))]
    )
    assert model.value("parameters") == parameters


def test_an_own_count_with_more_confidence_is_kept(parse):
    base = parse("acme/base-8B")
    model = inherit(parse(**made("quantized", "acme/base-8B"), gguf={"total": 8.03e9}), [base])
    assert model.value("parameters") == 8.03e9


def test_active_parameters_are_inherited_too(parse):
    base = parse("acme/base-30B-A3B", safetensors=counted(30.5e9))
    model = inherit(parse(**made("quantized", base.name)), [base])
    assert model.value("active_parameters") == 3e9
    assert model.facts["parameters"].source == "base acme/base-30B-A3B: safetensors.parameters"


def test_a_pruned_model_does_not_inherit_active_parameters(parse):
    base = parse("acme/base-30B-A3B", safetensors=counted(30.5e9))
    model = parse(**made("finetune", base.name), safetensors=counted(2e9))
    assert "active_parameters" not in inherit(model, [base]).facts


# Release date


@pytest.mark.parametrize(
    ("relation", "own", "base", "released"),
    [
        ("quantized", NEW, OLD, OLD),  # the same weights, rounded
        ("quantized", NEW, BEFORE_RECORDS, NEW),
        ("finetune", NEW, OLD, NEW),
        ("adapter", NEW, OLD, NEW),
        ("finetune", BEFORE_RECORDS, OLD, OLD),
        ("finetune", None, OLD, OLD),
        ("finetune", BEFORE_RECORDS, BEFORE_RECORDS, None),
    ],
)
def test_the_release_date_is_that_of_the_weights(parse, relation, own, base, released):
    model = parse(**made(relation), createdAt=own, lastModified="2026-09-01T00:00:00.000Z")
    found = inherit(model, [parse("acme/base", createdAt=base)]).value("released")
    assert found == (released and datetime.date.fromisoformat(released[:10]))


# Other facts


@pytest.mark.parametrize("name", ["context_length", "capabilities", "languages"])
def test_unknown_facts_are_inherited_and_own_facts_stay(parse, name):
    base = parse(
        "acme/base", config={"n_positions": 2048}, tags=["conversational", "function-calling", "fr"]
    )
    model = inherit(parse(**made("finetune")), [base])
    assert model.value(name) == base.value(name)
    assert model.facts[name].source.startswith("base acme/base: ")
    own = parse(config={"n_ctx": 512}, tags=["base_model:acme/base", "reasoning", "de"])
    assert inherit(own, [base]).facts[name] is own.facts[name]


def test_a_base_is_found_by_its_key_after_a_rename(parse):
    fields = {"baseModels": {"relation": "quantized", "models": [{"_id": "9", "id": "old/name"}]}}
    base = parse("new/name", _id="9", safetensors=counted(8e9))
    assert inherit(parse(**fields), [base]).value("parameters") == 8e9


def test_a_model_is_never_its_own_base(parse):
    model = parse(**made("quantized"))
    twin = parse("acme/base", _id=model.key, safetensors=counted(8e9))
    assert "parameters" not in inherit(model, [twin]).facts


def result(value, verified=True):
    data = {"dataset": {"id": "cais/hle", "task_id": "hle"}, "value": value}
    return {"filename": "hle.yaml", "verified": verified, "data": data}


@pytest.mark.parametrize(
    ("relation", "weight"),
    [("quantized", 0.9), ("finetune", 0.5), ("adapter", 0.5), ("merge", 0.3)],
)
def test_results_of_a_base_have_a_lower_weight(parse, relation, weight):
    base = parse("acme/base", evalResults=[result(20.9)])
    rows = inherit(parse(**made(relation), evalResults=[result(30)]), [base]).value("quality")
    assert [(row["value"], row["weight"], row.get("base")) for row in rows] == [
        (30, 1.0, None),
        (20.9, weight, "acme/base"),
    ]


def test_the_weight_of_a_result_falls_along_the_chain_and_its_model_is_named(parse):
    model = parse("a/0", evalResults=[result(20.9, verified=False)])
    for i in range(1, 6):
        model = inherit(parse(f"a/{i}", tags=[f"base_model:finetune:a/{i - 1}"]), [model])
        if i == 2:
            (row,) = model.value("quality")
            assert (row["base"], row["weight"]) == ("a/0", 0.125)
    assert "quality" not in model.facts


# The order of inheritance


def test_groups_have_bases_first_and_a_cycle_is_one_group():
    #  1 <- 2 <-> 3 <- 4, and 5 is its own base
    parents = {2: [1, 3], 3: [2], 4: [3], 5: [5]}
    groups = [sorted(group) for group in topological_groups([4, 5, 9], parents)]
    assert groups == [[1], [2, 3], [4], [5], [9]]
