"""Model names and metadata as numbers from which abilities can be predicted.

A name is cut into words, and what a word means is looked up once: the Hub has millions of names
that are made of far fewer words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.core.cache import get_or_compute
from tryage.models.families import FAMILY_WORD, TIER_LEVELS, VERSION_WORD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.core.arrays import BoolArray, Float32Array, Float64Array, IndexArray
    from tryage.core.library import Library

Family: TypeAlias = tuple[str, str]
"""The series and the generation of a model, such as `("llama", "llama-3.1")`; `""` if unknown."""

# Saved priors have coefficients in the order of these two tuples; the words are not saved. A prior
# that was saved before the last numbers were added reads the first ones.
NUMERIC_FEATURES = (
    *("size", "share", "age", "downloads", "price", "context"),
    *("index", "rating", "tier"),
)

_TIER = NUMERIC_FEATURES.index("tier")

# The share of active parameters and the tier have a value for every expert.
_UNKNOWN_BY_DEFAULT = [
    i for i, name in enumerate(NUMERIC_FEATURES) if name not in {"share", "tier"}
]

_VARIANT_PATTERNS = {
    "instruct": r"instruct|chat|it$|sft|assistant",
    "preference": r"dpo|orpo|rlhf|ppo|kto",
    "merge": r"merge|slerp|ties|dare|franken|moe$|passthrough",
    "quantized": r"gguf|ggml|gptq|awq|exl\d|[48]?bit$|int[48]$|bnb|mlx",
    "code": r"\w*code|sql",
    "mathematics": r"math|gsm",
    "reasoning": r"reason|think|r1$|qwq|o[134]$",
}

VARIANTS = tuple(_VARIANT_PATTERNS)

BINARY_FEATURES = (*VARIANTS, "closed")

_RELATION_VARIANTS = ("merge", "quantized")  # the Hub's relations to a base that are variants

_EPOCH = 738_521  # 2023-01-01, in ordinal days

_DAYS_PER_YEAR = 365.25

_MIDDLE_RATING = 1_350

_MAX_DEPTH = 8  # of lists and objects in each other, in metadata of any origin

_MAX_RESULT = 1e6  # no index or rating comes near it

_VARIANT = re.compile("|".join(f"({pattern})" for pattern in _VARIANT_PATTERNS.values()))


@dataclass(frozen=True, slots=True)
class MetadataFeatures:
    """Numbers and flags of `n` experts; experts of the same family and flags share a profile.

    `numeric` `(n, 9)` are NaN where unknown: log10 of the parameters, log10 of the share of them
    that is active, years since 2023, log10 of downloads, of USD per million output tokens, and of
    the context length, the index of all published results, the rating by blind votes in units of
    100, and how large the name says that it is among its generation. `is_expected` `(n,)` marks
    experts whose release, price and context are only expected from their names. `profile_index`
    `(n,)` points to rows of `binary` `(n_profiles, 8)` and of `families`.
    """

    numeric: Float32Array
    is_expected: BoolArray
    profile_index: IndexArray
    binary: BoolArray
    families: tuple[Family, ...]

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.profile_index)

    @property
    def is_stranger(self) -> BoolArray:
        """Of which experts neither a number nor a family nor a flag is known, `(n,)`."""
        has_no_family = np.array([family[0] == "" for family in self.families])
        is_bare = ~self.binary.any(axis=1) & has_no_family
        has_no_number = np.isnan(self.numeric[:, _UNKNOWN_BY_DEFAULT]).all(axis=1)
        return np.asarray(
            has_no_number & (self.numeric[:, _TIER] == 0) & is_bare[self.profile_index]
        )


def metadata_features(library: Library) -> MetadataFeatures:
    """Return the features of every expert of a library; they are computed once."""
    return get_or_compute(library, metadata_features, lambda: _extract_features(library))


def _extract_features(library: Library) -> MetadataFeatures:
    profiles: dict[tuple[Family, int], int] = {}
    closed_flags = library.licensed(("proprietary",)).tolist()
    profile_index, tiers = [], []
    for name, metadata, is_closed in zip(
        library.names, library.metadata, closed_flags, strict=True
    ):
        tokens = _name_tokens(name)
        tiers.append(sum([token.tier for token in tokens]))
        flags = combine_variants(tokens) | is_closed << len(VARIANTS)
        if metadata:
            flags |= _relation_bits(metadata)
        profile = _resolve_family(name, tokens, metadata), flags
        profile_index.append(profiles.setdefault(profile, len(profiles)))
    bits = np.array([flags for _, flags in profiles])
    numeric, is_expected = _numeric_features(library, tiers)
    return MetadataFeatures(
        numeric,
        is_expected,
        np.array(profile_index, dtype=np.intp),
        (bits[:, None] >> np.arange(len(BINARY_FEATURES)) & 1).astype(np.bool_),
        tuple(family for family, _ in profiles),
    )


def _numeric_features(library: Library, tiers: Sequence[float]) -> tuple[Float32Array, BoolArray]:
    """Return the numbers `(n, 9)`, and which experts are only expected to have them `(n,)`."""
    from tryage.perception.public_facts import add_public_facts  # measured experts need no tables

    parameters, active_parameters = (
        library.column("parameters"),
        library.column("active_parameters"),
    )
    facts = {
        field: library.column(field).copy()
        for field in ("released", "output_price", "context_length")
    }
    facts["index"], facts["overall"] = _published_results(library)
    is_expected = add_public_facts(library, facts)
    active_share = np.minimum(_log10(active_parameters) - _log10(parameters), 0)
    numeric = np.stack(
        [
            _log10(parameters),
            np.where(
                np.isnan(active_share), 0, active_share
            ),  # most experts use all their parameters
            (facts["released"] - _EPOCH) / _DAYS_PER_YEAR,
            np.log10(1 + library.column("downloads")),
            _log10(facts["output_price"]),
            _log10(facts["context_length"]),
            facts["index"],
            (facts["overall"] - _MIDDLE_RATING) / 100,
            tiers,
        ],
        axis=1,
    )
    return numeric.astype(np.float32), is_expected


def _published_results(library: Library) -> tuple[Float64Array, Float64Array]:
    """Return the index and the rating in `Expert.metadata["results"]`, `(n,)` each."""
    columns = np.full((2, len(library)), np.nan)
    for i, metadata in enumerate(library.metadata):
        results = metadata.get("results") if metadata else None
        if isinstance(results, Mapping):
            for column, category in zip(columns, ("index", "overall"), strict=True):
                value = results.get(category)
                is_number = isinstance(value, (int, float)) and abs(value) < _MAX_RESULT
                column[i] = value if is_number else np.nan
    return columns[0], columns[1]


def _log10(column: Float64Array) -> Float64Array:
    return np.log10(np.where(column > 0, column, np.nan))


def _relation_bits(metadata: Mapping[str, Any]) -> int:
    """Return the relations of a model to its bases that the Hub states, one bit per variant."""
    hub = metadata.get("hub")
    bases = hub.get("bases") if isinstance(hub, Mapping) else None
    if not isinstance(bases, Sequence):
        return 0
    relations = [base.get("relation") for base in bases if isinstance(base, Mapping)]
    return sum(1 << VARIANTS.index(word) for word in _RELATION_VARIANTS if word in relations)


def model_family(name: str, metadata: Mapping[str, Any] | None = None) -> Family:
    """Return the family of a model, from its name and its `Expert.metadata`.

    The first of these that names a family decides: `metadata["family"]`, the models that it was
    derived from, its own name, its owner, and its configuration and tags.
    """
    return _resolve_family(name, _name_tokens(name), metadata)


def _resolve_family(
    name: str, tokens: list[NameToken], metadata: Mapping[str, Any] | None
) -> Family:
    hub = metadata.get("hub") if metadata else None
    hub = hub if isinstance(hub, Mapping) else {}
    if metadata:
        for metadata_name in (
            *_collect_names(metadata.get("family")),
            *_collect_names(hub.get("bases")),
        ):
            family = parse_family(_name_tokens(metadata_name))
            if family[0]:
                return family
    family = parse_family(tokens)
    if not family[0]:
        family = _owner_family(name.rpartition("/")[0])
    if not family[0] and hub:
        values = (hub.get(key) for key in ("model_type", "architectures", "tags"))
        texts = (text for value in values for text in _collect_names(value))
        family = parse_family(token for text in texts for token in parse_name(text))
    return family


@lru_cache(maxsize=1 << 16)
def _owner_family(owner: str) -> Family:
    return parse_family(parse_name(owner))


def _name_tokens(name: str) -> list[NameToken]:
    """Return the tokens of a model's name without its owner."""
    return parse_name(name.rpartition("/")[2])


