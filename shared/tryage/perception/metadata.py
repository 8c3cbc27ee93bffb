"""What a library says about its experts, as numbers from which their abilities can be guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.core.cache import get_or_compute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array
    from tryage.core.library import Library

Family: TypeAlias = tuple[str, str]
"""The series and the generation of a model, such as `("llama", "llama-3.1")`; `""` if unknown."""

NUMERIC_FEATURES = ("size", "share", "age", "downloads", "price", "context")

_VARIANT_PATTERNS = {
    "instruct": r"instruct|chat|it$|sft|assistant",
    "preference": r"dpo|orpo|rlhf|ppo|kto",
    "merge": r"merge|slerp|ties|dare|franken|moe$|passthrough",
    "quantised": r"gguf|ggml|gptq|awq|exl\d|[48]?bit$|int[48]$|bnb|mlx",
    "code": r"\w*code|sql",
    "mathematics": r"math|gsm",
    "reasoning": r"reason|think|r1$|qwq|o[134]$",
}

VARIANTS = tuple(_VARIANT_PATTERNS)

BINARY_FEATURES = (*VARIANTS, "closed")

_RELATION_VARIANTS = {"merge": "merge", "quantized": "quantised"}  # the Hub's word for it

_EPOCH = 738_521  # 2023-01-01, in ordinal days

_DAYS_PER_YEAR = 365.25  # in a year

# Makers reuse these words, so that a derived model tells whence it comes.
_SERIES = (
    *("mixtral", "ministral", "mistral", "codestral", "zephyr", "openchat", "solar", "starling"),
    *("tinyllama", "codellama", "llama", "vicuna", "alpaca", "wizard", "nemotron", "codeqwen"),
    *("qwen", "codegemma", "gemma", "gemini", "falcon", "deepseek", "internlm", "baichuan"),
    *("chatglm", "minimax", "kimi", "hunyuan", "claude", "chatgpt", "gptneox", "gptneo", "gptj"),
    *("gpt", "command", "jamba", "mamba", "rwkv", "dbrx", "arctic", "grok", "pythia", "bloom"),
    *("olmo", "dolly", "stablelm", "smollm", "granite", "redpajama", "xglm", "starcoder"),
    *("codegen", "flan", "roberta", "deberta", "electra", "exaone", "guanaco"),
)

# Words so short that others begin with them: nothing but a number may follow.
_SHORT_SERIES = (
    *("phi", "yi", "glm", "qwq", "aya", "reka", "nova", "opt", "mpt", "mt0", "t5", "bart", "bert"),
    *("orca", "o1", "o3", "o4"),
)

_VERSION_PATTERN = (
    r"v?([1-9](?:\.\d)?)(?![\d.]|x\d|[bmk](?![a-z]))"  # a version, not a size such as 7b
)

_VERSION = re.compile(_VERSION_PATTERN)

_FAMILY = re.compile(
    f"(?:({'|'.join(sorted(_SERIES, key=len, reverse=True))})|({'|'.join(_SHORT_SERIES)})(?![a-z]))"
    f"(?:{_VERSION_PATTERN})?"
)

_VARIANT = re.compile("|".join(f"({pattern})" for pattern in _VARIANT_PATTERNS.values()))


@dataclass(frozen=True, slots=True)
class MetadataFeatures:
    """Traits of `n` experts; those who share family and flags are of one kind.

    `numbers` `(n, 6)` are NaN where unknown: decades of parameters, decades by which fewer are
    active, years since 2023, decades of downloads, of USD per million output tokens, of context.
    `kinds` `(n,)` are rows of `flags` `(n_kinds, 8)` and of `families`.
    """

    numeric: Float32Array
    profile_index: NDArray[np.intp]
    binary: NDArray[np.bool_]
    families: tuple[Family, ...]

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.profile_index)


def metadata_features(library: Library) -> MetadataFeatures:
    """Read the traits of every expert, once per library."""
    return get_or_compute(library, metadata_features, lambda: _extract_features(library))


def model_family(name: str, metadata: Mapping[str, Any] | None = None) -> Family:
    """Find out whence a model comes, from its name and its `Expert.metadata`.

    `metadata["family"]` overrules all; the models it was made from tell more than its own name,
    that more than its owner, its configuration and its tags.
    """
    return _resolve_family(name, _name_tokens(name), metadata)


def _resolve_family(
    name: str, tokens: list[NameToken], metadata: Mapping[str, Any] | None
) -> Family:
    hub = metadata.get("hub") if metadata else None
    hub = hub if isinstance(hub, Mapping) else {}
    if metadata:
        for stated in (*_collect_names(metadata.get("family")), *_collect_names(hub.get("bases"))):
            found = parse_family(_name_tokens(stated))
            if found[0]:
                return found
    found = parse_family(tokens)
    if not found[0]:
        found = _owner_family(name.rpartition("/")[0])
    if not found[0] and hub:
        said = (hub.get(key) for key in ("model_type", "architectures", "tags"))
        found = parse_family(
            word for names in said for text in _collect_names(names) for word in parse_name(text)
        )
    return found


@lru_cache(maxsize=1 << 16)
def _owner_family(owner: str) -> Family:
    return parse_family(parse_name(owner))


def _name_tokens(name: str) -> list[NameToken]:
    return parse_name(name.rpartition("/")[2])


def _collect_names(value: object) -> list[str]:
    """Return the names in a name, in an object that has one, or in a list of either."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return _collect_names(value.get("name"))
    if isinstance(value, Sequence):
        return [name for item in value for name in _collect_names(item)]
    return []


