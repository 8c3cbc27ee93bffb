"""Prices of the package genai-prices, where it is installed: it keeps itself up to date."""

from __future__ import annotations

import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tryage.models.hosts import host_of, maker_host
from tryage.models.snapshot import ModelFact

if TYPE_CHECKING:
    from tryage.models.names import ModelName

SOURCE = "genai-prices"

_CONFIDENCE = 0.97

# Hosts that have another name in genai-prices.
_PROVIDER_IDS = {"xai": "x-ai", "vertex": "google"}

_FIELDS = {
    "input_price": "input_mtok",
    "output_price": "output_mtok",
    "cached_input_price": "cache_read_mtok",
    "cache_write_price": "cache_write_mtok",
}


def is_installed() -> bool:
    """Return whether genai-prices can be imported."""
    return find_spec("genai_prices") is not None


def genai_prices(name: str, spelling: ModelName) -> dict[str, ModelFact]:
    """Return the prices of a model at its host, or else its maker; empty if they are not known.

    Args:
        name: The model as it was given, and in its canonical form if that one is not known.
        spelling: What the given name says.
    """
    host = host_of(spelling.provider) or maker_host(spelling.model)
    if host is None or not is_installed():
        return {}
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    try:
        _, model = snapshot.find_provider_model(name, None, _PROVIDER_IDS.get(host, host), None)
    except LookupError:
        return {}
    now = datetime.datetime.now(datetime.timezone.utc)
    date = snapshot.timestamp.date().isoformat() if snapshot.from_auto_update else None
    return _price_facts(model.get_prices(now), date)


def _price_facts(price: Any, date: str | None) -> dict[str, ModelFact]:  # noqa: ANN401 - a class of an optional package
    """Return the prices of short prompts; a price that rises with their length has a base."""
    facts: dict[str, ModelFact] = {}
    for field, attribute in _FIELDS.items():
        value = getattr(price, attribute, None)
        value = getattr(value, "base", value)
        if value is not None:
            facts[field] = ModelFact(float(value), SOURCE, date, _CONFIDENCE)
    return facts
