"""Metadata of a model are read from its files, as on the Hub."""

from __future__ import annotations

import datetime
import json

import pytest
from huggingface_hub import HfApi

from tryage.testing import LocalHub

CARD = "---\nlicense: mit\nlibrary_name: tryage\ntags: [routing, ärger]\nbase_model: a/b\n---\n# Hi"


def weights(**shapes) -> bytes:
    """Return a safetensors file whose header lists these tensors, without their data."""
    tensors = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    return len(header).to_bytes(8, "little") + header


def test_the_card_the_configuration_and_the_weights_set_metadata(hub):
    files = {
        "README.md": CARD,
        "config.json": '{"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}, "vocab_size": 3}',
        "model.safetensors": weights(a=[3, 4], b=[5]),
        "nested/other.safetensors": weights(c=[1000]),
    }
    hub.add("org/a", files)
    record = hub.record("org/a")
    assert record["tags"] == ["tryage", "safetensors", "bert", "routing", "ärger", "custom_code",
                              "base_model:a/b", "license:mit", "region:us"]  # fmt: skip
    assert record["safetensors"] == {"parameters": {"BF16": 17}, "total": 17}
    assert record["config"] == {"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}
    assert record["cardData"]["base_model"] == "a/b"


@pytest.mark.parametrize("card", ["---\n: [\n---\n", "---\n- a\n---\n", "# none", ""])
def test_a_card_without_a_readable_header_sets_nothing(hub, card):
    hub.add("org/a", {"README.md": card, "config.json": "[1"})
    assert hub.record("org/a")["tags"] == ["region:us"]


def test_given_metadata_replace_those_of_the_files(hub):
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
    hub.add("org/a", {"README.md": CARD}, tags=["mine"], lastModified=moment)
    assert hub.record("org/a")["tags"] == ["mine"]
    assert hub.record("org/a")["lastModified"] == "2024-05-06T07:08:09.000Z"


def test_weights_with_their_total_alone_can_be_listed_by_huggingface_hub():
    with LocalHub() as hub:
        hub.load([{"id": "org/m", "safetensors": {"total": 10}}])
        (model,) = HfApi(endpoint=hub.url).list_models(expand=["safetensors"])
    assert model.safetensors.total == 10