def _extract_features(library: Library) -> MetadataFeatures:
    codes: dict[tuple[Family, int], int] = {}
    closed = library.licensed(("proprietary",)).tolist()
    kinds = []
    for name, facts, is_closed in zip(library.names, library.metadata, closed, strict=True):
        words = _name_tokens(name)
        flags = (
            combine_variants(words)
            | is_closed << len(VARIANTS)
            | (_relation_bits(facts) if facts else 0)
        )
        kind = _resolve_family(name, words, facts), flags
        kinds.append(codes.setdefault(kind, len(codes)))
    bits = np.array([flags for _, flags in codes])
    return MetadataFeatures(
        _numeric_features(library),
        np.array(kinds, dtype=np.intp),
        (bits[:, None] >> np.arange(len(BINARY_FEATURES)) & 1).astype(np.bool_),
        tuple(found for found, _ in codes),
    )


def _relation_bits(metadata: Mapping[str, Any]) -> int:
    """Return how the Hub says that a model was made from its bases, a bit for each of `MARKS`."""
    hub = metadata.get("hub")
    bases = hub.get("bases") if isinstance(hub, Mapping) else None
    if not isinstance(bases, Sequence):
        return 0
    said = {base.get("relation") for base in bases if isinstance(base, Mapping)}
    return sum(
        1 << VARIANTS.index(mark) for word, mark in _RELATION_VARIANTS.items() if word in said
    )


def _numeric_features(library: Library) -> Float32Array:
    parameters, active = library.column("parameters"), library.column("active_parameters")
    sparse = np.minimum(_log10(active) - _log10(parameters), 0)
    return np.stack(
        [
            _log10(parameters),
            np.where(np.isnan(sparse), 0, sparse),  # most experts use all their parameters
            (library.column("released") - _EPOCH) / _DAYS_PER_YEAR,
            np.log10(1 + library.column("downloads")),
            _log10(library.column("output_price")),
            _log10(library.column("context_length")),
        ],
        axis=1,
    ).astype(np.float32)


def _log10(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log10(np.where(column > 0, column, np.nan))


@dataclass(frozen=True, slots=True)
class NameToken:
    """What one word says: a series, a version (of the series or of the word before), marks."""

    series: str
    version: str
    variant_bits: int


def parse_family(tokens: Iterable[NameToken]) -> tuple[str, str]:
    """Return series and generation, such as `("llama", "llama-3.1")`; empty where none is named."""
    series = ""
    for word in tokens:
        if series:  # the word after the series may be its version
            return series, f"{series}-{word.version}" if word.version else series
        if word.series:
            series = word.series
            if word.version:
                return series, f"{series}-{word.version}"
    return series, series


def combine_variants(tokens: Iterable[NameToken]) -> int:
    """Return how the words say that a model was made, a bit for each of `MARKS`."""
    found = 0
    for word in tokens:
        found |= word.variant_bits
    return found


def parse_name(name: str) -> list[NameToken]:
    """Cut a name, or any text with breaks between its words, into words."""
    plain = name.lower().replace("_", "-").replace("/", "-").replace(":", "-").replace(" ", "-")
    return list(map(_parse_token, plain.split("-")))


@lru_cache(maxsize=1 << 18)
def _parse_token(text: str) -> NameToken:
    if text.isdigit() and len(text) > 1:  # sizes, dates and counters, most of them unique
        return _EMPTY_TOKEN
    found, mark = _FAMILY.match(text), _VARIANT.match(text)
    bits = 1 << (mark.lastindex or 1) - 1 if mark else 0
    if found:
        long, short, version = found.groups()
        return NameToken(long or short, version or "", bits)
    number = _VERSION.match(text)
    return (
        NameToken("", number[1], bits)
        if number
        else NameToken("", "", bits)
        if bits
        else _EMPTY_TOKEN
    )


_EMPTY_TOKEN = NameToken("", "", 0)
