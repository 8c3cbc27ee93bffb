"""What the name of a model gives away: the family it belongs to, and how it was made.

A name is cut into words, and what a word means is looked up once: the Hub has millions of names
made of far fewer words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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
_NUMBER = r"v?([1-9](?:\.\d)?)(?![\d.]|x\d|[bmk](?![a-z]))"  # a version, not a size such as 7b
_VERSION = re.compile(_NUMBER)
_FAMILY = re.compile(
    f"(?:({'|'.join(sorted(_SERIES, key=len, reverse=True))})|({'|'.join(_SHORT)})(?![a-z]))"
    f"(?:{_NUMBER})?"
)
_MARK = re.compile("|".join(f"({pattern})" for pattern in _MARKS.values()))


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
