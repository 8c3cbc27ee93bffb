"""How the options of a multiple-choice question stand to each other and to what is asked.

Options that repeat each other's words, as combined statements do, or that are numbers, part strong
experts from weak ones within a subject; an embedding of the whole says nothing of them.
"""

from __future__ import annotations

import math
import re
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.surface import ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.base import Floats

_NUMBERS = 19
# What is usual of some of them among MMLU's questions, and how far they spread: products tell what
# goes together only if every number is counted from its own middle.
_PAIRED = {
    2: (5.0, 1.0), 3: (3.2, 1.2), 4: (3.6, 1.2), 6: (1.6, 1.1), 7: (0.2, 0.35), 8: (0.16, 0.2),
    9: (0.06, 0.14), 10: (0.8, 0.9), 16: (1.4, 1.8), 17: (0.3, 0.8), 18: (0.09, 0.08),
}  # fmt: skip
_ROWS, _COLUMNS = np.triu_indices(len(_PAIRED))
_LIMIT = 4.0  # spreads
WIDTH = _NUMBERS + len(_ROWS)

_OPTION = re.compile(r"\n[ \t]{0,4}\(?([A-J])[.):] *([^\n]*)")
_FEWEST, _MOST = 2, 10
_WORD = re.compile(r"\w{4,}")
_NUMBER = re.compile(r"[-+$]?\d")
_DIGIT, _MATHS = re.compile(r"\d"), re.compile(r"[=+*^\\]")
_DENIED = re.compile(r"\b(?:NOT|EXCEPT|LEAST|not true|incorrect)\b")
_ABOVE = re.compile(r"\b(?:above|none of|all of|both)\b", re.IGNORECASE)
_STATEMENT = re.compile(r"\b(?:statement|true|false|wrong)\b", re.IGNORECASE)
_LONG = 10  # letters of a word that is likely a term
_ALIKE = 0.4  # shared words of options that are combinations of the same parts


def choices(prompts: Sequence[str]) -> Floats:
    """Describe the options, `(batch, WIDTH)`; zeros where none are given."""
    told = [_describe(ends(prompt)) for prompt in prompts]
    plain = np.array(told, np.float32).reshape(-1, _NUMBERS)
    described = np.zeros((len(plain), WIDTH), np.float32)
    given = plain[:, 0] > 0
    if given.any():
        usual, spread = np.array(list(_PAIRED.values()), np.float32).T
        paired = np.clip((plain[given][:, list(_PAIRED)] - usual) / spread, -_LIMIT, _LIMIT)
        products = paired[:, _ROWS] * paired[:, _COLUMNS]
        described[given] = np.concatenate([plain[given], products], axis=1)
    return described


def _describe(text: str) -> list[float]:
    found = list(_OPTION.finditer(text))[-_MOST:]
    if len(found) < _FEWEST:
        return [0.0] * _NUMBERS
    question, options = text[: found[0].start()], [one[2].strip() for one in found]
    bags = [set(option.lower().split()) for option in options]
    alike = _alike(bags)
    asked = set(_WORD.findall(question.lower()))
    words = text.split()
    return [
        1.0,
        math.log1p(len(options)),
        *_lengths(question, options),
        sum(bool(_NUMBER.match(option)) for option in options) / len(options),
        alike,
        max(alike - _ALIKE, 0.0),
        math.sqrt(len(asked & set().union(*bags))),
        float(bool(_ABOVE.search(" ".join(options[-2:])))),
        float(len(_STATEMENT.findall(text)) > 1),
        float(bool(_DENIED.search(question))),
        float("of the following" in question),
        float(question.rstrip().endswith("?")),
        math.sqrt(len(_DIGIT.findall(text))),
        math.sqrt(len(_MATHS.findall(text))),
        sum(len(word) >= _LONG for word in words) / (len(words) + 1),
    ]


def _lengths(question: str, options: Sequence[str]) -> list[float]:
    """Of the question, then of the options: mean, longest, shortest, spread; logarithmic."""
    long = np.array([len(option) for option in options], np.float64)
    of_options = long.mean(), long.max(), long.min(), long.std()
    return [math.log1p(length) for length in (len(question), *of_options)]


def _alike(bags: Sequence[set[str]]) -> float:
    """Share of words that two options have in common, on average."""
    shares = [len(a & b) / (1 + min(len(a), len(b))) for a, b in combinations(bags, 2)]
    return sum(shares) / len(shares)
