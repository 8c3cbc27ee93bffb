"""From a record of the Hub to a model with its own facts, odd fields included."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.errors import HubReplyError
from tryage.hub.lineage import inherit
from tryage.hub.model import BaseModelRef, Model, to_expert
from tryage.hub.parse import parse_model, parse_model_or_none
from tryage.hub.providers import parse_served, with_served
from tryage.hub.record import split_words

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


def test_a_record_of_a_listing_is_parsed_field_by_field(fetched_at, listed):
    model = parse_model(listed, fetched_at)
    assert (model.key, model.name) == (listed["_id"], listed["id"])
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
def test_a_record_without_a_key_or_a_name_is_an_error_of_the_reply(record, fetched_at):
    with pytest.raises(HubReplyError, match="`_id` and `id`"):
        parse_model(record, fetched_at)
    assert parse_model_or_none(record, fetched_at) is None


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
def test_the_release_date_is_the_day_of_creation_in_utc_and_not_of_an_edit(
    parse, created, released
):
    model = parse(createdAt=created, lastModified="2026-09-30T00:00:00.000Z")
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
def test_gated_has_one_of_three_values_or_is_unknown(parse, gated, found):
    model = parse(gated=gated)
    assert (model.gated, type(model.gated)) == (found, type(found))


def test_a_name_without_an_owner_has_no_author(parse):
    assert parse("gpt2").author is None
    assert parse("acme/m").author == "acme"


def test_a_field_of_a_wrong_type_does_not_affect_other_fields(fetched_at, listed):
    for field in FIELDS:
        for odd in (None, True, 7, "odd", [], [[]], {}, {"id": {}}):
            model = parse_model({**listed, field: odd}, fetched_at)
            assert model.key == listed["_id"]
            if field != "gguf":
                assert model.value("context_length") == 32768
            if field != "createdAt":
                assert model.value("released") == datetime.date(2025, 6, 1)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=8), st.dictionaries(st.text(), ODD))
def test_every_fact_has_its_type_whatever_the_hub_sends(fetched_at, fields, more):
    record = {**more, **fields, "_id": "1", "id": "a/m-7B"}
    base = parse_model({**fields, "_id": "2", "id": "a/b"}, fetched_at)
    served = parse_served([record], fetched_at).get("a/m-7B", {})
    model = with_served(inherit(parse_model(record, fetched_at), [base]), served)
    for name, fact in model.facts.items():
        assert isinstance(fact.value, TYPES[name]), name
        assert 0 <= fact.confidence <= 1
    written = json.dumps(model.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert Model.from_dict(json.loads(written)) == model
    json.dumps(to_expert(model).to_dict(), allow_nan=False, ensure_ascii=False).encode()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FIELDS), st.dictionaries(st.sampled_from(KEYS), ODD, max_size=12))
def test_odd_values_of_any_field_do_not_raise(fetched_at, listed, field, value):
    record = {**listed, "config": {"model_type": "mixtral"}, field: value}
    assert to_expert(parse_model(record, fetched_at)).name == listed["id"]
