"""A hostile record of the Hub: every field, with everything that a terminal, page or disk minds."""

from __future__ import annotations

import copy
import json
import math

import pytest

from tryage import Router
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import HubReplyError
from tryage.hub.evaluations import parse_leaderboard
from tryage.hub.model import Model, to_expert
from tryage.hub.parse import parse_model
from tryage.hub.providers import parse_served
from tryage.testing import FixedPerception

# A record in which every text, number and list that a parser reads is there.
RECORD = {
    "_id": "1", "id": "org/model", "author": "org", "sha": "0" * 40, "gated": "auto",
    "private": False, "disabled": False, "downloads": 10, "likes": 5,
    "tags": ["gguf", "license:mit", "en", "base_model:quantized:org/base", "custom_code"],
    "pipeline_tag": "text-generation", "library_name": "gguf",
    "createdAt": "2025-06-01T08:00:00.000Z", "lastModified": "2026-09-30T00:00:00.000Z",
    "safetensors": {"total": 7e9, "parameters": {"BF16": 7e9}},
    "gguf": {"total": 7e9, "architecture": "qwen2", "context_length": 32768},
    "config": {"model_type": "llama", "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
               "rope_scaling": {"type": "yarn", "factor": 2.0},
               "quantization_config": {"quant_method": "gptq", "bits": 4},
               "tokenizer_config": {"chat_template": "{% if tools %}x{% endif %}"}},
    "cardData": {"license": "other", "license_name": "own", "language": ["en"],
                 "base_model": ["org/base"], "base_model_relation": "finetune"},
    "siblings": [{"rfilename": "model.safetensors", "size": 10,
                  "securityFileStatus": {"status": "safe"}}],
    "baseModels": {"relation": "quantized", "models": [{"_id": "2", "id": "org/base"}]},
    "evalResults": [{"verified": True, "data": {"dataset": {"id": "d", "task_id": "t"}, "value": 1,
                     "source": {"name": "n", "url": "u"}, "date": "2025-01-01"}}],
    "model-index": [{"results": [{"dataset": {"type": "d", "name": "n"}, "task": {"type": "t"},
                     "metrics": [{"type": "acc", "value": 0.5}],
                     "source": {"name": "n", "url": "u"}}]}],
    "securityRepoStatus": {"scansDone": True, "filesWithIssues": [{"path": "p", "level": "safe"}]},
    "inferenceProviderMapping": [{"provider": "one", "status": "live"}],
}  # fmt: skip

TEXTS = {
    "clipboard": "x\x1b]52;c;aGk=\x07",
    "C1": "x\x9b2J",
    "bidi": "\u202egpj.x",
    "hidden": "gpt\u200b-4",
    "tag": "x\U000e0041",
    "line": "a\n\nb\r",
    "NUL": "a\0b",
    "surrogate": "\ud800",
    "long": "x" * 100_000,
}
VALUES = (None, True, -1, 0, 1e308, -1e308, 10**400, math.nan, math.inf, "", "7e9", [], {}, [[[]]])

DEEP = "[" * 200 + "]" * 200


def paths(value, start=()):
    """Yield the place of every value in a record."""
    if start:
        yield start
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from paths(inner, (*start, key))


PATHS = [path for path in paths(RECORD) if path[0] not in ("_id", "id")]


def with_value(path, value):
    """Return the record with another value at a place."""
    record = copy.deepcopy(RECORD)
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return record


def stored_expert(model):
    """Return the expert of a model, after that was stored and read."""
    return to_expert(Model.from_dict(json.loads(json.dumps(model.to_dict()))))


def explanation(expert):
    router = Router(FixedPerception({expert.name: 0.1}), Library([expert]))
    return router.route("hello", Preferences({"size": 0.1, "security": 0.1})).explain()


def check_shown(model, place):
    text = json.dumps(stored_expert(model).to_dict(), ensure_ascii=False)
    assert text.isprintable(), (place, text)
    assert len(text) < 20_000, place


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_cannot_be_shown_is_unknown_in_every_field(kind, fetched_at):
    for path in PATHS:
        check_shown(parse_model(with_value(path, TEXTS[kind]), fetched_at), path)


def test_a_list_or_an_object_of_such_texts_is_as_unknown(fetched_at):
    for i, path in enumerate(PATHS):
        text = list(TEXTS.values())[i % len(TEXTS)]
        for value in ([text], {text: text}):
            check_shown(parse_model(with_value(path, value), fetched_at), path)


def test_an_explanation_shows_none_of_them(fetched_at):
    facts = ("safetensors", "createdAt", "securityRepoStatus", "library_name", "config")
    for i, path in enumerate(path for path in PATHS if path[0] in facts):
        model = parse_model(with_value(path, list(TEXTS.values())[i % len(TEXTS)]), fetched_at)
        lines = explanation(stored_expert(model)).splitlines()
        assert all(line.isprintable() for line in lines), path


def test_a_value_of_a_wrong_type_or_an_absurd_size_is_unknown_and_the_rest_counts(fetched_at):
    for path in PATHS:
        for value in (*VALUES, json.loads(DEEP)):
            model = parse_model(with_value(path, value), fetched_at)
            assert (model.key, model.name) == ("1", "org/model")
            for name in ("parameters", "context_length", "weight_bytes"):
                number = model.value(name)
                assert number is None or 0 < number <= 1e15, (path, value)
            assert model.downloads is None or model.downloads >= 0


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "/etc/passwd", "org/../x", "..", "org/..", "a/b/c", "C:\\x", "a b/c",
        "<script>alert(1)</script>", 'a"onmouseover="x', "org/a\x1b[2J", "org/a\u202eb", "-org/a",
        ".org/a", "org/", "/a", "a\n", "org/a?b=c", "org/a#b", "file:///etc/passwd", "a|b", "~/x",
    ],
)  # fmt: skip
def test_a_name_that_is_a_path_a_page_or_an_escape_is_none(name, fetched_at):
    if name.strip() != "a":  # blanks around a name are left out
        with pytest.raises(HubReplyError, match="needs `_id` and `id`"):
            parse_model(RECORD | {"id": name}, fetched_at)
        assert not parse_served([{"id": name, "providers": [OFFER]}], fetched_at)
        assert not parse_leaderboard("d", [{"modelId": name, "value": 1}], fetched_at)
    model = parse_model(RECORD | {"baseModels": None, "tags": [f"base_model:{name}"]}, fetched_at)
    assert all(base.name in ("a", "org/base") for base in model.bases)


OFFER = {"provider": "one", "status": "live", "pricing": {"input": 1, "output": 2}}


@pytest.mark.parametrize("kind", TEXTS)
def test_what_a_provider_says_is_shown_as_little(kind, fetched_at):
    offers = [{**OFFER, "provider": TEXTS[kind]}, {**OFFER, "status": TEXTS[kind]}, OFFER]
    served = parse_served([{"id": "org/model", "providers": offers}], fetched_at)["org/model"]
    assert served["providers"].value == ("one",)


def test_of_a_million_tags_the_first_ones_are_read(fetched_at):
    model = parse_model(RECORD | {"tags": ["gguf", "x", *["tag"] * 1_000_000]}, fetched_at)
    assert len(model.tags) == 10_000
    assert model.value("parameters") == 7e9
