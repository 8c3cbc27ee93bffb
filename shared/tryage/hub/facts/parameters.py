"""How many parameters a model has, by the best of the sources that know something about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.hub.facts.naming import NamedSize, size_in_name
from tryage.hub.facts.packing import bits_per_weight, choose, count_weights, elements_by_type
from tryage.hub.facts.shapes import Shape, shape_of
from tryage.hub.facts.wire import mapping, size, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.hub.facts.clues import Clues
    from tryage.hub.facts.fact import Fact

# Bytes per weight as the config names the type; without a name, half precision is the custom.
_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "float8_e4m3fn": 1.0}
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_BESIDE = ("adapter_model", "training_args", "optimizer", "scheduler", "rng_state", "consolidated")


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the rules read: the record's clues, and the two guesses that check the others."""

    clues: Clues
    named: NamedSize | None
    shape: Shape | None


def read_parameters(clues: Clues) -> dict[str, Fact]:
    """Return `parameters`, and `active_parameters` where fewer are used per token.

    The first source that knows wins: tensor counts, GGUF, config.json, file sizes, name. The
    repository of an adapter holds only its small addition, so its own counts tell nothing, and of
    a quantised one the base's count is better (`inherit`).
    """
    shape = shape_of(clues.config)
    sources = _Sources(clues, size_in_name(clues.name), shape)
    rules: Sequence[Callable[[_Sources], Fact | None]] = (
        (_from_name,)
        if clues.is_adapter
        else (_from_tensors, _from_gguf, _from_shape, _from_files, _from_name)
    )
    found = next((fact for rule in rules if (fact := rule(sources)) is not None), None)
    if found is None:
        return {}
    facts = {"parameters": _checked(found, sources)}
    active = _active(sources, found.value)
    if active is not None:
        facts["active_parameters"] = active
    return facts


def _from_tensors(sources: _Sources) -> Fact | None:
    """Count tensors, not by `total`: authors can write any there (huggingface_hub #4221)."""
    clues, shape, named = sources.clues, sources.shape, sources.named
    total = size(mapping(clues.record.get("safetensors")).get("total"))
    elements = elements_by_type(clues.record)
    if not elements:
        return clues.fact(total, "safetensors.total alone", 0.6) if total else None
    counts = count_weights(elements, clues)
    if counts.packed and (shape or named):
        return None
    # A total that is no sum of the tensors, and near to what they unpack to, is somebody's count.
    confirmed = (
        total
        and counts.unpacked
        and abs(total / counts.stored - 1) > 0.02
        and 0.85 < total / counts.unpacked < 1.18
    )
    hints = (
        shape.total if shape else None,
        total if confirmed else None,
        named.total if named else None,
    )
    value, confidence = choose(counts, hints)
    packed = " unpacked" if counts.unpacked == value else ""
    return clues.fact(value, f"safetensors.parameters{packed}", confidence)


def _from_gguf(sources: _Sources) -> Fact | None:
    total = size(mapping(sources.clues.record.get("gguf")).get("total"))
    return sources.clues.fact(total, "gguf.total", 0.9) if total else None


def _from_shape(sources: _Sources) -> Fact | None:
    if sources.shape is None:
        return None
    return sources.clues.fact(sources.shape.total, "shape in config.json", 0.85)


def _from_files(sources: _Sources) -> Fact | None:
    """Divide the bytes of the weights by the bytes of one."""
    clues = sources.clues
    stored = weight_bytes(clues)
    if not stored:
        return None
    bits = bits_per_weight(clues)
    dtype = text(clues.nested("torch_dtype")) or text(clues.nested("dtype")) or ""
    each = bits / 8 if bits else _BYTES.get(dtype)
    confidence = 0.5 if bits or not each else 0.7
    return clues.fact(stored / (each or 2.0), "size of the weight files", confidence)


def _from_name(sources: _Sources) -> Fact | None:
    named = sources.named
    return None if named is None else sources.clues.fact(named.total, "name", 0.6)


def weight_bytes(clues: Clues) -> float | None:
    """Return the bytes of the weights that a loader would read: one format, no optimiser."""
    sums = dict.fromkeys(_WEIGHTS, 0.0)
    files = [file for file in clues.files if file.size and file.path.endswith(_WEIGHTS)]
    # Below the root there are checkpoints and other formats; some libraries have all there.
    for file in [file for file in files if "/" not in file.path] or files:
        path = file.path.rsplit("/", 1)[-1]
        if file.size and not path.startswith(_BESIDE) and ".fp16." not in path:
            sums[path[path.rfind(".") :]] += file.size
    return next((stored for stored in sums.values() if stored), None)


def _checked(fact: Fact, sources: _Sources) -> Fact:
    """Believe a count less where the name says something else by more than a factor of two."""
    named = sources.named
    if named is None or fact.source == "name" or 0.5 < fact.value / named.total < 2:
        return fact
    source = f"{fact.source}; the name says {named.total:.3g}"
    return sources.clues.fact(fact.value, source, min(fact.confidence, 0.5))


def _active(sources: _Sources, total: float) -> Fact | None:
    """Return the parameters each token passes, where they are fewer than all."""
    shape, named = sources.shape, sources.named
    if shape is not None and shape.active < 0.98 * shape.total:
        return sources.clues.fact(shape.active, "shape in config.json", 0.85)
    if named is not None and named.active is not None and named.active < 0.98 * total:
        return sources.clues.fact(named.active, "name", 0.6)
    return None
