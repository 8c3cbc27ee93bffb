"""A record of the Hub becomes a model, odd fields and all, and a model becomes an expert."""

from __future__ import annotations

import datetime
import json

import pytest

from tryage.errors import HubReplyError
from tryage.experts import Expert
from tryage.hub.expert import to_expert
from tryage.hub.model import Base, Model
from tryage.hub.reading import read_model

SEEN = datetime.datetime(2026, 10, 3, 12, 30, tzinfo=datetime.timezone.utc)
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


def test_a_listed_row_is_read_field_by_field():
    model = read_model(LISTED, SEEN)
    assert (model.key, model.name) == (LISTED["_id"], LISTED["id"])
    assert (model.author, model.task, model.library) == ("acme", "text-generation", "gguf")
    assert (model.downloads, model.likes, model.gated) == (1234, 5, "auto")
    assert (model.private, model.disabled) == (False, False)
    assert model.bases == (Base("acme/Foo-7B", "62", "quantized"),)
    assert model.value("parameters") == 7615616512
    assert model.value("context_length") == 32768
    assert model.value("released") == datetime.date(2025, 6, 1)


@pytest.mark.parametrize(
    "record", [{}, {"_id": "1"}, {"id": "a/b"}, {"_id": 1, "id": "a/b"}, [], 7]
)
def test_without_identity_there_is_no_model(record):
    with pytest.raises(HubReplyError, match="`_id` and `id`"):
        read_model(record, SEEN)


def test_a_model_survives_json():
    model = read_model(LISTED, SEEN)
    assert Model.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_an_expert_says_where_each_field_comes_from():
    expert = to_expert(read_model(LISTED, SEEN))
    assert expert.name == "acme/Foo-7B-Chat-GGUF"
    assert expert.aliases == ()
    assert expert.metadata["sources"]["parameters"] == {
        "source": "gguf.total",
        "seen": "2026-10-03T12:30:00+00:00",
        "confidence": 0.9,
    }
    assert set(expert.metadata["sources"]) >= {"license", "released", "context_length"}
    assert expert.metadata["hub"]["gated"] == "auto"
    assert Expert.from_dict(json.loads(json.dumps(expert.to_dict()))) == expert
