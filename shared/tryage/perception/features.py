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
_SURFACE_SCALE, _TOOL_SCHEMA_SCALE, _CHOICE_SCALE = 0.15, 0.4, 0.1

_MIN_CHOICE_SHARE = (
    0.01  # of the training prompts; who gives options less often is not read for them
)

_CLIP_STD = 4.0  # standard deviations: one endless prompt is no more than "very long"

TokenIds = Sequence[NDArray[np.integer[Any]]]

MAX_CHARS_PER_END = (
    8_192  # characters at either end: enough for form, and a bound for endless prompts
)

_COUNTED_STRINGS = (
    "\n", "?", "$", "\\", "___", ":", ",", ".", "'", "`", "    ", '"name"', "def ", "assert",
    "import ", "->", "| ", "http",
)  # fmt: skip

_CHARACTER_CLASSES = (
    re.compile(r"[0-9]"),
    re.compile(r"[{}\[\]()<>;=]"),
    re.compile(r"[+\-*/^=]"),
    re.compile(r"[A-Z]"),
    re.compile(r"[^\x00-\x7f]"),
    re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"),
)

SURFACE_WIDTH = 6 + len(_COUNTED_STRINGS) + len(_CHARACTER_CLASSES)

TOOL_SCHEMA_WIDTH = 12

_SCHEMA_START = re.compile(r"\n\s{0,8}[\[{]")

_SCHEMA_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")

_SCHEMA_NAME = re.compile(r'"name":\s*"([^"]*)"')

_SCHEMA_KEYWORD = re.compile(r'"(?:type|properties|required|description|parameters|default|name)"')

_SCHEMA_REQUIRED = re.compile(r'"required":\s*\[([^\]]*)\]')

_REQUEST_NUMBER = re.compile(r"\d+(?:\.\d+)?")

_CONJUNCTION = re.compile(r"\b(?:and|also|both|respectively|then|each|followed)\b|[,;]")

_STOP_WORDS = frozenset(
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

_STEM_LENGTH = 5  # "calculates" and "calculating" are one word

_N_CHOICE_NUMBERS = 19

# What is usual of some of them among MMLU's questions, and how far they spread: products tell what
# goes together only if every number is counted from its own middle.
_PAIR_STATISTICS = {
    2: (5.0, 1.0), 3: (3.2, 1.2), 4: (3.6, 1.2), 6: (1.6, 1.1), 7: (0.2, 0.35), 8: (0.16, 0.2),
    9: (0.06, 0.14), 10: (0.8, 0.9), 16: (1.4, 1.8), 17: (0.3, 0.8), 18: (0.09, 0.08),
}  # fmt: skip

_PAIR_ROWS, _PAIR_COLUMNS = np.triu_indices(len(_PAIR_STATISTICS))

_PAIR_CLIP_STD = 4.0  # spreads

CHOICE_WIDTH = _N_CHOICE_NUMBERS + len(_PAIR_ROWS)

_OPTION = re.compile(r"\n[ \t]{0,4}\(?([A-J])[.):] *([^\n]*)")

_MIN_OPTIONS, _MAX_OPTIONS = 2, 10

_CONTENT_WORD = re.compile(r"\w{4,}")

_NUMERIC_OPTION = re.compile(r"[-+$]?\d")

_DIGIT, _MATH_SYMBOL = re.compile(r"\d"), re.compile(r"[=+*^\\]")

_NEGATION = re.compile(r"\b(?:NOT|EXCEPT|LEAST|not true|incorrect)\b")

_COMBINING_OPTION = re.compile(r"\b(?:above|none of|all of|both)\b", re.IGNORECASE)

_STATEMENT = re.compile(r"\b(?:statement|true|false|wrong)\b", re.IGNORECASE)

_LONG_WORD_LENGTH = 10  # letters of a word that is likely a term

_OVERLAP_THRESHOLD = 0.4  # shared words of options that are combinations of the same parts


@dataclass(frozen=True, slots=True)
class FeatureScaler:
    """What is usual of some numbers, to say how far a prompt is from it."""

    mean: Float32Array
    std: Float32Array
    scale: float

    def transform(self, numbers: Float32Array) -> Float32Array:
        """Scale `(batch, n)` by what is usual."""
        usual = np.clip((numbers - self.mean) / self.std, -_CLIP_STD, _CLIP_STD)
        return np.asarray(self.scale * usual, np.float32)


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """Joins embeddings, words, surface and offer to `phi(z)`, `(batch, d)`.

    And choices, if training met any.
    """

    tfidf: TfidfSvd
    surface_scaler: FeatureScaler
    tool_schema_scaler: FeatureScaler
    choice_scaler: FeatureScaler | None = None

    def extract(
        self, prompts: Sequence[str], embeddings: Float32Array, ids: TokenIds
    ) -> Float32Array:
        """Describe prompts whose embeddings `(batch, dim)` and token ids are at hand."""
        parts = [
            embeddings,
            self.tfidf.transform(ids),
            self.surface_scaler.transform(surface_features(prompts)),
            self.tool_schema_scaler.transform(tool_schema_features(prompts)),
        ]
        if self.choice_scaler is not None:
            parts.append(self.choice_scaler.transform(multiple_choice_features(prompts)))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, slots=True)
