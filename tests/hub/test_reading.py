"""A record of the Hub becomes a model, odd fields and all, and a model becomes an expert."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.errors import HubReplyError
from tryage.hub.lineage import inherit
from tryage.hub.model import BaseModelRef, Model, to_expert
from tryage.hub.parse import parse_model
from tryage.hub.providers import parse_served, with_served
from tryage.hub.record import split_words

LISTED = {  # the shape of one row of a listing with `expand`
    "_id": "621ffdc036468d709f174338",
    "id": "acme/Foo-7B-Chat-GGUF",
    "author": "acme",
    "sha": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "gated": "auto",
    "private": False,
    "disabled": False,
    "downloads": 1234,
    "likes": 5,
    "tags": ["gguf", "conversational", "license:mit", "en", "base_model:quantized:acme/Foo-7B"],
    "pipeline_tag": "text-generation",
    "library_name": "gguf",
    "createdAt": "2025-06-01T08:00:00.000Z",
    "lastModified": "2026-09-30T00:00:00.000Z",
    "gguf": {"total": 7615616512, "architecture": "qwen2", "context_length": 32768},
    "baseModels": {"relation": "quantized", "models": [{"_id": "62", "id": "acme/Foo-7B"}]},
}


FIELDS = sorted(
    split_words(
        "author sha gated private disabled downloads likes tags pipeline_tag library_name"
        " createdAt lastModified safetensors gguf config cardData siblings baseModels"
        " evalResults model-index securityRepoStatus inferenceProviderMapping providers"
        " architecture"
    )
)
# Where the rules look: real keys, so that the odd values are found.
KEYS = sorted(
    split_words(
        "parameters total BF16 U32 I32 quantization_config quant_method bits group_size"
        " config_groups weights num_bits text_config model_type hidden_size vocab_size"
        " num_hidden_layers head_dim num_attention_heads num_key_value_heads intermediate_size"
        " num_experts num_experts_per_tok max_position_embeddings rope_scaling factor type"
        " tokenizer_config chat_template auto_map context_length license license_name base_model"
        " language models relation _id id size lfs rfilename path securityFileStatus status"
        " level filesWithIssues scansDone data dataset value verified date source url results"
        " metrics task name provider pricing input output is_free first_token_latency_ms"
        " throughput supports_tools input_modalities torch_dtype model-index"
    )
)
WORDS = sorted(
    split_words(
        "llama mixtral bert gptq awq mlx bitsandbytes compressed-tensors 4-bit license:mit en"
        " live license:other base_model:quantized:a/b base_model:x adapter quantized safe unsafe"
        " custom_code peft model.safetensors pytorch_model.bin yarn bfloat16 image"
        " 2025-01-01T00:00:00Z auto"
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 4, 64, 4096, 10**400, 1e308, float("nan"), float("inf")])
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "a\0b", "x" * 1000, "9999-12-31T23:59:59-23:00"])
)
ODD = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=25,
)
TYPES = {
    "parameters": float,
    "active_parameters": float,
    "released": datetime.date,
    "license": (str, type(None)),
    "security": float,
    "input_price": float,
    "output_price": float,
    "latency": float,
    "context_length": int,
    "max_context_length": int,
    "capabilities": frozenset,
    "incapable": frozenset,
    "formats": tuple,
    "languages": tuple,
    "quality": tuple,
    "provider": str,
    "providers": tuple,
    "custom_code": bool,
    "scan": str,
    "weight_bytes": float,
}


def test_a_listed_row_is_read_field_by_field(seen):
    model = parse_model(LISTED, seen)
    assert (model.key, model.name) == (LISTED["_id"], LISTED["id"])
    assert (model.author, model.task, model.library) == ("acme", "text-generation", "gguf")
    assert (model.downloads, model.likes, model.gated) == (1234, 5, "auto")
    assert (model.private, model.disabled) == (False, False)
    assert model.bases == (BaseModelRef("acme/Foo-7B", "62", "quantized"),)
    assert model.value("parameters") == 7615616512
    assert model.value("context_length") == 32768
    assert model.value("released") == datetime.date(2025, 6, 1)


@pytest.mark.parametrize(
    "record", [{}, {"_id": "1"}, {"id": "a/b"}, {"_id": 1, "id": "a/b"}, [], 7]
)
def test_without_identity_there_is_no_model(record, seen):
    with pytest.raises(HubReplyError, match="`_id` and `id`"):
        parse_model(record, seen)


def test_a_model_survives_json(seen):
    model = parse_model(LISTED, seen)
    assert Model.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_an_expert_says_where_each_field_comes_from(seen):
    expert = to_expert(parse_model(LISTED, seen))
    assert expert.name == "acme/Foo-7B-Chat-GGUF"
    assert expert.aliases == ()
    assert expert.metadata["sources"]["parameters"] == {
        "source": "gguf.total",
        "seen": "2026-10-03T12:30:00+00:00",
        "confidence": 0.9,
    }
    assert set(expert.metadata["sources"]) >= {"license", "released", "context_length"}
    assert expert.metadata["hub"] == {
        "key": LISTED["_id"],
        "sha": LISTED["sha"],
        "url": "https://huggingface.co/acme/Foo-7B-Chat-GGUF",
        "author": "acme",
        "task": "text-generation",
        "library": "gguf",
        "likes": 5,
        "gated": "auto",
        "private": False,
        "disabled": False,
        "bases": [{"name": "acme/Foo-7B", "key": "62", "relation": "quantized"}],
        "formats": ["gguf"],
        "languages": ["en"],
    }
    assert Expert.from_dict(json.loads(json.dumps(expert.to_dict()))) == expert


def test_an_unknown_licence_says_why_and_stays_unknown(read):
    expert = to_expert(read(tags=["license:other"]))
    assert expert.license is None
    assert expert.metadata["sources"]["license"]["confidence"] == 0


@pytest.mark.parametrize(
    ("created", "released"),
    [
        ("2022-03-02T23:29:04.000Z", None),  # when the Hub began to note it: or any day before
        ("2021-01-01T00:00:00.000Z", None),
        ("2022-03-03T00:00:00.000Z", datetime.date(2022, 3, 3)),
        ("2025-06-01T01:00:00+02:00", datetime.date(2025, 5, 31)),
        ("2025-06-01", datetime.date(2025, 6, 1)),
        ("yesterday", None),
        (1750000000, None),
        (None, None),
    ],
)
def test_released_is_the_day_of_creation_in_utc_and_never_of_an_edit(read, created, released):
    model = read(createdAt=created, lastModified="2026-09-30T00:00:00.000Z")
    assert model.value("released") == released
    assert model.modified.year == 2026


@pytest.mark.parametrize(
    ("gated", "found"),
    [
        (False, False),
        ("auto", "auto"),
        ("manual", "manual"),
        (True, "manual"),
        (0, None),
        ([], None),
    ],
)
def test_gated_is_one_of_three_or_unknown(read, gated, found):
    model = read(gated=gated)
    assert (model.gated, type(model.gated)) == (found, type(found))


def test_a_name_without_an_owner_has_no_author(read):
    assert read("gpt2").author is None
    assert read("acme/m").author == "acme"


def test_a_field_of_an_odd_type_spoils_no_other(seen):
    for field in FIELDS:
        for odd in (None, True, 7, "odd", [], [[]], {}, {"id": {}}):
            model = parse_model({**LISTED, field: odd}, seen)
            assert model.key == LISTED["_id"]
            if field != "gguf":
                assert model.value("context_length") == 32768
            if field != "createdAt":
                assert model.value("released") == datetime.date(2025, 6, 1)


def test_text_in_other_scripts_is_kept(read):
    model = read(tags=["日本語", "emoji 🤗"], author="Ünï")
    assert (model.tags, model.author) == (("日本語", "emoji 🤗"), "Ünï")


@pytest.mark.parametrize("odd", ["\ud800", "a\0b", " ", "x" * 501])
def test_a_text_that_cannot_be_stored_is_unknown(read, odd):
    model = read(author=odd, tags=[odd, "en", f"license:{odd}"], pipeline_tag=odd)
    assert (model.task, model.tags[0]) == (None, "en")
    assert model.author == "acme"


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=8), st.dictionaries(st.text(), ODD))
def test_whatever_the_hub_sends_every_fact_has_its_type(seen, fields, more):
    record = {**more, **fields, "_id": "1", "id": "a/m-7B"}
    base = parse_model({**fields, "_id": "2", "id": "a/b"}, seen)
    served = parse_served([record], seen).get("a/m-7B", {})
    model = with_served(inherit(parse_model(record, seen), [base]), served)
    for name, fact in model.facts.items():
        assert isinstance(fact.value, TYPES[name]), name
        assert 0 <= fact.confidence <= 1
    written = json.dumps(model.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert Model.from_dict(json.loads(written)) == model
    json.dumps(to_expert(model).to_dict(), allow_nan=False, ensure_ascii=False).encode()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FIELDS), st.dictionaries(st.sampled_from(KEYS), ODD, max_size=12))
def test_odd_values_under_the_keys_that_rules_read_do_no_harm(seen, field, value):
    record = {**LISTED, "config": {"model_type": "mixtral"}, field: value}
    assert to_expert(parse_model(record, seen)).name == LISTED["id"]
