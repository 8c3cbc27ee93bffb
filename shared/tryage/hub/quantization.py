"""How many weights packed tensors hold: eight 4-bit weights fill one 32-bit number."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tryage.hub.record import HubRecord, as_bool, as_mapping, as_positive_float, as_size, as_str

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.hub.record import ParsedRecord

_CONTAINER_BITS = {
    "I32": 32,
    "U32": 32,
    "I64": 64,
    "U64": 64,
    "I16": 16,
    "U16": 16,
    "I8": 8,
    "U8": 8,
}

# Exponents of blocks of weights, never weights.
_SCALE_DTYPES = frozenset(("F8_E8M0", "E8M0", "UE8"))

_BITS_IN_NAME = re.compile(r"(?<![0-9.])([2-8])[-_ ]?bits?(?![a-z])|[-_]w([2-8])a\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class QuantizationScheme:
    """How a quantization method stores weights, and the extra numbers of each group of weights."""

    bits: float
    group_size: float
    packed_overhead: float  # packed numbers per group (zero points, scales), counted as weights
    float_overhead: float  # floating-point numbers per group (scales, biases)
    container_dtypes: tuple[str, ...]


_GPTQ = QuantizationScheme(4, 128, 1, 1, ("I32", "U32"))

_MLX = QuantizationScheme(4, 64, 0, 2, ("U32",))

_SCHEMES: Mapping[str, QuantizationScheme] = {
    "gptq": _GPTQ,
    "awq": _GPTQ,
    "auto-round": _GPTQ,
    "mlx": _MLX,
    "compressed-tensors": QuantizationScheme(4, 128, 0, 1, ("I32", "U8", "I8")),
    "bitsandbytes": QuantizationScheme(4, 64, 2, 0, ("U8",)),
    "mxfp4": QuantizationScheme(4, 32, 2, 0, ("U8",)),
    "modelopt": QuantizationScheme(4, 16, 0, 1, ("U8",)),
    "quanto": QuantizationScheme(4, 128, 0, 1, ("U8",)),
}

# For other methods with known bits (exl2, hqq, aqlm ...); the extra numbers are neglected.
_GENERIC_SCHEME = QuantizationScheme(4, 128, 0, 0, ("I32", "U32", "I16", "U16", "U8"))


def elements_by_dtype(record: HubRecord) -> dict[str, float]:
    """Return the elements per type of `safetensors.parameters`, without invalid counts."""
    block = as_mapping(as_mapping(record.get("safetensors")).get("parameters"))
    return {
        dtype: number
        for dtype, value in block.items()
        if isinstance(dtype, str) and (number := as_size(value)) is not None
    }


@dataclass(frozen=True, slots=True)
class WeightCounts:
    """Two readings of one count: as stored, and as packed weights (None: not packed).

    `unknown_packing` tells that some weights must be packed in an unknown way.
    """

    stored_count: float
    unpacked_count: float | None = None
    unknown_packing: bool = False


def count_weights(elements: Mapping[str, float], record: ParsedRecord) -> WeightCounts:
    """Return how many weights the elements per type hold.

    The Hub counted packed elements until 2025 to 2026, and weights since then (huggingface.js
    #1770, #2003, #2415), and a record does not say which. So both readings are returned, except
    where the floating-point numbers are too few for the scales of packed weights.
    """
    elements = {dtype: count for dtype, count in elements.items() if dtype not in _SCALE_DTYPES}
    stored_count = sum(elements.values())
    scheme, bits = _scheme(record)
    if scheme is None:
        # Integers that are not weights are positions and masks, which are never most of a model.
        return WeightCounts(
            stored_count,
            unknown_packing=_sum_dtypes(elements, ("I32", "U32", "U8")) > stored_count / 2,
        )
    packed_elements = {
        dtype: elements[dtype] for dtype in scheme.container_dtypes if dtype in elements
    }
    if not packed_elements or all(_CONTAINER_BITS[dtype] <= bits for dtype in packed_elements):
        return WeightCounts(stored_count)
    slots = sum(count * _CONTAINER_BITS[dtype] / bits for dtype, count in packed_elements.items())
    weights = slots / (1 + scheme.packed_overhead / scheme.group_size)
    scales = weights * scheme.float_overhead / scheme.group_size
    floats = stored_count - sum(packed_elements.values())
    if floats < 0.97 * scales:
        return WeightCounts(stored_count)
    return WeightCounts(stored_count, weights + floats - scales)


def reconcile_counts(counts: WeightCounts, hints: Sequence[float | None]) -> tuple[float, float]:
    """Return the number of weights and its confidence, from the reading nearest to a hint.

    Hints are independent estimates of the number; the first that is known counts.
    """
    if counts.unpacked_count is None:
        return counts.stored_count, 0.5 if counts.unknown_packing else 0.95
    hint = next((hint for hint in hints if hint), None)
    if hint is None:
        return counts.unpacked_count, 0.6
    readings = (counts.unpacked_count, counts.stored_count)
    nearest = min(readings, key=lambda reading: abs(math.log(max(reading, 1.0) / hint)))
    return nearest, 0.9 if 0.75 < nearest / hint < 1.34 else 0.6


def bits_per_weight(record: ParsedRecord) -> float | None:
    """Return the bits per weight, None for a model that is not quantized."""
    return _scheme(record)[1] or None


def _sum_dtypes(elements: Mapping[str, float], dtypes: Sequence[str]) -> float:
    return sum(elements.get(dtype, 0.0) for dtype in dtypes)


def _scheme(record: ParsedRecord) -> tuple[QuantizationScheme | None, float]:
    """Return how weights are packed and in how many bits each; (None, 0) when they are not."""
    settings = as_mapping(record.config_value("quantization_config")) or as_mapping(
        record.config_value("quantization")
    )
    name = (as_str(settings.get("quant_method")) or "").lower()
    if not name:
        name = next(
            (word for word in _SCHEMES if word in record.lowercase_tags), record.library or ""
        )
    weights = _weights_config(settings)
    bits = _bits_from_config(settings, weights) or _bits_from_name(record)
    scheme = _SCHEMES.get(name, _GENERIC_SCHEME if bits else None)
    if scheme is None:
        return None, 0.0
    group_size = as_positive_float(settings.get("group_size")) or as_positive_float(
        weights.get("group_size")
    )
    if group_size is not None and group_size <= 4096:
        scheme = replace(scheme, group_size=group_size)
    return scheme, bits or scheme.bits


def _weights_config(settings: HubRecord) -> HubRecord:
    """Return how compressed-tensors stores the weights of its first group of modules."""
    groups = as_mapping(settings.get("config_groups")).values()
    return as_mapping(as_mapping(next(iter(groups), None)).get("weights"))


def _bits_from_config(settings: HubRecord, weights: HubRecord) -> float | None:
    """Return the bits per weight in the settings of the quantization."""
    if as_bool(settings.get("load_in_4bit")) or as_bool(settings.get("_load_in_4bit")):
        return 4.0
    if as_bool(settings.get("load_in_8bit")) or as_bool(settings.get("_load_in_8bit")):
        return 8.0
    bits = as_positive_float(settings.get("bits")) or as_positive_float(weights.get("num_bits"))
    return bits if bits is not None and 1 <= bits <= 16 else None


def _bits_from_name(record: ParsedRecord) -> float | None:
    """Return the bits per weight in a tag (`4-bit`) or in the name (`-4bit`, `-w4a16`)."""
    for word in (
        *(tag for tag in record.lowercase_tags if tag.endswith("bit")),
        record.short_name.lower(),
    ):
        match = _BITS_IN_NAME.search(word)
        if match is not None:
            return float(match[1] or match[2])
    return None
