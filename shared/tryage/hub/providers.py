"""What it costs to have a model served: the providers behind the Hub's router, `/v1/models`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.hub.model import Fact
from tryage.hub.record import (
    Record,
    as_bool,
    as_list,
    as_mapping,
    as_nonnegative_float,
    as_positive_float,
    as_str,
    as_strings,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.hub.model import Model
    from tryage.hub.record import ParsedRecord

TYPICAL_ANSWER_TOKENS = 500  # tokens

_CAPABILITY_BY_MODALITY: Mapping[str, str] = {"image": "vision", "audio": "audio"}


@dataclass(frozen=True, slots=True)
class ProviderOffer:
    """One provider's offer; None is unknown, also a price of zero that is not said to be free.

    Prices in USD per million tokens; `latency` in seconds to the end of an answer of
    `TYPICAL_ANSWER` tokens, known only where first token and throughput both are.
    """

    provider: str
    input_price: float | None
    output_price: float | None
    context_length: int | None
    latency: float | None
    supports_tools: bool | None
    supports_structured_output: bool | None

    @property
    def blended_price(self) -> float:
        """The order of offers: three tokens read for one written; infinite where unknown."""
        if self.input_price is None or self.output_price is None:
            return float("inf")
        return 3 * self.input_price + self.output_price


def parse_served(
    records: Iterable[Record], fetched_at: datetime.datetime
) -> dict[str, Mapping[str, Fact]]:
    """Return the facts about each served model by name, from the records of `/v1/models`.

    Prices, `context_length`, `latency` and `capabilities` are those of one provider, the cheapest
    live one of which both prices are known (else the quickest), named in `provider`. Beside them:
    `providers`, all live ones; `max_context_length`, the longest any of them offers; `incapable`,
    what the provider says it does not support.
    """
    found: dict[str, Mapping[str, Fact]] = {}
    for record in records:
        entry = as_mapping(record)
        name = as_str(entry.get("id"))
        offers = [offer for row in as_list(entry.get("providers")) if (offer := _parse_offer(row))]
        if name is not None and offers:
            found[name] = _best_offer_facts(entry, offers, fetched_at)
    return found


def parse_providers(record: ParsedRecord) -> dict[str, Fact]:
    """Return the fact `providers`: who serves the model now, as its own record says.

    `inferenceProviderMapping` is a list in listings and an object on a model's page; it has no
    prices.
    """
    value = record.raw.get("inferenceProviderMapping")
    rows = [{"provider": name, **as_mapping(row)} for name, row in as_mapping(value).items()]
    live = {
        name
        for row in (*as_list(value), *rows)
        if as_str(as_mapping(row).get("status")) == "live"
        and (name := as_str(as_mapping(row).get("provider"))) is not None
    }
    if not live:
        return {}
    return {"providers": record.fact(tuple(sorted(live)), "inferenceProviderMapping", 0.9)}


def with_served(model: Model, served: Mapping[str, Fact]) -> Model:
    """Return the model as it is served: the provider's word replaces that of the repository.

    Capabilities are joined, less what the provider does not support. Do this last: what a provider
    offers is not inherited by derivatives.
    """
    own, served_capabilities = model.facts.get("capabilities"), served.get("capabilities")
    merged = dict(served)
    incapable = served["incapable"].value if "incapable" in served else frozenset()
    if own is not None and own.value is not None:
        extra: frozenset[str] = (
            served_capabilities.value if served_capabilities is not None else frozenset()
        )
        source = (
            own.source
            if served_capabilities is None
            else f"{own.source}; {served_capabilities.source}"
        )
        known = (own.value | extra) - incapable
        merged["capabilities"] = Fact(known, source, own.fetched_at, own.confidence)
    return model.with_facts(merged)


def _parse_offer(value: object) -> ProviderOffer | None:
    """Read one provider; None when it is not live."""
    row = as_mapping(value)
    provider = as_str(row.get("provider"))
    if provider is None or as_str(row.get("status")) != "live":
        return None
    price = as_mapping(row.get("pricing"))
    free = as_bool(row.get("is_free")) or False
    context = as_positive_float(row.get("context_length"))
    return ProviderOffer(
        provider=provider,
        input_price=_parse_price(price.get("input"), free),
        output_price=_parse_price(price.get("output"), free),
        context_length=int(context) if context is not None and 1 <= context <= 1e9 else None,
        latency=_parse_latency(row),
        supports_tools=as_bool(row.get("supports_tools")),
        supports_structured_output=as_bool(row.get("supports_structured_output")),
    )


def _parse_price(value: object, free: bool) -> float | None:
    """Return a price; zero only where the provider says that it is free."""
    return 0.0 if free else as_positive_float(value)


def _parse_latency(row: Record) -> float | None:
    """Return the seconds to a typical answer: first token, then the others at the throughput."""
    first, speed = (
        as_nonnegative_float(row.get("first_token_latency_ms")),
        as_positive_float(row.get("throughput")),
    )
    if first is None or speed is None:
        return None
    seconds = first / 1000 + TYPICAL_ANSWER_TOKENS / speed
    return seconds if seconds < 1e6 else None


def _best_offer_facts(
    entry: Record, offers: Sequence[ProviderOffer], fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Return the facts of the chosen offer, and what the others add."""
    best = min(offers, key=lambda offer: (offer.blended_price, offer.latency or float("inf")))
    source = f"served by {best.provider}"
    facts = {
        "provider": Fact(best.provider, "/v1/models", fetched_at, 0.95),
        "providers": Fact(
            tuple(sorted({o.provider for o in offers})), "/v1/models", fetched_at, 0.95
        ),
    }
    if best.blended_price < float("inf"):  # one price without the other tells no cost
        facts["input_price"] = Fact(best.input_price, source, fetched_at, 0.95)
        facts["output_price"] = Fact(best.output_price, source, fetched_at, 0.95)
    if best.context_length is not None:
        facts["context_length"] = Fact(best.context_length, source, fetched_at, 0.95)
    longest = max((offer.context_length or 0 for offer in offers), default=0)
    if longest:
        facts["max_context_length"] = Fact(longest, "longest of all providers", fetched_at, 0.95)
    if best.latency is not None:
        latency_source = f"{source}: first token + {TYPICAL_ANSWER_TOKENS} tokens"
        facts["latency"] = Fact(best.latency, latency_source, fetched_at, 0.7)
    return facts | _offer_capabilities(entry, best, source, fetched_at)


def _offer_capabilities(
    entry: Record, best: ProviderOffer, source: str, fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Return what the offer supports, and what it says it does not."""
    said = {"tools": best.supports_tools, "structured_output": best.supports_structured_output}
    inputs = as_strings(as_mapping(entry.get("architecture")).get("input_modalities"))
    capabilities = {name for name, can in said.items() if can}
    capabilities |= {
        _CAPABILITY_BY_MODALITY[word] for word in inputs if word in _CAPABILITY_BY_MODALITY
    }
    facts = {"capabilities": Fact(frozenset({"chat", *capabilities}), source, fetched_at, 0.9)}
    incapable = frozenset(name for name, can in said.items() if can is False)
    if incapable:
        facts["incapable"] = Fact(incapable, source, fetched_at, 0.9)
    return facts
