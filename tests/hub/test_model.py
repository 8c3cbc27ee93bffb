"""`Model` and `Fact` as JSON, and a model as an expert."""

from __future__ import annotations

import json

from tryage.core.expert import Expert
from tryage.hub.model import Model, to_expert
from tryage.hub.parse import parse_model


def test_a_model_comes_back_from_json(fetched_at, listed):
    model = parse_model(listed, fetched_at)
    assert Model.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_an_expert_has_the_source_of_each_field(fetched_at, listed):
    expert = to_expert(parse_model(listed, fetched_at))
    assert expert.name == "acme/Foo-7B-Chat-GGUF"
    assert expert.aliases == ()
    assert expert.metadata["sources"]["parameters"] == {
        "source": "gguf.total",
        "seen": "2026-10-03T12:30:00+00:00",
        "confidence": 0.9,
    }
    assert set(expert.metadata["sources"]) >= {"license", "released", "context_length"}
    assert expert.metadata["hub"] == {
        "key": listed["_id"],
        "sha": listed["sha"],
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


def test_a_licence_that_is_unknown_for_a_reason_is_unknown_to_the_expert(parse):
    expert = to_expert(parse(tags=["license:other"]))
    assert expert.license is None
    assert expert.metadata["sources"]["license"]["confidence"] == 0
