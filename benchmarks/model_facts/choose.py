"""Join the rows of the tables into models, and choose one value for each fact."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from statistics import median_low
from typing import TYPE_CHECKING, Any, NamedTuple

from tables import GENAI, LITELLM, MODELS_DEV, PRICES, Row

from tryage.models.hosts import host_of, maker_host
from tryage.models.names import ModelName, parse_model_name
from tryage.models.snapshot import PRICE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

# Tables in the order in which a disagreement is decided: the first knows most about the fact.
_PRICE_ORDER = (GENAI, LITELLM, PRICES, MODELS_DEV)
_FACT_ORDER = (MODELS_DEV, LITELLM, GENAI, PRICES)

_AGREE = 0.01  # two prices within one percent are equal

# How often a value is right: told by two tables, by one, by one against another, by hosts alone.
AGREED, SINGLE, DISPUTED, HOSTS_ONLY = 0.97, 0.85, 0.7, 0.6

# A model whose name ends with an effort is a model of its own if it came so many days later.
_OWN_MODEL_DAYS = 45

_MODES = ("-thinking", "-think", "-reasoning")

_LEFT_OUT = re.compile(r"embed|rerank|moderation|whisper|tts|transcri|/routers/|:free$")

_Record = list[Any]


class Named(NamedTuple):
    """A row with what its name says."""

    name: ModelName
    host: str
    row: Row


# --- names ------------------------------------------------------------------------------------


class _All:
    """Contains every key, so that no word of a name is read as an effort."""

    def __contains__(self, key: object) -> bool:
        return True


def own_models(rows: Sequence[Row]) -> set[str]:
    """Return the keys of models whose names end with an effort: "kimi-k2-thinking".

    Most such names are another model with an effort. Only "thinking" and "reasoning" may name a
    model of its own: one that has no other name, that was released much later, or whose weights are
    open and have another price at the same host.
    """
    full: dict[str, list[Row]] = defaultdict(list)
    bases: dict[str, str] = {}
    for row in rows:
        whole, name = parse_model_name(row.model_id, _All()), parse_model_name(row.model_id)
        if whole is not None and name is not None:
            full[whole.key].append(row)
            bases[whole.key] = name.key
    return {
        key
        for key, base in bases.items()
        if key != base and key.endswith(_MODES) and _differs(full[key], full.get(base, []))
    }


def _differs(rows: Sequence[Row], base_rows: Sequence[Row]) -> bool:
    if not base_rows:
        return True
    released, base_released = _first_release(rows), _first_release(base_rows)
    if released and base_released and (released - base_released).days > _OWN_MODEL_DAYS:
        return True
    if not any(row.facts.get("open_weights") for row in rows):
        return False
    prices = {(row.source, row.provider): row.facts.get("output_price") for row in base_rows}
    return any(
        (price := prices.get((row.source, row.provider))) is not None
        and not is_equal(price, row.facts.get("output_price", price))
        for row in rows
    )


def _first_release(rows: Iterable[Row]) -> datetime.date | None:
    dates = Counter(
        row.facts["released"] for row in rows if len(row.facts.get("released", "")) == 10
    )
    return datetime.date.fromisoformat(dates.most_common(1)[0][0]) if dates else None


def group_rows(rows: Iterable[Row], known: Container[str]) -> dict[str, list[Named]]:
    """Return the rows by the key of their model."""
    groups: dict[str, list[Named]] = defaultdict(list)
    for row in rows:
        name = parse_model_name(row.model_id, known)
        if name is not None and not _LEFT_OUT.search(row.model_id.lower()):
            groups[name.key].append(Named(name, host_of_row(name, row), row))
    return groups


def host_of_row(name: ModelName, row: Row) -> str:
    """Return the host of a row; Bedrock writes the region of its servers into the name."""
    host = host_of(row.provider) or ""
    own = host_of(name.provider) or ""
    return own if own.startswith(f"{host}/") else host


def canonical_name(group: Sequence[Named]) -> str:
    """Return how a model's maker writes its name, or else most tables."""
    maker = maker_host(group[0].name.model)
    spellings = Counter(one.name.model for one in group if one.host == maker)
    spellings = spellings or Counter(one.name.model for one in group)
    return min(spellings, key=lambda name: (-spellings[name], -name.count("."), name))


_VERSIONED = re.compile(r"\d")

_MANY_HOSTS = 3

# Names of whole families, of which each table means another generation.
_BRANDS = frozenset(
    (
        *("claude", "command", "deepseek", "gemini", "glm", "gpt", "grok", "kimi", "minimax"),
        *("mistral", "nova", "qwen", "step"),
    )
)


