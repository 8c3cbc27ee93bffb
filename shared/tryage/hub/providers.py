"""What it costs to have a model served: the providers behind the Hub's router, `/v1/models`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.hub.model import Fact
from tryage.hub.record import Record, amount, flag, items, mapping, positive, text, texts

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.hub.model import Model
    from tryage.hub.record import Clues

TYPICAL_ANSWER = 500  # tokens

_MODALITIES: Mapping[str, str] = {"image": "vision", "audio": "audio"}


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider's offer; None is unknown, also a price of zero that is not said to be free.

    Prices in USD per million tokens; `latency` in seconds to the end of an answer of
    `TYPICAL_ANSWER` tokens, known only where first token and throughput both are.
    """

    provider: str
    input_price: float | None
    output_price: float | None
    context_length: int | None
    latency: float | None
    tools: bool | None
    structured_output: bool | None

    @property
    def cost(self) -> float:
        """The order of offers: three tokens read for one written; infinite where unknown."""
        if self.input_price is None or self.output_price is None:
            return float("inf")
        return 3 * self.input_price + self.output_price


def read_served(
    records: Iterable[Record], seen: datetime.datetime
) -> dict[str, Mapping[str, Fact]]:
    """Return the facts about each served model by name, from the records of `/v1/models`.

    Prices, `context_length`, `latency` and `capabilities` are those of one provider, the cheapest
    live one of which both prices are known (else the quickest), named in `provider`. Beside them:
    `providers`, all live ones; `max_context_length`, the longest any of them offers; `incapable`,
    what the provider says it does not support.
    """
    found: dict[str, Mapping[str, Fact]] = {}
    for record in records:
        entry = mapping(record)
        name = text(entry.get("id"))
        offers = [offer for row in items(entry.get("providers")) if (offer := _offer(row))]
        if name is not None and offers:
            found[name] = _facts(entry, offers, seen)
    return found


def read_providers(clues: Clues) -> dict[str, Fact]:
    """Return the fact `providers`: who serves the model now, as its own record says.

    `inferenceProviderMapping` is a list in listings and an object on a model's page; it has no
    prices.
    """
    value = clues.record.get("inferenceProviderMapping")
    rows = [{"provider": name, **mapping(row)} for name, row in mapping(value).items()]
    live = {
        name
        for row in (*items(value), *rows)
        if text(mapping(row).get("status")) == "live"
        and (name := text(mapping(row).get("provider"))) is not None
    }
    if not live:
        return {}
    return {"providers": clues.fact(tuple(sorted(live)), "inferenceProviderMapping", 0.9)}


def with_served(model: Model, served: Mapping[str, Fact]) -> Model:
    """Return the model as it is served: the provider's word replaces that of the repository.

    Capabilities are joined, less what the provider does not support. Do this last: what a provider
    offers is not inherited by derivatives.
    """
    own, able = model.facts.get("capabilities"), served.get("capabilities")
    merged = dict(served)
    lacking = served["incapable"].value if "incapable" in served else frozenset()
    if own is not None and own.value is not None:
        extra: frozenset[str] = able.value if able is not None else frozenset()
        source = own.source if able is None else f"{own.source}; {able.source}"
        known = (own.value | extra) - lacking
        merged["capabilities"] = Fact(known, source, own.seen, own.confidence)
    return model.with_facts(merged)


def _offer(value: object) -> Offer | None:
    """Read one provider; None when it is not live."""
    row = mapping(value)
    provider = text(row.get("provider"))
    if provider is None or text(row.get("status")) != "live":
        return None
    price = mapping(row.get("pricing"))
    free = flag(row.get("is_free")) or False
    context = positive(row.get("context_length"))
    return Offer(
        provider=provider,
        input_price=_price(price.get("input"), free),
        output_price=_price(price.get("output"), free),
        context_length=int(context) if context is not None and 1 <= context <= 1e9 else None,
        latency=_latency(row),
        tools=flag(row.get("supports_tools")),
        structured_output=flag(row.get("supports_structured_output")),
    )


def _price(value: object, free: bool) -> float | None:
    """Return a price; zero only where the provider says that it is free."""
    return 0.0 if free else positive(value)


def _latency(row: Record) -> float | None:
    """Return the seconds to a typical answer: first token, then the others at the throughput."""
    first, speed = amount(row.get("first_token_latency_ms")), positive(row.get("throughput"))
    if first is None or speed is None:
        return None
    seconds = first / 1000 + TYPICAL_ANSWER / speed
    return seconds if seconds < 1e6 else None


def _facts(entry: Record, offers: Sequence[Offer], seen: datetime.datetime) -> dict[str, Fact]:
    """Return the facts of the chosen offer, and what the others add."""
    best = min(offers, key=lambda offer: (offer.cost, offer.latency or float("inf")))
    source = f"served by {best.provider}"
    facts = {
        "provider": Fact(best.provider, "/v1/models", seen, 0.95),
        "providers": Fact(tuple(sorted({o.provider for o in offers})), "/v1/models", seen, 0.95),
    }
    if best.cost < float("inf"):  # one price without the other tells no cost
        facts["input_price"] = Fact(best.input_price, source, seen, 0.95)
        facts["output_price"] = Fact(best.output_price, source, seen, 0.95)
    if best.context_length is not None:
        facts["context_length"] = Fact(best.context_length, source, seen, 0.95)
    longest = max((offer.context_length or 0 for offer in offers), default=0)
    if longest:
        facts["max_context_length"] = Fact(longest, "longest of all providers", seen, 0.95)
    if best.latency is not None:
        told = f"{source}: first token + {TYPICAL_ANSWER} tokens"
        facts["latency"] = Fact(best.latency, told, seen, 0.7)
    return facts | _capabilities(entry, best, source, seen)


def _capabilities(
    entry: Record, best: Offer, source: str, seen: datetime.datetime
) -> dict[str, Fact]:
    """Return what the offer supports, and what it says it does not."""
    said = {"tools": best.tools, "structured_output": best.structured_output}
    inputs = texts(mapping(entry.get("architecture")).get("input_modalities"))
    able = {name for name, can in said.items() if can}
    able |= {_MODALITIES[word] for word in inputs if word in _MODALITIES}
    facts = {"capabilities": Fact(frozenset({"chat", *able}), source, seen, 0.9)}
    lacking = frozenset(name for name, can in said.items() if can is False)
    if lacking:
        facts["incapable"] = Fact(lacking, source, seen, 0.9)
    return facts
