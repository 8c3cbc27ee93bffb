"""A prompt as one row of numbers: its meaning, its words and its form."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tryage.core.arrays import Float32Array

# An embedding has unit length over hundreds of entries: a few numbers must not drown it.
_SURFACE_SCALE, _OFFER_SCALE, _CHOICES_SCALE = 0.15, 0.4, 0.1

_OFTEN = 0.01  # of the training prompts; who gives options less often is not read for them

_LIMIT = 4.0  # standard deviations: one endless prompt is no more than "very long"

TokenIds = Sequence[NDArray[np.integer[Any]]]

READ = 8_192  # characters at either end: enough for form, and a bound for endless prompts

_COUNTED = (
    "\n", "?", "$", "\\", "___", ":", ",", ".", "'", "`", "    ", '"name"', "def ", "assert",
    "import ", "->", "| ", "http",
)  # fmt: skip

_SHARES = (
    re.compile(r"[0-9]"),
    re.compile(r"[{}\[\]()<>;=]"),
    re.compile(r"[+\-*/^=]"),
    re.compile(r"[A-Z]"),
    re.compile(r"[^\x00-\x7f]"),
    re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"),
)

SURFACE_WIDTH = 6 + len(_COUNTED) + len(_SHARES)

OFFER_WIDTH = 12

_START = re.compile(r"\n\s{0,8}[\[{]")

_OFFER_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")

_NAME = re.compile(r'"name":\s*"([^"]*)"')

_KEYWORD = re.compile(r'"(?:type|properties|required|description|parameters|default|name)"')

_REQUIRED = re.compile(r'"required":\s*\[([^\]]*)\]')

_OFFER_NUMBER = re.compile(r"\d+(?:\.\d+)?")

_LINK = re.compile(r"\b(?:and|also|both|respectively|then|each|followed)\b|[,;]")

_STOP = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "that",
        "this",
        "what",
        "can",
        "you",
        "are",
        "how",
        "into",
        "out",
        "using",
        "use",
        "given",
        "has",
        "have",
        "was",
        "will",
        "would",
        "should",
        "could",
        "please",
        "find",
        "calculate",
        "get",
    ]
)

_STEM = 5  # "calculates" and "calculating" are one word

_NUMBERS = 19

# What is usual of some of them among MMLU's questions, and how far they spread: products tell what
# goes together only if every number is counted from its own middle.
_PAIRED = {
    2: (5.0, 1.0), 3: (3.2, 1.2), 4: (3.6, 1.2), 6: (1.6, 1.1), 7: (0.2, 0.35), 8: (0.16, 0.2),
    9: (0.06, 0.14), 10: (0.8, 0.9), 16: (1.4, 1.8), 17: (0.3, 0.8), 18: (0.09, 0.08),
}  # fmt: skip

_ROWS, _COLUMNS = np.triu_indices(len(_PAIRED))

_CHOICES_LIMIT = 4.0  # spreads

CHOICES_WIDTH = _NUMBERS + len(_ROWS)

_OPTION = re.compile(r"\n[ \t]{0,4}\(?([A-J])[.):] *([^\n]*)")

_FEWEST, _MOST = 2, 10

_CHOICE_WORD = re.compile(r"\w{4,}")

_CHOICE_NUMBER = re.compile(r"[-+$]?\d")

_DIGIT, _MATHS = re.compile(r"\d"), re.compile(r"[=+*^\\]")

_DENIED = re.compile(r"\b(?:NOT|EXCEPT|LEAST|not true|incorrect)\b")

_ABOVE = re.compile(r"\b(?:above|none of|all of|both)\b", re.IGNORECASE)

_STATEMENT = re.compile(r"\b(?:statement|true|false|wrong)\b", re.IGNORECASE)

_LONG = 10  # letters of a word that is likely a term

_ALIKE = 0.4  # shared words of options that are combinations of the same parts


@dataclass(frozen=True, slots=True)
class Form:
    """What is usual of some numbers, to say how far a prompt is from it."""

    mean: Float32Array
    std: Float32Array
    scale: float

    def standardised(self, numbers: Float32Array) -> Float32Array:
        """Scale `(batch, n)` by what is usual."""
        usual = np.clip((numbers - self.mean) / self.std, -_LIMIT, _LIMIT)
        return np.asarray(self.scale * usual, np.float32)


@dataclass(frozen=True, slots=True)
class Features:
    """Joins embeddings, words, surface and offer to `phi(z)`, `(batch, d)`.

    And choices, if training met any.
    """

    lexicon: Lexicon
    surface: Form
    offer: Form
    choices: Form | None = None

    def join(self, prompts: Sequence[str], embeddings: Float32Array, ids: TokenIds) -> Float32Array:
        """Describe prompts whose embeddings `(batch, dim)` and token ids are at hand."""
        parts = [
            embeddings,
            self.lexicon.vectors(ids),
            self.surface.standardised(surface(prompts)),
            self.offer.standardised(offer(prompts)),
        ]
        if self.choices is not None:
            parts.append(self.choices.standardised(choices(prompts)))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The kept `tokens`, sorted, with their `idf`, both `(kept,)`, and `table` `(kept, width)`."""

    tokens: NDArray[np.int32]
    idf: Float32Array
    table: Float32Array

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    def vectors(self, ids: TokenIds) -> Float32Array:
        """Project prompts, given as token ids, to `(batch, width)`; no known token gives zeros."""
        out = np.zeros((len(ids), self.width), np.float32)
        for row, prompt in enumerate(ids):
            # of the tokens' own type: a search among another would copy them all, every time
            kinds, counts = _counted(prompt.astype(self.tokens.dtype))
            place = np.minimum(np.searchsorted(self.tokens, kinds), len(self.tokens) - 1)
            kept = self.tokens[place] == kinds if len(self.tokens) else np.zeros(0, np.bool_)
            place, counts = place[kept], counts[kept]
            weights = (1 + np.log(counts, dtype=np.float32)) * self.idf[place]
            if weights.any():  # a token of every prompt weighs nothing
                out[row] = (weights / np.sqrt(weights @ weights)) @ self.table[place]
        return out