class TfidfSvd:
    """The kept `tokens`, sorted, with their `idf`, both `(kept,)`, and `table` `(kept, width)`."""

    token_ids: NDArray[np.int32]
    idf: Float32Array
    projection: Float32Array

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.projection.shape[1])

    def transform(self, ids: TokenIds) -> Float32Array:
        """Project prompts, given as token ids, to `(batch, width)`; no known token gives zeros."""
        out = np.zeros((len(ids), self.width), np.float32)
        for row, prompt in enumerate(ids):
            # of the tokens' own type: a search among another would copy them all, every time
            kinds, counts = _unique_counts(prompt.astype(self.token_ids.dtype))
            place = np.minimum(np.searchsorted(self.token_ids, kinds), len(self.token_ids) - 1)
            kept = self.token_ids[place] == kinds if len(self.token_ids) else np.zeros(0, np.bool_)
            place, counts = place[kept], counts[kept]
            weights = (1 + np.log(counts, dtype=np.float32)) * self.idf[place]
            if weights.any():  # a token of every prompt weighs nothing
                out[row] = (weights / np.sqrt(weights @ weights)) @ self.projection[place]
        return out


def _unique_counts(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Do what `np.unique(ids, return_counts=True)` does, in half of its time for a prompt."""
    ids.sort()
    starts = np.ones(len(ids) + 1, np.bool_)  # the last is that of what would come next
    np.not_equal(ids[1:], ids[:-1], out=starts[1:-1])
    places = starts.nonzero()[0]
    return ids[places[:-1]], places[1:] - places[:-1]


def surface_features(prompts: Sequence[str]) -> Float32Array:
    """Describe the form of prompts, `(batch, WIDTH)`; counts are logarithmic, shares linear."""
    return np.array([_surface_row(prompt) for prompt in prompts], np.float32).reshape(
        -1, SURFACE_WIDTH
    )


def head_and_tail_text(prompt: str) -> str:
    """Keep the two ends of an endless prompt."""
    return (
        prompt
        if len(prompt) <= 2 * MAX_CHARS_PER_END
        else prompt[:MAX_CHARS_PER_END] + prompt[-MAX_CHARS_PER_END:]
    )


def _surface_row(prompt: str) -> list[float]:
    text = head_and_tail_text(prompt)
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
    row += np.log1p([text.count(mark) for mark in _COUNTED_STRINGS]).tolist()
    row += [len(pattern.findall(text)) / characters * 5 for pattern in _CHARACTER_CLASSES]
    return row


def tool_schema_features(prompts: Sequence[str]) -> Float32Array:
    """Describe the fit, `(batch, WIDTH)`; zeros where nothing is offered."""
    return np.array(
        [_tool_schema_row(head_and_tail_text(prompt)) for prompt in prompts], np.float32
    ).reshape(-1, TOOL_SCHEMA_WIDTH)


def _tool_schema_row(text: str) -> list[float]:
    start = _SCHEMA_START.search(text)
    if start is None:
        return [0.0] * TOOL_SCHEMA_WIDTH
    request, offered = text[: start.start()], text[start.start() :]
    request_stems, name_stems = _stems(request), _stems(" ".join(_SCHEMA_NAME.findall(offered)))
    schema_stems = _stems(_SCHEMA_KEYWORD.sub("", offered))
    required = sum(names.count('"') // 2 for names in _SCHEMA_REQUIRED.findall(offered))
    counts = np.log1p(
        [
            len(request),
            len(offered),
            offered.count('"parameters"'),
            offered.count('"type"'),
            len(_CONJUNCTION.findall(request)),
            required,
            len(_REQUEST_NUMBER.findall(request)),
        ]
    )
    return [
        1.0,
        len(request_stems & name_stems) / (len(name_stems) + 1),
        len(request_stems & name_stems) / (len(request_stems) + 1),
        len(request_stems & schema_stems) / (len(request_stems) + 1),
        len(request_stems & schema_stems) / (len(schema_stems) + 1),
        *counts[:6].tolist(),
        float(counts[6] - counts[5]),
    ]


def _stems(text: str) -> set[str]:
    return {
        word[:_STEM_LENGTH]
        for word in map(str.lower, _SCHEMA_WORD.findall(text))
        if word not in _STOP_WORDS
    }


def multiple_choice_features(prompts: Sequence[str]) -> Float32Array:
    """Describe the options, `(batch, WIDTH)`; zeros where none are given."""
    told = [_choice_row(head_and_tail_text(prompt)) for prompt in prompts]
    plain = np.array(told, np.float32).reshape(-1, _N_CHOICE_NUMBERS)
    described = np.zeros((len(plain), CHOICE_WIDTH), np.float32)
    given = plain[:, 0] > 0
    if given.any():
        pair_mean, pair_std = np.array(list(_PAIR_STATISTICS.values()), np.float32).T
        paired = np.clip(
            (plain[given][:, list(_PAIR_STATISTICS)] - pair_mean) / pair_std,
            -_PAIR_CLIP_STD,
            _PAIR_CLIP_STD,
        )
        products = paired[:, _PAIR_ROWS] * paired[:, _PAIR_COLUMNS]
        described[given] = np.concatenate([plain[given], products], axis=1)
    return described


def _choice_row(text: str) -> list[float]:
    found = list(_OPTION.finditer(text))[-_MAX_OPTIONS:]
    if len(found) < _MIN_OPTIONS:
        return [0.0] * _N_CHOICE_NUMBERS
    question, options = text[: found[0].start()], [one[2].strip() for one in found]
    bags = [set(option.lower().split()) for option in options]
    alike = _option_overlap(bags)
    asked = set(_CONTENT_WORD.findall(question.lower()))
    words = text.split()
    return [
        1.0,
        math.log1p(len(options)),
        *_log_lengths(question, options),
        sum(bool(_NUMERIC_OPTION.match(option)) for option in options) / len(options),
        alike,
        max(alike - _OVERLAP_THRESHOLD, 0.0),
        math.sqrt(len(asked & set().union(*bags))),
        float(bool(_COMBINING_OPTION.search(" ".join(options[-2:])))),
        float(len(_STATEMENT.findall(text)) > 1),
        float(bool(_NEGATION.search(question))),
        float("of the following" in question),
        float(question.rstrip().endswith("?")),
        math.sqrt(len(_DIGIT.findall(text))),
        math.sqrt(len(_MATH_SYMBOL.findall(text))),
        sum(len(word) >= _LONG_WORD_LENGTH for word in words) / (len(words) + 1),
    ]


def _log_lengths(question: str, options: Sequence[str]) -> list[float]:
    """Of the question, then of the options: mean, longest, shortest, spread; logarithmic."""
    long = np.array([len(option) for option in options], np.float64)
    of_options = long.mean(), long.max(), long.min(), long.std()
    return [math.log1p(length) for length in (len(question), *of_options)]


def _option_overlap(bags: Sequence[set[str]]) -> float:
    """Share of words that two options have in common, on average."""
    shares = [len(a & b) / (1 + min(len(a), len(b))) for a, b in combinations(bags, 2)]
    return sum(shares) / len(shares)
