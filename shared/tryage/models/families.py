"""What the words of a model's name say of it: its family, its generation and its tier."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Authors of derived models reuse these words, so the name of a derived model tells its family.
_SERIES = (
    *("mixtral", "ministral", "mistral", "codestral", "zephyr", "openchat", "solar", "starling"),
    *("tinyllama", "codellama", "llama", "vicuna", "alpaca", "wizard", "nemotron", "codeqwen"),
    *("qwen", "codegemma", "gemma", "gemini", "falcon", "deepseek", "internlm", "baichuan"),
    *("chatglm", "minimax", "kimi", "hunyuan", "claude", "chatgpt", "gptneox", "gptneo", "gptj"),
    *("gpt", "command", "jamba", "mamba", "rwkv", "dbrx", "arctic", "grok", "pythia", "bloom"),
    *("olmo", "dolly", "stablelm", "smollm", "granite", "redpajama", "xglm", "starcoder"),
    *("codegen", "flan", "roberta", "deberta", "electra", "exaone", "guanaco"),
)

# Other words begin with these short ones, so no letter may follow.
_SHORT_SERIES = (
    *("phi", "yi", "glm", "qwq", "aya", "reka", "nova", "opt", "mpt", "mt0", "t5", "bart", "bert"),
    *("orca", "o1", "o3", "o4"),
)

# Families that a name tells only if it begins with one of them: "step" is another word elsewhere.
_FIRST_WORD = re.compile(
    r"(ernie|doubao|longcat|mercury|sonar|palmyra|trinity|laguna|inkling|titan|devstral|magistral"
    r"|pixtral|voxtral|hermes|tulu|apertus|mimo|step|seed|ling|ring|muse|north|palm|lfm|qvq|hy)"
    r"(?![a-z])"
)

_VERSION = r"v?([1-9](?:\.\d)?)(?![\d.]|x\d|[bmk](?![a-z]))"

VERSION_WORD = re.compile(_VERSION)
"""A word that begins with a version, and not with a size such as 7b."""

FAMILY_WORD = re.compile(
    f"(?:({'|'.join(sorted(_SERIES, key=len, reverse=True))})|({'|'.join(_SHORT_SERIES)})(?![a-z]))"
    f"(?:{_VERSION})?"
)
"""A word that begins with the name of a family: long or short name, and the version after it."""

# "3.1", "v3", "r1", "k2.5", "4o", "3n"; not "7b", "16k", "8x7b", "a3b", "0314" or "2411".
_GENERATION = re.compile(
    r"[a-z]?(0(?:\.\d)?|[1-9]\d?(?:\.\d{1,2})?)(?:[a-z](?<![bmkxe]))?", re.ASCII
)

_O_SERIES = re.compile(r"o\d")

_REASONING_LINE = re.compile(r"([rtxz])\d")  # "deepseek-r1", "glm-z1", "hunyuan-t1", "ernie-x1"

# "3-5" of "claude-haiku-3-5", "4-5v" of "glm-4-5v"; not "05" of a date.
_SECOND_NUMBER = re.compile(r"(0|[1-9]\d?)(?:[a-z](?<![bmkxe]))?", re.ASCII)

_LATER_VERSION = re.compile(r"v\d(?:\.\d)?")  # "mistral-7b-v0.3"

TIERS = frozenset(
    (
        *("nano", "micro", "mini", "lite", "tiny", "edge", "small", "medium", "large", "xl"),
        *("flash", "fast", "air", "turbo", "pro", "plus", "max", "ultra", "super", "heavy"),
        *("premier", "express", "lightning", "highspeed", "haiku", "sonnet", "opus", "fable"),
        *("mythos", "scout", "maverick", "behemoth", "luna", "sol", "terra"),
    )
)
"""Words by which a maker tells apart the models of one generation."""

TIER_LEVELS = {
    **dict.fromkeys(("nano", "micro", "tiny", "edge"), -2.0),
    **dict.fromkeys(("lite", "mini", "small", "haiku", "express", "lightning", "luna"), -1.0),
    **dict.fromkeys(("flash", "air", "scout", "fast", "highspeed"), -0.5),
    **dict.fromkeys(("plus", "large", "premier", "super", "xl"), 0.5),
    **dict.fromkeys(("pro", "max", "opus", "fable", "sol"), 1.0),
    **dict.fromkeys(("ultra", "heavy", "mythos", "behemoth"), 1.5),
}
"""How large a model is in its generation, by a word of its name; 0 is the middle."""

_GLUED_TIER = re.compile(rf"\b({'|'.join(sorted(TIERS))})(\d)")  # "mistral-large2"


@lru_cache(maxsize=1 << 14)
def family_of(model: str) -> str | None:
    """Return the family of a model: "gpt", "claude", "o" of "o3-mini"; None if none is in it.

    Lines that are counted apart are families of their own: "deepseek-r" beside "deepseek".
    """
    words = model.split("-")
    found = _find_family(words)
    if found is None:
        return None
    family, index, rest = found
    next_word = rest or next(iter(words[index + 1 :]), "")
    if line := _REASONING_LINE.match(next_word):
        return f"{family}-{line[1]}"
    return "gpt-oss" if (family, next_word) == ("gpt", "oss") else family


@lru_cache(maxsize=1 << 14)
def generation_of(model: str) -> tuple[int, ...]:
    """Return the version of a model in its family: (5, 4) of "gpt-5.4-mini"; () if it has none.

    A date is no version: "mistral-large-2512" has none.
    """
    words = _GLUED_TIER.sub(r"\1-\2", model).split("-")
    found = _find_family(words)
    if found is None:
        return ()
    _, index, rest = found
    others = [rest, *words[index + 1 :]] if rest else words[index + 1 :]
    others = others[len(list(takewhile(TIERS.__contains__, others))) :]
    version = next((i for i, word in enumerate(others) if _LATER_VERSION.fullmatch(word)), None)
    return _leading_numbers(others) or (
        () if version is None else _leading_numbers([others[version][1:], *others[version + 1 :]])
    )


def may_tell_family(name: str, family: str) -> bool:
    """Return whether a model's canonical name can tell a family that `family_of` knows.

    It looks for the letters of the family alone, which is much faster than to read the name.
    """
    stem = family.partition("-")[0]  # "deepseek" of "deepseek-r", "gpt" of "gpt-oss"
    return stem in name and (stem != "o" or _O_SERIES.search(name) is not None)


def tier_of(model: str) -> tuple[str, ...]:
    """Return the words that tell a model's tier: ("flash", "lite") of "gemini-2.5-flash-lite"."""
    return tuple(word for word in model.split("-") if word in TIERS)


def _find_family(words: Sequence[str]) -> tuple[str, int, str] | None:
    """Return the family, the index of its word, and what follows it in that word."""
    if (first := _FIRST_WORD.match(words[0])) is not None:
        return first[1], 0, words[0][first.end() :]
    for index, word in enumerate(words):
        if (match := FAMILY_WORD.match(word)) is not None:
            family = match[1] or match[2]
            family = {"chatgpt": "gpt", "chatglm": "glm"}.get(family, family)
            if re.fullmatch(r"o\d", family):
                family, rest = "o", word[1:]
            else:
                rest = word[len(match[1] or match[2]) :]
            return family, index, rest
    return None


def _leading_numbers(words: Sequence[str]) -> tuple[int, ...]:
    found = _GENERATION.fullmatch(words[0]) if words else None
    if found is None:
        return ()
    numbers = _split(found[1])
    is_whole = len(numbers) == 1 and found[0][-1].isdigit() and len(words) > 1
    if is_whole and (second := _SECOND_NUMBER.fullmatch(words[1])) is not None:
        return (*numbers, int(second[1]))
    return numbers


def _split(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