def _counted(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Do what `np.unique(ids, return_counts=True)` does, in half of its time for a prompt."""
    ids.sort()
    starts = np.ones(len(ids) + 1, np.bool_)  # the last is that of what would come next
    np.not_equal(ids[1:], ids[:-1], out=starts[1:-1])
    places = starts.nonzero()[0]
    return ids[places[:-1]], places[1:] - places[:-1]


def surface(prompts: Sequence[str]) -> Float32Array:
    """Describe the form of prompts, `(batch, WIDTH)`; counts are logarithmic, shares linear."""
    return np.array([_describe_surface(prompt) for prompt in prompts], np.float32).reshape(
        -1, SURFACE_WIDTH
    )


def ends(prompt: str) -> str:
    """Keep the two ends of an endless prompt."""
    return prompt if len(prompt) <= 2 * READ else prompt[:READ] + prompt[-READ:]


def _describe_surface(prompt: str) -> list[float]:
    text = ends(prompt)
    end = text.rstrip()[-1:]
    characters, words = len(text) + 1, text.count(" ") + 1
    row = [
        float(np.log(len(prompt) + 1)),
        float(np.log(words)),
        characters / words / 5,
        float(end == "?"),
        float(end == "."),
        float(text[:1].isupper()),
    ]
    row += np.log1p([text.count(mark) for mark in _COUNTED]).tolist()
    row += [len(pattern.findall(text)) / characters * 5 for pattern in _SHARES]
    return row


def offer(prompts: Sequence[str]) -> Float32Array:
    """Describe the fit, `(batch, WIDTH)`; zeros where nothing is offered."""
    return np.array([_describe_offer(ends(prompt)) for prompt in prompts], np.float32).reshape(
        -1, OFFER_WIDTH
    )


def _describe_offer(text: str) -> list[float]:
    start = _START.search(text)
    if start is None:
        return [0.0] * OFFER_WIDTH
    request, offered = text[: start.start()], text[start.start() :]
    asked, named = _stems(request), _stems(" ".join(_NAME.findall(offered)))
    told = _stems(_KEYWORD.sub("", offered))
    required = sum(names.count('"') // 2 for names in _REQUIRED.findall(offered))
    counts = np.log1p(
        [
            len(request),
            len(offered),
            offered.count('"parameters"'),
            offered.count('"type"'),
            len(_LINK.findall(request)),
            required,
            len(_OFFER_NUMBER.findall(request)),
        ]
    )
    return [
        1.0,
        len(asked & named) / (len(named) + 1),
        len(asked & named) / (len(asked) + 1),
        len(asked & told) / (len(asked) + 1),
        len(asked & told) / (len(told) + 1),
        *counts[:6].tolist(),
        float(counts[6] - counts[5]),
    ]


def _stems(text: str) -> set[str]:
    return {word[:_STEM] for word in map(str.lower, _OFFER_WORD.findall(text)) if word not in _STOP}


def choices(prompts: Sequence[str]) -> Float32Array:
    """Describe the options, `(batch, WIDTH)`; zeros where none are given."""
    told = [_describe_choices(ends(prompt)) for prompt in prompts]
    plain = np.array(told, np.float32).reshape(-1, _NUMBERS)
    described = np.zeros((len(plain), CHOICES_WIDTH), np.float32)
    given = plain[:, 0] > 0
    if given.any():
        usual, spread = np.array(list(_PAIRED.values()), np.float32).T
        paired = np.clip(
            (plain[given][:, list(_PAIRED)] - usual) / spread, -_CHOICES_LIMIT, _CHOICES_LIMIT
        )
        products = paired[:, _ROWS] * paired[:, _COLUMNS]
        described[given] = np.concatenate([plain[given], products], axis=1)
    return described


def _describe_choices(text: str) -> list[float]:
    found = list(_OPTION.finditer(text))[-_MOST:]
    if len(found) < _FEWEST:
        return [0.0] * _NUMBERS
    question, options = text[: found[0].start()], [one[2].strip() for one in found]
    bags = [set(option.lower().split()) for option in options]
    alike = _alike(bags)
    asked = set(_CHOICE_WORD.findall(question.lower()))
    words = text.split()
    return [
        1.0,
        math.log1p(len(options)),
        *_lengths(question, options),
        sum(bool(_CHOICE_NUMBER.match(option)) for option in options) / len(options),
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
