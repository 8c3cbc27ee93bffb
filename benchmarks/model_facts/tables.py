"""Read the public tables of models into rows: one row says what one table knows of one model."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MODELS_DEV = "models.dev"
PRICES = "model-prices"
GENAI = "genai-prices"
LITELLM = "litellm"

_PRICES_BEGIN = "2025-07-31"

SOURCES = {
    MODELS_DEV: {"url": "https://github.com/anomalyco/models.dev", "licence": "MIT"},
    PRICES: {"url": "https://pypi.org/project/model-prices", "licence": "MIT"},
    GENAI: {"url": "https://github.com/pydantic/genai-prices", "licence": "MIT"},
    LITELLM: {"url": "https://github.com/BerriAI/litellm", "licence": "MIT"},
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one table knows of one model at one provider; `facts` has the fields of a snapshot."""

    model_id: str
    provider: str
    source: str
    date: str
    facts: Mapping[str, Any] = field(hash=False)
    other_names: tuple[str, ...] = ()  # the title, and the maker's name of the model


def models_dev_rows(path: Path, date: str) -> Iterator[Row]:
    """Read models.dev as a Parquet file with a row for each provider and model."""
    import pyarrow.parquet as pq

    for one in pq.read_table(path).to_pylist():
        outputs = _split(one["output_modalities"])
        if outputs and "text" not in outputs:
            continue
        facts = {
            "input_price": one["price_in"],
            "output_price": one["price_out"],
            "cached_input_price": one["price_cache_read"],
            "cache_write_price": one["price_cache_write"],
            "context_length": _count(one["context"]),
            "output_limit": _count(one["max_output"]),
            "input_modalities": _split(one["input_modalities"]),
            "output_modalities": outputs,
            "tools": one["tool_call"],
            "structured_output": one["structured_output"],
            "reasoning": one["reasoning"],
            "open_weights": one["open_weights"],
            "released": one["release_date"] or None,
            "knowledge": one["knowledge"] or None,
        }
        others = tuple(text for text in (one["name"], one["base_model"]) if text)
        yield Row(one["model_id"], one["provider"], MODELS_DEV, date, _known(facts), others)


def price_rows(path: Path) -> Iterator[Row]:
    """Read the newest standard price of each model from the table of dated prices."""
    import pyarrow.parquet as pq

    newest: dict[tuple[str, str], dict[str, Any]] = {}
    first: dict[tuple[str, str], str] = {}
    for one in pq.read_table(path).to_pylist():
        if one["tier"] != "standard" or one["price_in"] is None or one["price_out"] is None:
            continue
        key, day = (one["provider"], one["model"]), (one["valid_from"] or "")[:10]
        first[key] = min(day, first.get(key, day))
        if key not in newest or (one["valid_from"] or "") >= (newest[key]["valid_from"] or ""):
            newest[key] = one
    for (provider, model), one in newest.items():
        facts = {
            "input_price": one["price_in"],
            "output_price": one["price_out"],
            "cached_input_price": one["price_cache_read"],
            "cache_write_price": one["price_cache_write"],
            # A model that came after the table began was released when its first price was listed.
            "released": first[provider, model] if first[provider, model] > _PRICES_BEGIN else None,
        }
        yield Row(model, provider, PRICES, (one["valid_from"] or "")[:10], _known(facts))


def litellm_rows(wheel: Path, date: str) -> Iterator[Row]:
    """Read LiteLLM's table from its wheel: models that write text."""
    with zipfile.ZipFile(wheel) as archive:
        table = json.loads(archive.read("litellm/model_prices_and_context_window_backup.json"))
    for model_id, one in table.items():
        provider = one.get("litellm_provider")
        if one.get("mode") not in {"chat", "responses", "completion"} or not provider:
            continue
        if model_id.startswith("ft:") or "input_cost_per_token" not in one:
            continue
        facts = {
            "input_price": _per_million(one.get("input_cost_per_token")),
            "output_price": _per_million(one.get("output_cost_per_token")),
            "cached_input_price": _per_million(one.get("cache_read_input_token_cost")),
            "cache_write_price": _per_million(one.get("cache_creation_input_token_cost")),
            "context_length": _count(one.get("max_input_tokens")),
            "output_limit": _count(one.get("max_output_tokens")),
            "tools": one.get("supports_function_calling"),
            "structured_output": one.get("supports_response_schema"),
            "reasoning": one.get("supports_reasoning"),
            "input_modalities": _litellm_modalities(one),
        }
        yield Row(model_id, provider, LITELLM, date, _known(facts))


def genai_rows(wheel: Path, date: str, now: datetime.datetime) -> Iterator[Row]:
    """Read genai-prices from its wheel, which is pure Python."""
    sys.path.insert(0, str(wheel))
    from genai_prices.data import providers

    for provider in providers:
        for model in provider.models:
            price = model.get_prices(now)
            facts = {
                "input_price": _base_price(price.input_mtok),
                "output_price": _base_price(price.output_mtok),
                "cached_input_price": _base_price(price.cache_read_mtok),
                "cache_write_price": _base_price(price.cache_write_mtok),
                "context_length": _count(model.context_window),
            }
            yield Row(model.id, provider.id, GENAI, date, _known(facts))


# --- values -----------------------------------------------------------------------------------

_AGREE = 0.01  # two prices within one percent are equal


def is_equal(price: float, other: float) -> bool:
    """Return whether two prices are the same within one percent."""
    return abs(price - other) <= _AGREE * max(price, other)


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None and value != []}


def _split(text: str | None) -> list[str]:
    return sorted(filter(None, (text or "").split(",")))


def _count(value: float | str | None) -> int | None:
    """Return a positive count; tables write zero for unknown."""
    try:
        return int(float(value or 0)) or None
    except ValueError:
        return None


def _per_million(price: float | None) -> float | None:
    return None if price is None else round(float(price) * 1e6, 6)


def _base_price(price: Any) -> float | None:  # noqa: ANN401 - a decimal, or tiers by prompt length
    """Return the price of short prompts."""
    base = getattr(price, "base", price)
    return None if base is None else float(base)


def _litellm_modalities(one: Mapping[str, Any]) -> list[str] | None:
    """Return what a model reads; None if the table says nothing of it."""
    if "supported_modalities" in one:
        pdf = ["pdf"] if one.get("supports_pdf_input") else []
        return sorted({*one["supported_modalities"], *pdf})
    found = [word for key, word in _LITELLM_WORDS.items() if one.get(key)]
    return sorted(["text", *found]) if found else None


_LITELLM_WORDS = {
    "supports_vision": "image",
    "supports_pdf_input": "pdf",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
}