def _collect_names(value: object, depth: int = 0) -> list[str]:
    """Return the names in a name, in an object that has one, or in a list of either."""
    if isinstance(value, str):
        return [value]
    if depth == _MAX_DEPTH:
        return []
    if isinstance(value, Mapping):
        return _collect_names(value.get("name"), depth + 1)
    if isinstance(value, Sequence):
        return [name for item in value for name in _collect_names(item, depth + 1)]
    return []


@dataclass(frozen=True, slots=True)
class NameToken:
    """The meaning of one word of a name.

    It is a series, a version (of the series or of the word before), variants, one bit for each of
    `VARIANTS`, and how large a model with this word is among its generation.
    """

    series: str
    version: str
    variant_bits: int
    tier: float = 0.0


_EMPTY_TOKEN = NameToken("", "", 0)


def parse_name(name: str) -> list[NameToken]:
    """Cut a name, or any text with breaks between its words, into tokens."""
    hyphenated_name = (
        name.lower().replace("_", "-").replace("/", "-").replace(":", "-").replace(" ", "-")
    )
    return list(map(_parse_token, hyphenated_name.split("-")))


@lru_cache(maxsize=1 << 18)
def _parse_token(text: str) -> NameToken:
    if text.isdigit() and len(text) > 1:  # sizes, dates and counters, most of them unique
        return _EMPTY_TOKEN
    family_match, variant_match = FAMILY_WORD.match(text), _VARIANT.match(text)
    bits = 1 << ((variant_match.lastindex or 1) - 1) if variant_match else 0
    tier = TIER_LEVELS.get(text.partition("@")[0], 0.0)
    if family_match:
        long_series, short_series, version = family_match.groups()
        return NameToken(long_series or short_series, version or "", bits, tier)
    version_match = VERSION_WORD.match(text)
    if version_match:
        return NameToken("", version_match[1], bits)
    return NameToken("", "", bits, tier) if bits or tier else _EMPTY_TOKEN


def parse_family(tokens: Iterable[NameToken]) -> Family:
    """Return series and generation, such as `("llama", "llama-3.1")`; both `""` if unknown."""
    series = ""
    for token in tokens:
        if series:  # the word after the series may be its version
            return series, f"{series}-{token.version}" if token.version else series
        if token.series:
            series = token.series
            if token.version:
                return series, f"{series}-{token.version}"
    return series, series


def combine_variants(tokens: Iterable[NameToken]) -> int:
    """Return the variants that the words of a name mean, one bit for each of `VARIANTS`."""
    bits = 0
    for token in tokens:
        bits |= token.variant_bits
    return bits
