"""The number of parameters that a model's name states: all, and those that each token uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"m": 1e6, "b": 1e9}

# No letter or digit may follow the unit: `4bit` is not a size. A version may follow (`7bv2`).
_END = r"(?=v\d|[^a-z0-9]|$)"

# `-1_8b` is 1.8 billion, but in `llama_2_7b` the first number is a version.
_NUMBER = r"(?P<n>(?:0|(?<=-)[1-9])_\d|0\.\d+|[1-9]\d{0,3}(?:\.\d+)?)"

# Not inside a number, nor after the letters of active (a3b), effective (e4b) or several (x7b).
_START = r"(?<![\d.])(?<![^a-z][aexv])"

_SIZE = re.compile(rf"{_START}{_NUMBER}(?P<unit>[bm])(?P<tenths>\d(?!\d))?{_END}", re.ASCII)

_MOE_SIZE = re.compile(rf"(?<![\d.])(?P<k>\d{{1,3}})x{_NUMBER}(?P<unit>[bm]){_END}", re.ASCII)

_ACTIVE = re.compile(rf"[^a-z0-9.]a{_NUMBER}b{_END}", re.ASCII)

# The size in the name belongs to another model, which this model drafts for, was cut from or
# imitates. And `17B-16E` is the size that one token uses in a model of sixteen experts.
_UNRELATED_SIZE = re.compile(
    r"speculator|eagle|dflash|draft|medusa|mmproj|random|-\d+e(?![a-z0-9])"
)

_FROM_SEPARATOR = re.compile(r"[-_]from[-_]")

# The feed-forward share of a Mistral model: each expert has its own, and the rest is shared.
# It gives 46.7B for 8x7B and 140.6B for 8x22B, as published.
_FFN_SHARE = 0.7785

_EXPERTS_PER_TOKEN = 2  # in such a model

_EXACT_SIZES = {7.0: 7.2417e9, 22.0: 21.77e9}  # parameters of models whose names round to these


@dataclass(frozen=True, slots=True)
class SizeFromName:
    """Parameters as the name states them; `active` per token, None where it does not say."""

    total: float
    active: float | None = None


def size_from_name(name: str) -> SizeFromName | None:
    """Return the size in a name (with or without its owner), None without one.

    Of several sizes in billions the first counts: the others are mostly training tokens or the size
    of a teacher. Millions count only without billions; thousands are context lengths, trillions are
    tokens. Measured by benchmarks/hub_names.py.
    """
    short_name = _FROM_SEPARATOR.split("-" + name.rsplit("/", 1)[-1].lower(), maxsplit=1)[0]
    if _UNRELATED_SIZE.search(short_name):
        return None
    moe_match = _MOE_SIZE.search(short_name)
    if moe_match is not None:
        return _moe_size(moe_match)
    sizes = [(match["unit"], _size_from_match(match)) for match in _SIZE.finditer(short_name)]
    billions = [value for unit, value in sizes if unit == "b"]
    total = next(iter(billions or [value for _, value in sizes]), 0.0)
    if not 1e5 <= total <= 5e12:
        return None
    active_match = _ACTIVE.search(short_name)
    active_size = _parse_size_number(active_match["n"]) * 1e9 if active_match else None
    return SizeFromName(
        total, active_size if active_size is not None and active_size <= total else None
    )


def _parse_size_number(digits: str) -> float:
    return float(digits.replace("_", "."))


def _size_from_match(match: re.Match[str]) -> float:
    """Return the number of parameters; `1b7` is 1.7 billion."""
    tenths = int(match["tenths"]) / 10 if match["tenths"] else 0.0
    return (_parse_size_number(match["n"]) + tenths) * _UNITS[match["unit"]]


def _moe_size(match: re.Match[str]) -> SizeFromName | None:
    """Return the size of `8x7B`: the experts share everything but their feed-forward parts."""
    experts, number = int(match["k"]), _parse_size_number(match["n"])
    dense_size = _EXACT_SIZES.get(number, number * 1e9) if match["unit"] == "b" else number * 1e6
    if experts < 1:
        return None
    shared_fraction, experts_per_token = 1 - _FFN_SHARE, min(experts, _EXPERTS_PER_TOKEN)
    total = dense_size * (shared_fraction + _FFN_SHARE * experts)
    return SizeFromName(total, dense_size * (shared_fraction + _FFN_SHARE * experts_per_token))
