"""Choose one value for each fact of a model from the rows of the tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median_low
from typing import TYPE_CHECKING, Any

from tables import GENAI, LITELLM, MODELS_DEV, PRICES, is_equal

from tryage.models.snapshot import PRICE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groups import Named
    from tables import Row

# Tables in the order in which a disagreement is decided: the first knows most about the fact.
_PRICE_ORDER = (GENAI, LITELLM, PRICES, MODELS_DEV)
_FACT_ORDER = (MODELS_DEV, LITELLM, GENAI, PRICES)

# How often a value is right: told by two tables, by one, by one against another, by hosts alone.
AGREED, SINGLE, DISPUTED, HOSTS_ONLY = 0.97, 0.85, 0.7, 0.6

_Record = list[Any]


# --- prices -----------------------------------------------------------------------------------


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

    best = min(
        rows,
        key=lambda row: (-len(supporters(row)), _depth(row), _PRICE_ORDER.index(row.source)),
    )
    n_sources, n_agree = len({row.source for row in rows}), len(supporters(best))
    confidence = AGREED if n_agree > 1 else SINGLE if n_sources == 1 else DISPUTED
    return _price_records(best, [row for row in rows if _equal_prices(best, row)], confidence)


def _depth(row: Row) -> int:
    """Return how many names stand before a model's: "perplexity/perplexity/sonar" is an agent."""
    return max(0, row.model_id.count("/") - (row.source == LITELLM))


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
    if name == "released":
        rows = plausible_releases(rows)
    if name == "open_weights":
        return _open_weights(rows)
    own_rows = [one for one in rows if one.host == maker]
    for source in _FACT_ORDER:
        found = _without_effort([one for one in own_rows if one.row.source == source])
        if found and name == "released":
            found = _most_precise(found, rows)
        if found:
            confidence = DISPUTED if source == PRICES else _agreement(rows, found[0], name)
            return _record(_most_common(found, name), name, confidence)
    if not rows:
        return None
    best = _middle(rows, name) if name == "released" else _most_common(rows, name)
    return _record(best, name, HOSTS_ONLY)


def _without_effort(rows: Sequence[Named]) -> Sequence[Named]:
    """Return the rows whose name tells no effort, or all if there are none.

    "gpt-5-chat-latest" is gpt-5 without reasoning, and takes no tools: it does not speak for gpt-5.
    """
    return [one for one in rows if one.name.effort is None] or rows


def plausible_releases(rows: Sequence[Named]) -> list[Named]:
    """Return the rows whose release agrees with the date in the name, and is no first listing.

    A table of prices lists a model late: its dates count only where no other table has one.
    """
    listed = [one for one in rows if one.row.source == PRICES]
    told = [one for one in rows if one.row.source != PRICES]
    months = {_months(date) for one in rows if (date := _date_of_version(one))}
    for found in (told, listed):
        if plausible := [one for one in found if _is_near(one.row.facts["released"], months)]:
            return plausible
    return []


def _date_of_version(one: Named) -> str | None:
    """Return the date that is the version in a name: 2025-12 of "mistral-large-2512"."""
    date = one.name.date or ""
    is_version = one.name.undated_key != one.name.key and date.startswith("20")
    return date if is_version else None


_MONTHS_APART = 2  # between the date in a name and the release


def _months(date: str) -> int:
    return 12 * int(date[:4]) + int(date[5:7] or 6)


def _is_near(date: str, months: set[int]) -> bool:
    return not months or any(abs(_months(date) - one) <= _MONTHS_APART for one in months)


def _most_precise(own: Sequence[Named], rows: Sequence[Named]) -> Sequence[Named]:
    """Return rows with a day of the month that the maker's rows state, if there are some."""
    month = _most_common(own, "released").facts["released"]
    days = [
        one
        for one in rows
        if len(one.row.facts["released"]) == 10 and one.row.facts["released"].startswith(month)
    ]
    return days if len(month) == 7 and days else own


def _middle(rows: Sequence[Named], name: str) -> Row:
    """Return the row with the date that most hosts state, or else the one in the middle."""
    counts = Counter(one.row.facts[name] for one in rows).most_common(2)
    if len(counts) == 1 or counts[0][1] > counts[1][1]:
        return _most_common(rows, name)
    days = [one for one in rows if len(one.row.facts[name]) == 10] or rows
    ordered = sorted(days, key=lambda one: (one.row.facts[name], one.row.provider))
    return ordered[(len(ordered) - 1) // 2].row


# Of the hosts: some that state nothing are listed with a no. A size in the name tells open weights.
_OPEN_SHARE, _OPEN_SHARE_WITH_SIZE = 0.51, 0.33


def _open_weights(rows: Sequence[Named]) -> _Record | None:
    open_rows = [one for one in rows if one.row.facts["open_weights"]]
    has_size = any(one.name.size for one in rows)
    share = _OPEN_SHARE_WITH_SIZE if has_size else _OPEN_SHARE
    is_open = bool(rows) and len(open_rows) >= share * len(rows)
    found = open_rows if is_open else rows
    confidence = SINGLE if len({one.host for one in found}) > 1 else HOSTS_ONLY
    return _record(found[0].row, "open_weights", confidence) if found else None


def _most_common(rows: Sequence[Named], name: str) -> Row:
    counts = Counter(repr(one.row.facts[name]) for one in rows)
    return max(rows, key=lambda one: (counts[repr(one.row.facts[name])], one.row.provider)).row


def _agreement(rows: Sequence[Named], best: Named, name: str) -> float:
    others = {one.row.source for one in rows if one.row.facts[name] == best.row.facts[name]}
    return AGREED if len(others) > 1 else SINGLE
