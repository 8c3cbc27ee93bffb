"""How many weights hide in packed tensors: eight 4-bit weights fill one 32-bit number."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tryage.hub.record import Record, flag, mapping, positive, size, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.hub.record import Clues

_BITS = {"I32": 32, "U32": 32, "I64": 64, "U64": 64, "I16": 16, "U16": 16, "I8": 8, "U8": 8}

_SCALES = frozenset(("F8_E8M0", "E8M0", "UE8"))  # exponents of blocks of weights, never weights

_NAMED_BITS = re.compile(r"(?<![0-9.])([2-8])[-_ ]?bits?(?![a-z])|[-_]w([2-8])a\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Method:
    """How a quantiser stores weights: numbers beside the weights, per group of them."""

    bits: float
    group: float
    beside_packed: float  # weights' worth of packed numbers per group (zero points, scales)
    beside_floats: float  # floating-point numbers per group (scales, biases)
    containers: tuple[str, ...]


_GPTQ = Method(4, 128, 1, 1, ("I32", "U32"))

_MLX = Method(4, 64, 0, 2, ("U32",))

_METHODS: Mapping[str, Method] = {
    "gptq": _GPTQ,
    "awq": _GPTQ,
    "auto-round": _GPTQ,
    "mlx": _MLX,
    "compressed-tensors": Method(4, 128, 0, 1, ("I32", "U8", "I8")),
    "bitsandbytes": Method(4, 64, 2, 0, ("U8",)),
    "mxfp4": Method(4, 32, 2, 0, ("U8",)),
    "modelopt": Method(4, 16, 0, 1, ("U8",)),
    "quanto": Method(4, 128, 0, 1, ("U8",)),
}

# Another quantiser (exl2, hqq, aqlm ...), where the bits are known: what is beside is neglected.
_OTHER = Method(4, 128, 0, 0, ("I32", "U32", "I16", "U16", "U8"))


@dataclass(frozen=True, slots=True)
class Counts:
    """The readings of one count by type: as it stands, and as packed weights (None: not packed).

    `packed` tells whether some of it must be packed although nobody says how.
    """

    stored: float
    unpacked: float | None = None
    packed: bool = False


def count_weights(elements: Mapping[str, float], clues: Clues) -> Counts:
    """Return how many weights the elements per type hold.

    The Hub counted packed elements until 2025 to 2026 and weights since (huggingface.js #1770,
    #2003, #2415), and a record does not say which: both readings are returned, except where the
    floating-point numbers are too few to hold the scales that packed weights need.
    """
    elements = {dtype: count for dtype, count in elements.items() if dtype not in _SCALES}
    stored = sum(elements.values())
    method, bits = _method(clues)
    if method is None:
        # Small integers beside weights are positions and masks; most of a model is no such thing.
        return Counts(stored, packed=_sum(elements, ("I32", "U32", "U8")) > stored / 2)
    packed = {dtype: elements[dtype] for dtype in method.containers if dtype in elements}
    if not packed or all(_BITS[dtype] <= bits for dtype in packed):
        return Counts(stored)
    slots = sum(count * _BITS[dtype] / bits for dtype, count in packed.items())
    weights = slots / (1 + method.beside_packed / method.group)
    scales = weights * method.beside_floats / method.group
    floats = stored - sum(packed.values())
    if floats < 0.97 * scales:
        return Counts(stored)
    return Counts(stored, weights + floats - scales)


def choose(counts: Counts, hints: Sequence[float | None]) -> tuple[float, float]:
    """Return the number of weights and the confidence, from the reading nearest to a hint.

    Of the hints, independent guesses of the number, the first that is known counts.
    """
    if counts.unpacked is None:
        return counts.stored, 0.5 if counts.packed else 0.95
    hint = next((hint for hint in hints if hint), None)
    if hint is None:
        return counts.unpacked, 0.6
    readings = (counts.unpacked, counts.stored)
    best = min(readings, key=lambda reading: abs(math.log(max(reading, 1.0) / hint)))
    return best, 0.9 if 0.75 < best / hint < 1.34 else 0.6


def _sum(elements: Mapping[str, float], dtypes: Sequence[str]) -> float:
    return sum(elements.get(dtype, 0.0) for dtype in dtypes)


def _method(clues: Clues) -> tuple[Method | None, float]:
    """Return how the weights are packed and in how many bits each, (None, 0) when they are not."""
    settings = mapping(clues.nested("quantization_config")) or mapping(clues.nested("quantization"))
    name = (text(settings.get("quant_method")) or "").lower()
    if not name:
        name = next((word for word in _METHODS if word in clues.marks), clues.library or "")
    weights = _weights(settings)
    bits = _bits(settings, weights) or _named_bits(clues)
    method = _METHODS.get(name, _OTHER if bits else None)
    if method is None:
        return None, 0.0
    group = positive(settings.get("group_size")) or positive(weights.get("group_size"))
    if group is not None and group <= 4096:
        method = replace(method, group=group)
    return method, bits or method.bits


def bits_per_weight(clues: Clues) -> float | None:
    """Return the bits that a quantised weight has, None for a model that is not quantised."""
    return _method(clues)[1] or None


def _weights(settings: Record) -> Record:
    """Return how compressed-tensors stores weights, of its groups of modules the first."""
    groups = mapping(settings.get("config_groups")).values()
    return mapping(mapping(next(iter(groups), None)).get("weights"))


def _bits(settings: Record, weights: Record) -> float | None:
    """Return the bits per weight that the quantiser's settings tell."""
    if flag(settings.get("load_in_4bit")) or flag(settings.get("_load_in_4bit")):
        return 4.0
    if flag(settings.get("load_in_8bit")) or flag(settings.get("_load_in_8bit")):
        return 8.0
    bits = positive(settings.get("bits")) or positive(weights.get("num_bits"))
    return bits if bits is not None and 1 <= bits <= 16 else None


def _named_bits(clues: Clues) -> float | None:
    """Return the bits that a tag (`4-bit`) or the name (`-4bit`, `-w4a16`) tells."""
    for word in (*(tag for tag in clues.marks if tag.endswith("bit")), clues.short_name.lower()):
        match = _NAMED_BITS.search(word)
        if match is not None:
            return float(match[1] or match[2])
    return None


def elements_by_type(record: Record) -> dict[str, float]:
    """Return the elements per type of `safetensors.parameters`, without what is no count."""
    block = mapping(mapping(record.get("safetensors")).get("parameters"))
    return {
        dtype: number
        for dtype, value in block.items()
        if isinstance(dtype, str) and (number := size(value)) is not None
    }
