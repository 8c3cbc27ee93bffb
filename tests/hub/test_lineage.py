"""Which bases a record declares, and what a model has from them."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub.lineage import inherit
from tryage.hub.model import BaseModelRef

OLD, NEW = "2023-07-18T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
BEFORE_RECORDS = "2022-03-02T23:29:04.000Z"  # what the Hub shows for all older repositories


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
def test_bases_are_read_with_their_relation(read, fields, bases):
    assert read(**fields).bases == bases


@pytest.mark.parametrize(
    "name", ["./model", "/workspace/out", "a/b/c", "acme/model", "", "https://x.y/z", "a b", "é/b"]
)
def test_a_path_on_a_disk_or_itself_is_no_base(read, name):
    tags = [f"base_model:{name}", f"base_model:finetune:{name}"]
    assert read(tags=tags, cardData={"base_model": name}).bases == ()


def test_no_more_than_a_merge_can_have_are_kept(read):
    assert len(read(cardData={"base_model": [f"a/{i}" for i in range(900)]}).bases) == 32


def test_a_model_without_bases_inherits_nothing(read):
    model = read(safetensors=counted(5))
    assert inherit(model, [read("other/base")]) is model


# Licence


@pytest.mark.parametrize(
    ("theirs", "holds", "source"),
    [
        ("llama3", "llama3", "base acme/base: license tag 'llama3'"),
        ("mit", "mit", "license tag 'mit'"),
        ("other", None, "license tag 'mit', but base acme/base has no known licence"),
    ],
)
def test_the_strictest_licence_of_the_chain_holds(read, theirs, holds, source):
    base = read("acme/base", tags=[f"license:{theirs}"])
    fact = inherit(read(**made("finetune")), [base]).facts["license"]
    assert (fact.value, fact.source) == (holds, source)


def test_a_licence_over_a_base_that_is_not_known_is_unknown(read):
    fact = inherit(read(**made("finetune")), []).facts["license"]
    assert (fact.value, fact.confidence) == (None, 0.0)
    assert fact.source == "license tag 'mit', but base acme/base is not known here"


def test_two_bases_that_both_bind_leave_no_licence(read):
    merge = read(cardData={"base_model": ["a/gemma", "a/llama"], "license": "mit"})
    bases = [read("a/gemma", tags=["license:gemma"]), read("a/llama", tags=["license:llama3"])]
    fact = inherit(merge, bases).facts["license"]
    assert fact.value is None
    assert "does not contain 'llama3' of base a/llama" in fact.source


def test_no_licence_of_its_own_is_not_made_up_from_the_base(read):
    model = read(tags=["base_model:acme/base"])
    assert "license" not in inherit(model, [read("acme/base", tags=["license:mit"])]).facts


def test_a_licence_is_handed_down_the_whole_chain(read):
    first = read("a/1", tags=["license:llama3"])
    second = inherit(read("a/2", tags=["license:mit", "base_model:finetune:a/1"]), [first])
    third = inherit(read("a/3", tags=["license:mit", "base_model:quantized:a/2"]), [second])
    fact = third.facts["license"]
    assert fact.value == "llama3"
    assert fact.source == "base a/2: base a/1: license tag 'llama3'"
    assert fact.confidence == pytest.approx(0.9 * 0.95**2, abs=0.002)


# Parameters


@pytest.mark.parametrize(
    ("relation", "own", "parameters"),
    [
        ("quantized", None, 8e9),
        ("quantized", 1e9, 8e9),  # packed: counted as 1B, and nobody says how
        ("adapter", 2e7, 8e9),
        ("finetune", 7.9e9, 7.9e9),
        ("finetune", None, 8e9),
        ("merge", None, None),  # layers are stacked as often as they are averaged
    ],
)
def test_parameters_come_from_the_base_where_the_weights_do(read, relation, own, parameters):
    tensors = {} if own is None else {"safetensors": {"parameters": {"U8": own}}}
    model = inherit(
        read(**made(relation), **tensors), [read("acme/base", safetensors=counted(8e9))]
    )
    assert model.value("parameters") == parameters


def test_an_own_count_that_is_surer_is_kept(read):
    base = read("acme/base-8B")
    model = inherit(read(**made("quantized", "acme/base-8B"), gguf={"total": 8.03e9}), [base])
    assert model.value("parameters") == 8.03e9


def test_active_parameters_come_along(read):
    base = read("acme/base-30B-A3B", safetensors=counted(30.5e9))
    model = inherit(read(**made("quantized", base.name)), [base])
    assert model.value("active_parameters") == 3e9
    assert model.facts["parameters"].source == "base acme/base-30B-A3B: safetensors.parameters"


def test_a_pruned_model_does_not_pass_what_its_base_passed(read):
    base = read("acme/base-30B-A3B", safetensors=counted(30.5e9))
    model = read(**made("finetune", base.name), safetensors=counted(2e9))
    assert "active_parameters" not in inherit(model, [base]).facts


# Age


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
def test_a_model_is_as_old_as_its_weights(read, relation, own, base, released):
    model = read(**made(relation), createdAt=own, lastModified="2026-09-01T00:00:00.000Z")
    found = inherit(model, [read("acme/base", createdAt=base)]).value("released")
    assert found == (released and datetime.date.fromisoformat(released[:10]))


# The rest


@pytest.mark.parametrize("name", ["context_length", "capabilities", "languages"])
def test_what_it_does_not_say_it_has_from_its_base(read, name):
    base = read(
        "acme/base", config={"n_positions": 2048}, tags=["conversational", "function-calling", "fr"]
    )
    model = inherit(read(**made("finetune")), [base])
    assert model.value(name) == base.value(name)
    assert model.facts[name].source.startswith("base acme/base: ")
    own = read(config={"n_ctx": 512}, tags=["base_model:acme/base", "reasoning", "de"])
    assert inherit(own, [base]).facts[name] is own.facts[name]


def test_a_base_is_found_by_its_key_after_a_rename(read):
    fields = {"baseModels": {"relation": "quantized", "models": [{"_id": "9", "id": "old/name"}]}}
    base = read("new/name", _id="9", safetensors=counted(8e9))
    assert inherit(read(**fields), [base]).value("parameters") == 8e9


def test_a_model_is_never_its_own_base(read):
    model = read(**made("quantized"))
    twin = read("acme/base", _id=model.key, safetensors=counted(8e9))
    assert "parameters" not in inherit(model, [twin]).facts


def result(value, verified=True):
    data = {"dataset": {"id": "cais/hle", "task_id": "hle"}, "value": value}
    return {"filename": "hle.yaml", "verified": verified, "data": data}


@pytest.mark.parametrize(
    ("relation", "weight"),
    [("quantized", 0.9), ("finetune", 0.5), ("adapter", 0.5), ("merge", 0.3)],
)
def test_results_of_a_base_count_less(read, relation, weight):
    base = read("acme/base", evalResults=[result(20.9)])
    rows = inherit(read(**made(relation), evalResults=[result(30)]), [base]).value("quality")
    assert [(row["value"], row["weight"], row.get("base")) for row in rows] == [
        (30, 1.0, None),
        (20.9, weight, "acme/base"),
    ]


def test_a_result_fades_along_the_chain_and_keeps_the_name_of_its_model(read):
    model = read("a/0", evalResults=[result(20.9, verified=False)])
    for i in range(1, 6):
        model = inherit(read(f"a/{i}", tags=[f"base_model:finetune:a/{i - 1}"]), [model])
        if i == 2:
            (row,) = model.value("quality")
            assert (row["base"], row["weight"]) == ("a/0", 0.125)
    assert "quality" not in model.facts
