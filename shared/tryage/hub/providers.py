"""Inference providers: prices, latency, context and capabilities of the models they serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.hub.model import Fact
from tryage.hub.record import (
    HubRecord,
    as_bool,
    as_list,
    as_mapping,
    as_model_name,
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

TYPICAL_ANSWER_TOKENS = 500

_CAPABILITY_BY_MODALITY: Mapping[str, str] = {"image": "vision", "audio": "audio"}


def parse_served(
    records: Iterable[HubRecord], fetched_at: datetime.datetime
) -> dict[str, Mapping[str, Fact]]:
    """Return the facts about each served model by name, from the records of `/v1/models`.

    Prices, `context_length`, `latency` and `capabilities` are those of one provider, which
    `provider` names: the cheapest live one with two known prices, else the fastest. Other facts are
    `providers`, all live ones; `max_context_length`, the longest of all providers; and `incapable`,
    what the provider says it does not support.
    """
    facts_by_name: dict[str, Mapping[str, Fact]] = {}
    for record in records:
        entry = as_mapping(record)
        name = as_model_name(entry.get("id"))
        offers = [offer for row in as_list(entry.get("providers")) if (offer := _parse_offer(row))]
        if name is not None and offers:
            facts_by_name[name] = _best_offer_facts(entry, offers, fetched_at)
    return facts_by_name


def parse_providers(record: ParsedRecord) -> dict[str, Fact]:
    """Return the fact `providers`: the live providers in the model's own record, without prices.

    `inferenceProviderMapping` is a list in listings, and an object on a model's own page.
    """
    value = record.raw.get("inferenceProviderMapping")
    rows = [{"provider": name, **as_mapping(row)} for name, row in as_mapping(value).items()]
    live_providers = {
        name
        for row in (*as_list(value), *rows)
        if as_str(as_mapping(row).get("status")) == "live"
        and (name := as_str(as_mapping(row).get("provider"))) is not None
    }
    if not live_providers:
        return {}
    return {
        "providers": record.fact(tuple(sorted(live_providers)), "inferenceProviderMapping", 0.9)
    }


def with_served(model: Model, served: Mapping[str, Fact]) -> Model:
    """Return the model with the facts of its provider, which replace those of the repository.

    Capabilities are those of both, without those that the provider does not support. Call this
    after `inherit`: derived models do not inherit what a provider offers.
    """
    own_fact = model.facts.get("capabilities")
    if own_fact is None or own_fact.value is None:
        return model.with_facts(served)
    return model.with_facts({**served, "capabilities": _merge_capabilities(own_fact, served)})


def _merge_capabilities(own_fact: Fact, served: Mapping[str, Fact]) -> Fact:
    capabilities, source = own_fact.value, own_fact.source
    offered_fact = served.get("capabilities")
    if offered_fact is not None:
        capabilities, source = capabilities | offered_fact.value, f"{source}; {offered_fact.source}"
    if "incapable" in served:
        capabilities -= served["incapable"].value
    return Fact(capabilities, source, own_fact.fetched_at, own_fact.confidence)


@dataclass(frozen=True, slots=True)
class ProviderOffer:
    """What one provider offers for a model; None is unknown.

    Prices are in USD per million tokens; a price of zero is unknown unless the provider says that
    the model is free. `latency` is the seconds to the end of an answer of `TYPICAL_ANSWER_TOKENS`,
    known only where both first token and throughput are known.
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
        """The price of three input tokens and one output token; infinite where one is unknown."""
        if self.input_price is None or self.output_price is None:
            return float("inf")
        return 3 * self.input_price + self.output_price


def _parse_offer(value: object) -> ProviderOffer | None:
    """Return the offer of one provider; None when it is not live."""
    row = as_mapping(value)
    provider = as_str(row.get("provider"))
    if provider is None or as_str(row.get("status")) != "live":
        return None
    pricing = as_mapping(row.get("pricing"))
    is_free = as_bool(row.get("is_free")) or False
    context_length = as_positive_float(row.get("context_length"))
    return ProviderOffer(
        provider=provider,
        input_price=_parse_price(pricing.get("input"), is_free),
        output_price=_parse_price(pricing.get("output"), is_free),
        context_length=int(context_length)
        if context_length is not None and 1 <= context_length <= 1e9
        else None,
        latency=_parse_latency(row),
        supports_tools=as_bool(row.get("supports_tools")),
        supports_structured_output=as_bool(row.get("supports_structured_output")),
    )


def _parse_price(value: object, is_free: bool) -> float | None:
    """Return a price; zero only where the provider says that it is free."""
    return 0.0 if is_free else as_positive_float(value)


def _parse_latency(row: HubRecord) -> float | None:
    """Return the seconds of a typical answer: to the first token, then at the throughput."""
    first_token_ms = as_nonnegative_float(row.get("first_token_latency_ms"))
    throughput = as_positive_float(row.get("throughput"))
    if first_token_ms is None or throughput is None:
        return None
    seconds = first_token_ms / 1000 + TYPICAL_ANSWER_TOKENS / throughput
    return seconds if seconds < 1e6 else None


def _best_offer_facts(
    entry: HubRecord, offers: Sequence[ProviderOffer], fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Return the facts of the best offer, and what the others add."""
    best_offer = min(offers, key=lambda offer: (offer.blended_price, offer.latency or float("inf")))
    source = f"served by {best_offer.provider}"

    def fact(value: object, source: str = source, confidence: float = 0.95) -> Fact:
        return Fact(value, source, fetched_at, confidence)

    facts = {
        "provider": fact(best_offer.provider, "/v1/models"),
        "providers": fact(tuple(sorted({offer.provider for offer in offers})), "/v1/models"),
    }
    if best_offer.blended_price < float("inf"):  # one price without the other gives no cost
        facts["input_price"] = fact(best_offer.input_price)
        facts["output_price"] = fact(best_offer.output_price)
    if best_offer.context_length is not None:
        facts["context_length"] = fact(best_offer.context_length)
    max_context_length = max((offer.context_length or 0 for offer in offers), default=0)
    if max_context_length:
        facts["max_context_length"] = fact(max_context_length, "longest of all providers")
    if best_offer.latency is not None:
        latency_source = f"{source}: first token + {TYPICAL_ANSWER_TOKENS} tokens"
        facts["latency"] = fact(best_offer.latency, latency_source, 0.7)
    return facts | _offer_capabilities(entry, best_offer, source, fetched_at)


def _offer_capabilities(
    entry: HubRecord, offer: ProviderOffer, source: str, fetched_at: datetime.datetime
) -> dict[str, Fact]:
    """Return `capabilities`, and `incapable` for what the provider says it does not support."""
    support = {"tools": offer.supports_tools, "structured_output": offer.supports_structured_output}
    modalities = as_strings(as_mapping(entry.get("architecture")).get("input_modalities"))
    capabilities = {name for name, is_supported in support.items() if is_supported}
    capabilities |= {
        _CAPABILITY_BY_MODALITY[word] for word in modalities if word in _CAPABILITY_BY_MODALITY
    }
    facts = {"capabilities": Fact(frozenset({"chat", *capabilities}), source, fetched_at, 0.9)}
    incapable = frozenset(name for name, is_supported in support.items() if is_supported is False)
    if incapable:
        facts["incapable"] = Fact(incapable, source, fetched_at, 0.9)
    return facts
