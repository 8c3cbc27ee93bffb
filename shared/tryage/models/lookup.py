"""Facts about a model from all sources: the snapshot, genai-prices, and where it is served."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.core.expert import Expert
from tryage.models.genai import SOURCE, genai_prices
from tryage.models.hosts import host_of, is_local, maker_host
from tryage.models.names import parse_model_name
from tryage.models.refresh import current_snapshot
from tryage.models.results import prior_results
from tryage.models.snapshot import PRICE_FIELDS, KnownModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.models.names import ModelName
    from tryage.models.snapshot import ModelSnapshot

LOCAL_SOURCE = "served by this machine"

# Capabilities of an `Expert` by the modality that a model reads.
_CAPABILITY_BY_MODALITY = {"image": "vision", "audio": "audio", "video": "video", "pdf": "pdf"}


def look_up(
    name: str, *, base_url: str | None = None, snapshot: ModelSnapshot | None = None
) -> KnownModel | None:
    """Return what is known of the model that a name means; None if nothing is.

    Of some models only published results are known, and no facts; `to_expert` adds the results. A
    model on this machine costs nothing per token, but a closed one behind a gateway on this machine
    costs what its maker asks. Where genai-prices is installed, its prices replace those of the
    snapshot if it has refreshed itself, or if the snapshot has none.

    Args:
        name: In any spelling: "openai:gpt-5.4-mini", "claude-sonnet-4-5@low", "ollama:gemma3".
        base_url: The address of the server that is called, if it is not the provider's own.
        snapshot: Where to look instead of `current_snapshot()`.
    """
    model = (snapshot or current_snapshot()).find(name)
    spelling = parse_model_name(name) if model is None else model.spelling
    if spelling is None:
        return None
    records = {} if model is None else model.records
    if base_url is None and _is_ollama(spelling):
        base_url = os.environ.get("OLLAMA_HOST")
    is_served_here = is_local(spelling.provider, base_url) and not _is_in_the_cloud(name)
    if is_served_here and not _is_closed(spelling, model):
        prices = {field: [0.0, LOCAL_SOURCE, None, 1.0] for field in PRICE_FIELDS}
    else:
        prices = _genai_records(model.name if model else spelling.model, spelling, records)
    if model is None and not prices and not prior_results(name):
        return None
    known = model or KnownModel(spelling.model, spelling)
    return replace(known, records={**records, **prices})


def canonical_name(name: str, *, snapshot: ModelSnapshot | None = None) -> str | None:
    """Return the model that a name means, without provider, date, effort and quantization.

    It is the snapshot's name of a model, or else the words of the name with hyphens between them,
    the same for all spellings: "zephyr-7b-v0-1". None for a text that tells no model, such as
    "auto", "my-own" or a sentence.

    Args:
        name: In any spelling: "openai:gpt-5.4-mini", "claude-sonnet-4-5@low", "ollama:gemma3".
        snapshot: Where to look instead of `current_snapshot()`.
    """
    snapshot = snapshot or current_snapshot()
    model = snapshot.find(name)
    if model is not None:
        return model.name
    spelling = parse_model_name(name)
    return spelling.key if spelling is not None and _tells_a_model(name, spelling) else None


def identify(name: str, *, snapshot: ModelSnapshot | None = None) -> ModelName | None:
    """Return what a name says, with the canonical name of its model; None if it cannot be a name.

    Two names mean one model if their keys are equal.
    """
    model = (snapshot or current_snapshot()).find(name)
    return parse_model_name(name) if model is None else replace(model.spelling, model=model.name)


_WORDS_OF_NO_MODEL = frozenset(
    (
        *("auto", "base", "best", "chat", "cheap", "custom", "default", "fast", "gpt", "latest"),
        *("llm", "main", "mine", "model", "my", "none", "one", "own", "prod", "router"),
        *("smart", "test", "the"),
    )
)

_MAX_WORDS = 3  # of a name without a number: more are a sentence


def _tells_a_model(name: str, spelling: ModelName) -> bool:
    """Return whether a name says more than "my-own-model"."""
    if spelling.family is not None or any(letter.isdigit() for letter in spelling.model):
        return True
    words = spelling.model.split("-")
    return not _WORDS_OF_NO_MODEL.issuperset(words) and len(name.split()) <= _MAX_WORDS


def _is_in_the_cloud(name: str) -> bool:
    """Return whether Ollama passes calls on to its own servers: "gpt-oss:120b-cloud"."""
    return name.strip().lower().endswith((":cloud", "-cloud"))


def _is_closed(spelling: ModelName, model: KnownModel | None) -> bool:
    """Return whether only a model's maker can run it: then a local server passes calls on to it."""
    if _is_ollama(spelling):  # it serves nothing else
        return False
    open_weights = None if model is None else model.value("open_weights")
    if open_weights is not None:
        return not open_weights
    return maker_host(spelling.model) is not None


def _is_ollama(spelling: ModelName) -> bool:
    return host_of(spelling.provider) == "ollama"


def _genai_records(name: str, spelling: ModelName, records: Mapping[str, Any]) -> dict[str, Any]:
    facts = genai_prices(name, spelling)
    is_needed = "input_price" not in records or any(fact.date for fact in facts.values())
    if not is_needed:
        return {}
    return {
        field: [fact.value, SOURCE, fact.date, fact.confidence] for field, fact in facts.items()
    }


def to_expert(model: KnownModel, name: str | None = None) -> Expert:
    """Return an expert with the facts that a library has a field for, each with its source.

    `metadata["results"]` are the published results of the model, which tell how able it is.

    Args:
        model: What `look_up` returned.
        name: The expert's name; the model's own by default.
    """
    facts: dict[str, Any] = {
        field: model.value(field)
        for field in ("input_price", "output_price", "cached_input_price", "context_length")
    }
    facts["released"] = _full_date(model.value("released"))
    facts["capabilities"] = _capabilities(model)
    sources = {
        field: model.facts[field].source
        for field, value in facts.items()
        if value is not None and field in model.records
    }
    effort = "" if model.spelling.effort is None else f"@{model.spelling.effort}"
    parts = {
        "sources": sources,
        "results": prior_results(model.name + effort),
        # zero follows from an input price of zero, and would make writes free at any other price
        "cache_write_price": model.value("cache_write_price") or None,
    }
    metadata = {key: part for key, part in parts.items() if part not in (None, {})}
    return Expert(name or model.name, **facts, metadata=metadata)


def _full_date(text: str | None) -> datetime.date | None:
    """Return a date; None for a month or a year alone, which would be a guess."""
    return None if text is None or len(text) < 10 else datetime.date.fromisoformat(text)


def _capabilities(model: KnownModel) -> frozenset[str] | None:
    """Return what a model can do; None unless its modalities and its tools are known."""
    modalities = model.value("input_modalities")
    if modalities is None or model.value("tools") is None:
        return None
    words = {"tools", "structured_output", "reasoning"}
    able = {word for word in words if model.value(word)}
    read = {_CAPABILITY_BY_MODALITY[one] for one in modalities if one in _CAPABILITY_BY_MODALITY}
    return frozenset(able | read)
