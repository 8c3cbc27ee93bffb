"""What a library says about its experts, as numbers from which their abilities can be guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.core.cache import remember

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array
    from tryage.core.library import Library

Family: TypeAlias = tuple[str, str]
"""The series and the generation of a model, such as `("llama", "llama-3.1")`; `""` if unknown."""

NUMBERS = ("size", "share", "age", "downloads", "price", "context")

_MARKS = {
    "instruct": r"instruct|chat|it$|sft|assistant",
    "preference": r"dpo|orpo|rlhf|ppo|kto",
    "merge": r"merge|slerp|ties|dare|franken|moe$|passthrough",
    "quantised": r"gguf|ggml|gptq|awq|exl\d|[48]?bit$|int[48]$|bnb|mlx",
    "code": r"\w*code|sql",
    "mathematics": r"math|gsm",
    "reasoning": r"reason|think|r1$|qwq|o[134]$",
}

MARKS = tuple(_MARKS)

FLAGS = (*MARKS, "closed")

_MADE = {"merge": "merge", "quantized": "quantised"}  # the Hub's word for it

_EPOCH = 738_521  # 2023-01-01, in ordinal days

_DAYS = 365.25  # in a year

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
_SHORT = (
    *("phi", "yi", "glm", "qwq", "aya", "reka", "nova", "opt", "mpt", "mt0", "t5", "bart", "bert"),
    *("orca", "o1", "o3", "o4"),
)

_NUMBER = r"v?([1-9](?:\.\d)?)(?![\d.]|x\d|[bmk](?![a-z]))"  # a version, not a size such as 7b

_VERSION = re.compile(_NUMBER)

_FAMILY = re.compile(
    f"(?:({'|'.join(sorted(_SERIES, key=len, reverse=True))})|({'|'.join(_SHORT)})(?![a-z]))"
    f"(?:{_NUMBER})?"
)

_MARK = re.compile("|".join(f"({pattern})" for pattern in _MARKS.values()))


@dataclass(frozen=True, slots=True)
class Traits:
    """Traits of `n` experts; those who share family and flags are of one kind.

    `numbers` `(n, 6)` are NaN where unknown: decades of parameters, decades by which fewer are
    active, years since 2023, decades of downloads, of USD per million output tokens, of context.
    `kinds` `(n,)` are rows of `flags` `(n_kinds, 8)` and of `families`.
    """

    numbers: Float32Array
    kinds: NDArray[np.intp]
    flags: NDArray[np.bool_]
    families: tuple[Family, ...]

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.kinds)


def read_traits(library: Library) -> Traits:
    """Read the traits of every expert, once per library."""
    return remember(library, read_traits, lambda: _read(library))


def family_of(name: str, facts: Mapping[str, Any] | None = None) -> Family:
    """Find out whence a model comes, from its name and its `Expert.metadata`.

    `metadata["family"]` overrules all; the models it was made from tell more than its own name,
    that more than its owner, its configuration and its tags.
    """
    return _family(name, _own_words(name), facts)


def _family(name: str, words: list[Word], facts: Mapping[str, Any] | None) -> Family:
    hub = facts.get("hub") if facts else None
    hub = hub if isinstance(hub, Mapping) else {}
    if facts:
        for stated in (*_names(facts.get("family")), *_names(hub.get("bases"))):
            found = family(_own_words(stated))
            if found[0]:
                return found
    found = family(words)
    if not found[0]:
        found = _owner_family(name.rpartition("/")[0])
    if not found[0] and hub:
        said = (hub.get(key) for key in ("model_type", "architectures", "tags"))
        found = family(word for names in said for text in _names(names) for word in read_name(text))
    return found


@lru_cache(maxsize=1 << 16)
def _owner_family(owner: str) -> Family:
    return family(read_name(owner))


def _own_words(name: str) -> list[Word]:
    return read_name(name.rpartition("/")[2])


def _names(said: object) -> list[str]:
    """Return the names in a name, in an object that has one, or in a list of either."""
    if isinstance(said, str):
        return [said]
    if isinstance(said, Mapping):
        return _names(said.get("name"))
    if isinstance(said, Sequence):
        return [name for item in said for name in _names(item)]
    return []


def _read(library: Library) -> Traits:
    codes: dict[tuple[Family, int], int] = {}
    closed = library.licensed(("proprietary",)).tolist()
    kinds = []
    for name, facts, shut in zip(library.names, library.metadata, closed, strict=True):
        words = _own_words(name)
        flags = marks(words) | shut << len(MARKS) | (_relations(facts) if facts else 0)
        kind = _family(name, words, facts), flags
        kinds.append(codes.setdefault(kind, len(codes)))
    bits = np.array([flags for _, flags in codes])
    return Traits(
        _numbers(library),
        np.array(kinds, dtype=np.intp),
        (bits[:, None] >> np.arange(len(FLAGS)) & 1).astype(np.bool_),
        tuple(found for found, _ in codes),
    )


def _relations(facts: Mapping[str, Any]) -> int:
    """Return how the Hub says that a model was made from its bases, a bit for each of `MARKS`."""
    hub = facts.get("hub")
    bases = hub.get("bases") if isinstance(hub, Mapping) else None
    if not isinstance(bases, Sequence):
        return 0
    said = {base.get("relation") for base in bases if isinstance(base, Mapping)}
    return sum(1 << MARKS.index(mark) for word, mark in _MADE.items() if word in said)


def _numbers(library: Library) -> Float32Array:
    parameters, active = library.column("parameters"), library.column("active_parameters")
    sparse = np.minimum(_decades(active) - _decades(parameters), 0)
    return np.stack(
        [
            _decades(parameters),
            np.where(np.isnan(sparse), 0, sparse),  # most experts use all their parameters
            (library.column("released") - _EPOCH) / _DAYS,
            np.log10(1 + library.column("downloads")),
            _decades(library.column("output_price")),
            _decades(library.column("context_length")),
        ],
        axis=1,
    ).astype(np.float32)


def _decades(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log10(np.where(column > 0, column, np.nan))


@dataclass(frozen=True, slots=True)
class Word:
    """What one word says: a series, a version (of the series or of the word before), marks."""

    series: str
    version: str
    marks: int


def family(words: Iterable[Word]) -> tuple[str, str]:
    """Return series and generation, such as `("llama", "llama-3.1")`; empty where none is named."""
    series = ""
    for word in words:
        if series:  # the word after the series may be its version
            return series, f"{series}-{word.version}" if word.version else series
        if word.series:
            series = word.series
            if word.version:
                return series, f"{series}-{word.version}"
    return series, series


def marks(words: Iterable[Word]) -> int:
    """Return how the words say that a model was made, a bit for each of `MARKS`."""
    found = 0
    for word in words:
        found |= word.marks
    return found


def read_name(name: str) -> list[Word]:
    """Cut a name, or any text with breaks between its words, into words."""
    plain = name.lower().replace("_", "-").replace("/", "-").replace(":", "-").replace(" ", "-")
    return list(map(_word, plain.split("-")))


@lru_cache(maxsize=1 << 18)
def _word(text: str) -> Word:
    if text.isdigit() and len(text) > 1:  # sizes, dates and counters, most of them unique
        return _SILENT
    found, mark = _FAMILY.match(text), _MARK.match(text)
    bits = 1 << (mark.lastindex or 1) - 1 if mark else 0
    if found:
        long, short, version = found.groups()
        return Word(long or short, version or "", bits)
    number = _VERSION.match(text)
    return Word("", number[1], bits) if number else Word("", "", bits) if bits else _SILENT


_SILENT = Word("", "", 0)