def is_name_of_one_model(group: Sequence[Named]) -> bool:
    """Return whether a name tells one model from all others: not "auto", "small" or "claude".

    A name without a number does so only if its maker serves it under that name, or if it has two
    words and many hosts know it.
    """
    model = group[0].name.model
    if _VERSIONED.search(model):
        return True
    hosts = {one.host for one in group}
    if "-" not in model:
        return model not in _BRANDS and maker_host(model) in hosts
    return maker_host(model) in hosts or len(hosts) >= _MANY_HOSTS


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return names without the active parameters of a mixture: "qwen-3-235b" is one model."""
    full_keys: dict[str, set[str]] = defaultdict(set)
    keys = set(keys)
    for key in keys:
        full_keys[re.sub(r"-(?:a\d+b|17b-\d+e)(?=-|$)", "", key)].add(key)
    return {
        short: next(iter(found))
        for short, found in full_keys.items()
        if short not in keys and len(found) == 1
    }


# --- prices -----------------------------------------------------------------------------------


def is_equal(price: float, other: float) -> bool:
    """Return whether two prices are the same within one percent."""
    return abs(price - other) <= _AGREE * max(price, other)


def host_prices(group: Sequence[Named]) -> dict[str, dict[str, _Record]]:
    """Return the prices of a model at each host; input and output come from one row."""
    by_host: dict[str, list[Row]] = defaultdict(list)
    for one in group:
        facts = one.row.facts
        is_priced = {"input_price", "output_price"} <= facts.keys()
        if is_priced and (facts["input_price"] or facts["output_price"]):  # subscriptions list zero
            by_host[one.host].append(one.row)
    return {host: _agreed_prices(rows) for host, rows in by_host.items()}


def _agreed_prices(rows: Sequence[Row]) -> dict[str, _Record]:
    """Return the prices on which most tables agree; of equally many the first table decides."""

    def supporters(row: Row) -> set[str]:
        return {other.source for other in rows if _equal_prices(row, other)}

    best = min(rows, key=lambda row: (-len(supporters(row)), _PRICE_ORDER.index(row.source)))
    n_sources, n_agree = len({row.source for row in rows}), len(supporters(best))
    confidence = AGREED if n_agree > 1 else SINGLE if n_sources == 1 else DISPUTED
    return _price_records(best, [row for row in rows if _equal_prices(best, row)], confidence)


def _equal_prices(row: Row, other: Row) -> bool:
    return all(is_equal(row.facts[name], other.facts[name]) for name in PRICE_FIELDS[:2])


def _price_records(best: Row, rows: Sequence[Row], confidence: float) -> dict[str, _Record]:
    """Return the prices of a row, and its prices of caches from the first table that has them."""
    records: dict[str, _Record] = {}
    ordered = [best, *sorted(rows, key=lambda row: _PRICE_ORDER.index(row.source))]
    for name in PRICE_FIELDS:
        if (row := next((row for row in ordered if name in row.facts), None)) is not None:
            is_pair = name in PRICE_FIELDS[:2]
            records[name] = _record(row, name, confidence if is_pair else min(confidence, SINGLE))
    return records


def _record(row: Row, name: str, confidence: float) -> _Record:
    value = row.facts[name]
    value = round(value, 6) if isinstance(value, float) else value
    return [value, row.source, row.date or None, confidence]


def model_prices(prices: Mapping[str, Mapping[str, _Record]], maker: str | None) -> dict[str, Any]:
    """Return the prices of a model's maker, or else those of the host in the middle."""
    if maker in prices:
        return dict(prices[maker])
    paid = {host: price for host, price in prices.items() if price["output_price"][0] > 0}
    if not paid:
        return {}
    middle = median_low(price["output_price"][0] for price in paid.values())
    host = min(host for host, price in paid.items() if price["output_price"][0] == middle)
    return {name: [*record[:3], min(record[3], HOSTS_ONLY)] for name, record in paid[host].items()}


# --- other facts ------------------------------------------------------------------------------


def choose_fact(group: Sequence[Named], name: str, maker: str | None) -> _Record | None:
    """Return what the maker's rows say, or else what most hosts say; None if none says it."""
    rows = [one for one in group if name in one.row.facts]
    own_rows = [one for one in rows if one.host == maker]
    for source in _FACT_ORDER:
        found = [one for one in own_rows if one.row.source == source]
        if found:
            confidence = DISPUTED if source == PRICES else _agreement(rows, found[0], name)
            return _record(_most_common(found, name), name, confidence)
    if not rows:
        return None
    return _record(_most_common(rows, name), name, HOSTS_ONLY)


def _most_common(rows: Sequence[Named], name: str) -> Row:
    counts = Counter(repr(one.row.facts[name]) for one in rows)
    return max(rows, key=lambda one: (counts[repr(one.row.facts[name])], one.row.provider)).row


def _agreement(rows: Sequence[Named], best: Named, name: str) -> float:
    others = {one.row.source for one in rows if one.row.facts[name] == best.row.facts[name]}
    return AGREED if len(others) > 1 else SINGLE
