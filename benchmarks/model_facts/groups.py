"""Join the rows of the tables into models: which names mean one model."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tables import Row, is_equal

from tryage.models.hosts import host_of, maker_host
from tryage.models.names import ModelName, parse_model_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

# A model whose name ends with an effort is a model of its own if it came so many days later.
_OWN_MODEL_DAYS = 45

_MODES = ("-thinking", "-think", "-reasoning")

# No chat models, prices for batches of requests, and those of one region or of reserved capacity.
LEFT_OUT = re.compile(
    r"embed|rerank|moderation|whisper|tts|transcri|/routers/|:free$|[-:]batch$"
    r"|^bedrock/(?:[a-z]+-)+\d/|commitment/"
)


class Named(NamedTuple):
    """A row with what its name says."""

    name: ModelName
    host: str
    row: Row


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
        if name is not None and not LEFT_OUT.search(row.model_id.lower()):
            groups[name.key].append(Named(name, host_of_row(name, row), row))
    return groups


def other_keys(groups: Mapping[str, Sequence[Named]], known: Container[str]) -> dict[str, str]:
    """Return other keys of models that tables state: titles, and the names of their makers.

    "Mistral Large 3" is the title of "mistral-large-2512" at its maker, and so is each key between
    the two: "mistral-large-3-675b-2512". A maker's name for the model of a host counts only if both
    have the same words beside sizes, because some tables state the name of a successor.
    """
    titles = own_titles(groups, known)
    names_of: dict[str, list[str]] = defaultdict(list)
    for title, key in titles.items():
        names_of[key].append(title)
    found = dict(titles) | {s: key for s, key in short_names(groups).items() if s in groups}
    for key, group in groups.items():
        bases = {_key(text, known) for one in group for text in one.row.other_names[1:]}
        for base in sorted({*bases, *names_of} & groups.keys() - {key}):
            if key not in found and _is_same(key, [base, *names_of.get(base, ())]):
                found[key] = base
    return found


def own_titles(groups: Mapping[str, Sequence[Named]], known: Container[str]) -> dict[str, str]:
    """Return the titles that makers give to one model each and that have a number of their own."""
    keys_of: dict[str, set[str]] = defaultdict(set)
    for key, group in groups.items():
        for one in group:
            title = next(iter(one.row.other_names), "")
            is_own = one.host == maker_host(one.name.model)
            is_moving = "latest" in f"{one.row.model_id} {title}".lower()
            if title and is_own and not is_moving and (title_key := _key(title, known)):
                keys_of[title_key].add(key)
    return {
        title: key
        for title, keys in keys_of.items()
        if len(keys) == 1 and _numbers(title) - _numbers(key := next(iter(keys)))
    }


def _key(text: str, known: Container[str]) -> str | None:
    name = parse_model_name(text, known)
    return None if name is None else name.key


_SIZES = re.compile(r"-(?:[ae]?\d+(?:\.\d+)?[bt]|\d+x\d+b|\d+e)(?=-|$)")


def _words(key: str) -> set[str]:
    return set(_SIZES.sub("", key).split("-"))


def _numbers(key: str) -> set[str]:
    return {word for word in _words(key) if _VERSIONED.search(word)}


def _is_same(key: str, names: Sequence[str]) -> bool:
    """Return whether a key has, beside sizes, the words of one of the names, or those of all."""
    own, others = _words(key), [_words(name) for name in names]
    numbers = [_numbers(name) for name in names]
    return (
        any(other <= own for other in others)
        and own <= set().union(*others)
        and _numbers(key) in [*numbers, set().union(*numbers)]
    )


def merged(groups: Mapping[str, list[Named]], others: Mapping[str, str]) -> dict[str, list[Named]]:
    """Return the groups of which each model has one, under the key of its maker's name."""
    result: dict[str, list[Named]] = defaultdict(list)
    for key, group in groups.items():
        result[final_key(key, others)] += group
    return dict(result)


def final_key(key: str, others: Mapping[str, str]) -> str:
    """Return the key at the end of a chain of other keys."""
    seen = {key}
    while (following := others.get(key)) is not None and following not in seen:
        seen.add(key := following)
    return key


def host_of_row(name: ModelName, row: Row) -> str:
    """Return the host of a row; Bedrock writes the region of its servers into the name."""
    host = host_of(row.provider) or ""
    own = host_of(name.provider) or ""
    return own if own.startswith(f"{host}/") else host


def canonical_name(key: str, group: Sequence[Named]) -> str:
    """Return how a model's maker writes the name of a key, or else most tables."""
    own = [one for one in group if one.name.key == key]
    maker = maker_host(own[0].name.model)
    spellings = Counter(one.name.model for one in own if one.host == maker)
    spellings = spellings or Counter(one.name.model for one in own)
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


_ACTIVE = re.compile(r"-(?:a\d+b|17b-\d+e)(?=-|$)")


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return names without the active parameters of a mixture: "qwen-3-235b" is one model."""
    full_keys: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        full_keys[_ACTIVE.sub("", key)].add(key)
    return {
        short: next(iter(found - {short}))
        for short, found in full_keys.items()
        if len(found - {short}) == 1
    }
