"""What the Hub reads out of the files of a repo: the card's header, config.json, weights."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.testing.hub.history import Blob

_HEADER = re.compile(rb"\A---\r?\n(.*?)\r?\n---\s*(?:\n|\Z)", re.DOTALL)


def describe(files: Mapping[str, Blob]) -> dict[str, Any]:
    """Return the metadata that follows from files; None for what they say nothing about."""
    card = read_card(files["README.md"].data) if "README.md" in files else {}
    config = _json(files["config.json"].data) if "config.json" in files else {}
    known = ("architectures", "model_type", "auto_map", "quantization_config")
    weights = count_weights(blob.data for path, blob in files.items() if _is_weights(path))
    library = card.get("library_name") or ("transformers" if "model_type" in config else None)
    return {
        "cardData": card or None,
        "config": {name: config[name] for name in known if name in config} or None,
        "library_name": library,
        "pipeline_tag": card.get("pipeline_tag"),
        "safetensors": weights,
        "tags": _tags(card, config, library, safe=weights is not None),
    }


def read_card(data: bytes) -> dict[str, Any]:
    """Return the YAML between the dashes at the top of a model card; broken YAML is no header."""
    import yaml  # type: ignore[import-untyped]  # it ships no types

    match = _HEADER.match(data)
    try:
        found = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def count_weights(files: Iterable[bytes]) -> dict[str, Any] | None:
    """Return how many parameters there are of each type, from the headers of safetensors files."""
    counts: Counter[str] = Counter()
    for data in files:
        size = int.from_bytes(data[:8], "little")
        for name, tensor in _json(data[8 : 8 + size]).items():
            if name != "__metadata__":
                counts[tensor["dtype"]] += math.prod(tensor["shape"])
    return {"parameters": dict(counts), "total": counts.total()} if counts else None


def _is_weights(path: str) -> bool:
    return "/" not in path and path.endswith(".safetensors")


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _many(value: object) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]


def _tags(
    card: Mapping[str, Any], config: Mapping[str, Any], library: str | None, *, safe: bool
) -> list[str]:
    """Return the tags in the order of the Hub: library, formats, type, task, the card's own."""
    tags = [*_many(library), *(["safetensors"] if safe else []), *_many(config.get("model_type"))]
    tags += [*_many(card.get("pipeline_tag")), *_many(card.get("tags"))]
    tags += ["custom_code"] if "auto_map" in config else []
    tags += _many(card.get("language"))
    for field, prefix in (("datasets", "dataset"), ("base_model", "base_model")):
        tags += [f"{prefix}:{one}" for one in _many(card.get(field))]
    relation = card.get("base_model_relation")
    if relation:
        tags += [f"base_model:{relation}:{one}" for one in _many(card.get("base_model"))]
    tags += [f"license:{one}" for one in _many(card.get("license"))]
    return list(dict.fromkeys([*tags, "region:us"]))
