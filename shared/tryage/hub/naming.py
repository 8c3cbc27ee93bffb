"""The number of parameters as a model's name tells it: `7B`, `8x7B`, `30B-A3B`, `135M`, `1b7`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"m": 1e6, "b": 1e9, "t": 1e12}
# No letter or digit may touch the unit: `4bit` is no size. A version may follow (`7bv2`).
_END = r"(?=v\d|[^a-z0-9]|$)"
_NUMBER = r"(?P<n>0_\d+|\d+(?:\.\d+)?)"
# Not inside a number, nor after the marks of active (a3b), effective (e4b) or several (x7b).
_START = r"(?<![\d.])(?<![^a-z][aexv])"
_SIZE = re.compile(rf"{_START}{_NUMBER}(?P<unit>[bmt])(?P<rest>\d(?!\d))?{_END}", re.ASCII)
_MIXTURE = re.compile(rf"(?<![\d.])(?P<k>\d{{1,3}})x{_NUMBER}(?P<unit>[bm]){_END}", re.ASCII)
_ACTIVE = re.compile(rf"[^a-z0-9.]a{_NUMBER}b{_END}", re.ASCII)

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

    Of several sizes in billions the first counts: the others are mostly tokens seen (`1B-3T`) or
    the teacher's. Thousands are lengths of context, and millions count only without billions.
    """
    short = "-" + name.rsplit("/", 1)[-1].lower()
    mixture = _MIXTURE.search(short)
    if mixture is not None:
        return _mixture(mixture)
    found = [(match["unit"], _value(match)) for match in _SIZE.finditer(short)]
    if not found:
        return None
    units = [unit for unit, _ in found]
    unit = "b" if "b" in units else "m" if "m" in units else "t"
    total = found[units.index(unit)][1]
    if not 1e5 <= total <= 2e13:
        return None
    active = _ACTIVE.search(short)
    each = float(active["n"].replace("_", ".")) * 1e9 if active else None
    return NamedSize(total, each if each is not None and each <= total else None)


def _value(match: re.Match[str]) -> float:
    """Return the number of parameters; `1b7` is 1.7 billion."""
    number = float(match["n"].replace("_", "."))
    if match["rest"] and "." not in match["n"]:
        number += int(match["rest"]) / 10
    return number * _UNITS[match["unit"]]


def _mixture(match: re.Match[str]) -> NamedSize:
    """Return the size of `8x7B`: the experts share all but their feed-forward parts."""
    experts, each = int(match["k"]), float(match["n"].replace("_", "."))
    one = _SIZES.get(each, each * 1e9) if match["unit"] == "b" else each * 1e6
    shared = 1 - _FEED_FORWARD
    chosen = min(experts, _CHOSEN)
    return NamedSize(
        one * (shared + _FEED_FORWARD * experts), one * (shared + _FEED_FORWARD * chosen)
    )
