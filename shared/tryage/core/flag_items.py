"""The meaning of one item of a flag, such as `smallest model` or `size<3B`."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from tryage.core.preferences import Requirement
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The weight of a natural phrase. Losses of scored answers and constraints both span [0, 1], so at 5
# a fifth of the scale counts as much as a right answer against a wrong one: a factor of 16 in size,
# a cent, two and a half years, six seconds.
NATURAL_WEIGHT = 5.0

# A larger weight adds nothing: the predicted loss is lost in rounding.
MAX_WEIGHT = 1000.0

# The values of `needs=`. A closed list: a typing error is an error, not a requirement never met.
CAPABILITIES = (
    *("tools", "vision", "structured_output", "audio", "reasoning"),
    *("pdf", "video", "files"),
)

# Constraint -> the phrases that mean it.
NATURAL_PHRASES: Mapping[str, tuple[str, ...]] = {
    "size": ("smallest", "smaller", "small", "compact", "tiny"),
    "recency": ("newest", "newer", "new", "latest", "most recent", "recent"),
    "cost": ("cheapest", "cheaper", "cheap", "low cost", "lowest cost", "low price", "inexpensive"),
    "latency": ("fastest", "faster", "fast", "quickest", "quick", "low latency", "lowest latency"),
    "security": ("safest", "safer", "safe", "most secure", "secure"),
    "popularity": ("most popular", "popular", "most downloaded"),
    "verbosity": ("concise", "most concise", "terse", "brief", "short", "shortest"),
    "readability": ("readable", "most readable", "easy to read", "easiest to read"),
}

_ACCURACY_PHRASES = ("most accurate", "accurate", "best", "best quality", "highest quality")
_NOUNS = ("model", "expert", "answer", "one", "llm")
_CONSTRAINT_OF_PHRASE = {
    phrase: constraint for constraint, phrases in NATURAL_PHRASES.items() for phrase in phrases
}

_NO_UNITS = {"": 1.0}
_COUNT_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}

# Key of a bound -> (field of the requirement, factor of each unit).
_BOUND_FIELDS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "size": ("parameters", _COUNT_UNITS),
    "cost": ("cost", {"": 1.0, "usd": 1.0}),
    "latency": ("latency", {"": 1.0, "s": 1.0, "ms": 1e-3}),
    "context": ("context_length", _COUNT_UNITS),
    "downloads": ("downloads", _COUNT_UNITS),
    "security": ("security", _NO_UNITS),
    "readability": ("readability", _NO_UNITS),
    "verbosity": ("output_tokens", _COUNT_UNITS),
}

# Key of a list of words -> field of the requirement.
_WORD_FIELDS = {
    "license": "license",
    "licence": "license",
    "model": "name",
    "needs": "capabilities",
}

# Key -> its valid forms, which messages suggest.
_EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "size": ("size=0.5", "size<3B", "size<=3B"),
    "recency": ("recency=0.5",),
    "security": ("security=0.5", "security>=0.9"),
    "verbosity": ("verbosity=0.5", "verbosity<=200"),
    "readability": ("readability=0.5", "readability>=60"),
    "cost": ("cost=0.5", "cost<=0.002"),
    "latency": ("latency=0.5", "latency<=2s"),
    "popularity": ("popularity=0.5",),
    "context": ("context>=32k",),
    "downloads": ("downloads>=10k",),
    "license": ("license=apache-2.0|mit",),
    "licence": ("licence=apache-2.0|mit",),
    "model": ("model=NAME",),
    "needs": (f"needs={'|'.join(CAPABILITIES[:2])}",),
    "since": ("since=2025-01-01",),
}

# Words that people write for a key, for messages only: the grammar stays small.
_SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("price", "prices", "dollars", "usd", "money", "budget", "max_cost"), "cost"),
    **dict.fromkeys(("params", "parameters", "parameter", "max_parameters"), "size"),
    **dict.fromkeys(("ctx", "window", "context_length", "min_context"), "context"),
    **dict.fromkeys(("time", "speed", "seconds", "max_latency"), "latency"),
    **dict.fromkeys(("licenses", "licences"), "license"),
    **dict.fromkeys(("name", "models", "expert", "only", "llm"), "model"),
    **dict.fromkeys(("capability", "capabilities", "need", "can", "supports"), "needs"),
    **dict.fromkeys(("date", "released", "release", "released_since", "after", "year"), "since"),
    **dict.fromkeys(("length", "output_tokens"), "verbosity"),
    **dict.fromkeys(("safety", "min_security"), "security"),
    **dict.fromkeys(("min_downloads", "uses"), "downloads"),
}

_EXPRESSION = re.compile(r"([^<>=]+)(<=|>=|<|>|=)([^<>=]+)")
_NUMBER = re.compile(r"(\$?)\s*([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*([a-z]*)")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2}))?(?:-([0-9]{1,2}))?")


@dataclass(frozen=True, slots=True)
class FlagItem:
    """The meaning of one item: a weight, a requirement, or neither for "most accurate"."""

    weight: tuple[str, float] | None = None
    requirement: Requirement | None = None

    @property
    def prefers_accuracy(self) -> bool:
        """Whether the item drops the weights that other flags of the prompt set."""
        return self.weight is None and self.requirement is None


def parse_item(item: str) -> FlagItem | None:
    """Return the meaning of an item, None if it is malformed."""
    expression = _EXPRESSION.fullmatch(item)
    if expression is None:
        return _parse_natural(item)
    key, op, value = (part.strip() for part in expression.groups())
    try:
        return _parse_expression(key.casefold(), op, value)
    except InputError:  # a well-formed number outside the range of its field
        return None


def closest_form(item: str) -> str:
    """Return the valid form nearest to a malformed item; there always is one."""
    text = " ".join(item.casefold().split())[:60]
    key = re.split("[<>=]", text, maxsplit=1)[0].strip()
    if text in CAPABILITIES:
        return f"needs={text}"
    if key in _SYNONYMS:
        renamed = _SYNONYMS[key] + _as_limit(key, text[len(key) :])
        is_valid = renamed.isprintable() and parse_item(renamed) is not None
        return renamed if is_valid else _nearest_example(renamed, _SYNONYMS[key])
    if key == text:  # no operator: a phrase, or a key alone
        forms = [*_natural_phrases(), *(form for forms in _EXAMPLES.values() for form in forms)]
        near = get_close_matches(text, forms, n=1, cutoff=0.4)
    else:
        (nearest_key,) = get_close_matches(key, _EXAMPLES, n=1, cutoff=0.0)
        return _nearest_example(text, nearest_key)
    return near[0] if near else "smallest model"


def _as_limit(key: str, rest: str) -> str:
    """Write "=0.01" after "max_cost" as a limit: after "cost" it would be a weight."""
    sign = {"max_": "<=", "min_": ">="}.get(key[:4])
    return rest if sign is None else re.sub(r"^\s*=", sign, rest)


def _nearest_example(text: str, key: str) -> str:
    """Return the valid form of a key that is nearest to a malformed item."""
    (nearest,) = get_close_matches(text, _EXAMPLES[key], n=1, cutoff=0.0)
    return nearest


def _natural_phrases() -> list[str]:
    """Return every natural phrase, with and without the word "model"."""
    phrases = [*_CONSTRAINT_OF_PHRASE, *_ACCURACY_PHRASES]
    return [*phrases, *(f"{phrase} model" for phrase in phrases)]


def _parse_natural(item: str) -> FlagItem | None:
    """Read `the smallest model`."""
    words = item.casefold().replace("-", " ").split()
    words = words[1:] if words[:1] == ["the"] else words
    words = words[:-1] if words and words[-1] in _NOUNS else words
    phrase = " ".join(words)
    if phrase in _ACCURACY_PHRASES:
        return FlagItem()
    constraint = _CONSTRAINT_OF_PHRASE.get(phrase)
    return None if constraint is None else FlagItem(weight=(constraint, NATURAL_WEIGHT))


def _parse_expression(key: str, op: str, value: str) -> FlagItem | None:
    """Read a key, an operator and a value, such as `size=0.5`."""
    if op != "=":
        return _parse_bound(key, op, value)
    if key in _WORD_FIELDS:
        return _parse_words(_WORD_FIELDS[key], value)
    if key == "since":
        return _parse_since(value)
    weight = _parse_number(value, _NO_UNITS) if key in NATURAL_PHRASES else None
    if weight is None or weight > MAX_WEIGHT:
        return None
    return FlagItem(weight=(key, weight))


def _parse_bound(key: str, op: str, value: str) -> FlagItem | None:
    """Read `size<3B`."""
    if key not in _BOUND_FIELDS:
        return None
    field, units = _BOUND_FIELDS[key]
    limit = _parse_number(value, units, dollars=key == "cost")
    return None if limit is None else FlagItem(requirement=Requirement(field, op, limit))


def _parse_words(field: str, value: str) -> FlagItem | None:
    """Read `license=mit|apache-2.0`, `model=NAME` or `needs=tools|vision`."""
    words = tuple(word.strip() for word in value.split("|"))
    if not all(words):
        return None
    if field == "capabilities":
        words = tuple(word.casefold() for word in words)
        if not set(words) <= set(CAPABILITIES):
            return None
    op = "has" if field == "capabilities" else "in"
    return FlagItem(requirement=Requirement(field, op, words))


def _parse_since(value: str) -> FlagItem | None:
    """Read `since=2025-01-31`, `since=2025-01` or `since=2025`."""
    match = _DATE.fullmatch(value)
    if match is None:
        return None
    year, month, day = (int(part or 1) for part in match.groups())
    try:
        date = datetime.date(year, month, day)
    except ValueError:
        return None
    return FlagItem(requirement=Requirement("released", ">=", date))


def _parse_number(text: str, units: Mapping[str, float], *, dollars: bool = False) -> float | None:
    """Read a number with one of the units, None if it is malformed."""
    match = _NUMBER.fullmatch(text.casefold())
    if match is None or match[3] not in units or (match[1] and not dollars):
        return None
    return float(match[2]) * units[match[3]]
