"""The number of parameters as a model's name tells it: `7B`, `8x7B`, `30B-A3B`, `135M`, `1b7`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"m": 1e6, "b": 1e9}
# No letter or digit may touch the unit: `4bit` is no size. A version may follow (`7bv2`).
_END = r"(?=v\d|[^a-z0-9]|$)"
# `1_8b` is 1.8 billion after a hyphen; after an underscore (`llama_2_7b`) the first is a version.
_NUMBER = r"(?P<n>(?:0|(?<=-)[1-9])_\d|0\.\d+|[1-9]\d{0,3}(?:\.\d+)?)"
# Not inside a number, nor after the marks of active (a3b), effective (e4b) or several (x7b).
_START = r"(?<![\d.])(?<![^a-z][aexv])"
_SIZE = re.compile(rf"{_START}{_NUMBER}(?P<unit>[bm])(?P<rest>\d(?!\d))?{_END}", re.ASCII)
_MIXTURE = re.compile(rf"(?<![\d.])(?P<k>\d{{1,3}})x{_NUMBER}(?P<unit>[bm]){_END}", re.ASCII)
_ACTIVE = re.compile(rf"[^a-z0-9.]a{_NUMBER}b{_END}", re.ASCII)
# The size is another model's: the one that this one drafts for, was cut from or imitates; and
# `17B-16E` is what a token passes, of sixteen experts.
_OTHERS = re.compile(r"speculator|eagle|dflash|draft|medusa|mmproj|random|-\d+e(?![a-z0-9])")
_SOURCE = re.compile(r"[-_]from[-_]")

# Of a Mistral-shaped model this share is feed-forward, which each expert has a copy of; the rest is
# shared. It gives 46.7B for 8x7B and 140.6B for 8x22B, as published.
_FEED_FORWARD = 0.7785
_CHOSEN = 2  # experts that such a model asks per token
_SIZES = {7.0: 7.2417e9, 22.0: 21.77e9}  # what those who round down to these really have


@dataclass(frozen=True, slots=True)
class NamedSize:
    """Parameters as the name has them; `active` per token, None where the name does not say."""

    total: float
    active: float | None = None


def size_in_name(name: str) -> NamedSize | None:
    """Return the size a name (with or without its owner) tells, None where it tells none.

    Of several sizes in billions the first counts: the others are mostly tokens seen or a
    teacher's. Millions count only without billions; thousands are lengths of context, trillions
    tokens. Measured by benchmarks/hub_names.py.
    """
    short = _SOURCE.split("-" + name.rsplit("/", 1)[-1].lower(), maxsplit=1)[0]
    if _OTHERS.search(short):
        return None
    mixture = _MIXTURE.search(short)
    if mixture is not None:
        return _mixture(mixture)
    found = [(match["unit"], _value(match)) for match in _SIZE.finditer(short)]
    billions = [value for unit, value in found if unit == "b"]
    total = next(iter(billions or [value for _, value in found]), 0.0)
    if not 1e5 <= total <= 5e12:
        return None
    active = _ACTIVE.search(short)
    each = _number(active["n"]) * 1e9 if active else None
    return NamedSize(total, each if each is not None and each <= total else None)


def _number(digits: str) -> float:
    return float(digits.replace("_", "."))


def _value(match: re.Match[str]) -> float:
    """Return the number of parameters; `1b7` is 1.7 billion."""
    tenths = int(match["rest"]) / 10 if match["rest"] else 0.0
    return (_number(match["n"]) + tenths) * _UNITS[match["unit"]]


def _mixture(match: re.Match[str]) -> NamedSize | None:
    """Return the size of `8x7B`: the experts share all but their feed-forward parts."""
    experts, each = int(match["k"]), _number(match["n"])
    one = _SIZES.get(each, each * 1e9) if match["unit"] == "b" else each * 1e6
    if experts < 1:
        return None
    shared, chosen = 1 - _FEED_FORWARD, min(experts, _CHOSEN)
    total = one * (shared + _FEED_FORWARD * experts)
    return NamedSize(total, one * (shared + _FEED_FORWARD * chosen))
