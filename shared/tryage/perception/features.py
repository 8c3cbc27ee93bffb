"""A prompt as one row of numbers: its embedding, its words, its surface and its structure.

Which expert answers well depends on form as much as on meaning. A long list of functions, a text
with blanks to fill and a line of Java have similar embeddings, but different numbers here.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.core.cache import cached_property
from tryage.errors import InputError
from tryage.perception.tokenizer import MAX_BYTES, excerpt

if TYPE_CHECKING:
    from tryage.core.arrays import Float32Array
    from tryage.perception.pretrained_features import PretrainedFeatures

TokenIds = Sequence[NDArray[np.integer[Any]]]

_CLIP_STD = 4.0  # standard deviations: an endless prompt counts as very long, not as endless

_COUNTED_STRINGS = (
    "\n", "?", "$", "\\", "___", ":", ",", ".", "'", "`", "    ", '"name"', "def ", "assert",
    "import ", "->", "| ", "http",
)  # fmt: skip

# The kinds of characters that are counted, as ranges of codes. A character may be of several kinds.
# Their order is the order of the columns.
_CHARACTER_KINDS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0x30, 0x39),),  # a digit of a number
    tuple((code, code) for code in b"{}[]()<>;="),  # a bracket or a sign that code uses often
    tuple((code, code) for code in b"+-*/^="),  # a sign of arithmetic
    ((0x41, 0x5A),),  # a capital letter of English
    ((0x80, 0x10FFFF),),  # a character that English text rarely has
    ((0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF)),  # of Japanese, Chinese or Korean
)

_N_CODES = 0x10000  # all characters above these are of the kinds of the last code


def _kinds_by_code() -> NDArray[np.uint8]:
    """Return the kinds of every character by its code, as a sum of powers of two."""
    kinds = np.zeros(_N_CODES, np.uint8)
    for power, ranges in enumerate(_CHARACTER_KINDS):
        for first, last in ranges:
            kinds[first : last + 1] += 1 << power
    return kinds


_KINDS_OF_CODE = _kinds_by_code()
_KIND_SETS = np.arange(1 << len(_CHARACTER_KINDS))
_KINDS_OF_SET = _KIND_SETS[:, None] >> np.arange(len(_CHARACTER_KINDS)) & 1

_ASCII_OF_KIND = [
    bytes(code for code in range(0x80) if any(first <= code <= last for first, last in ranges))
    for ranges in _CHARACTER_KINDS
]

_LENGTHS_AND_ENDS = 6  # the numbers before those of `_COUNTED_STRINGS`, in `_surface_row`

_LOG_1P = np.log1p(np.arange(MAX_BYTES + 2)).tolist()  # of all counts in an excerpt

SURFACE_WIDTH = _LENGTHS_AND_ENDS + len(_COUNTED_STRINGS) + len(_CHARACTER_KINDS)

_FORM_STRINGS = ("\n", "?", ":", ",", ".", "'", "`", "    ", "| ")
# Signs of arithmetic, which Markdown also uses, capital letters, and the two kinds of scripts.
_FORM_KINDS = (2, 3, 4, 5)

FORM_COLUMNS: tuple[int, ...] = (
    *range(_LENGTHS_AND_ENDS),
    *(_LENGTHS_AND_ENDS + _COUNTED_STRINGS.index(part) for part in _FORM_STRINGS),
    *(_LENGTHS_AND_ENDS + len(_COUNTED_STRINGS) + kind for kind in _FORM_KINDS),
)
"""The columns of `surface_features` that change with the form or the language of a prompt alone."""

FORM_MARKS = (
    "! !! !!! ? ?? . .. ... , : ; # ## ### #### * ** *** _ __ - -- --- \" ' ` `` ``` ( )"
    " \u201c \u201d \u201e \u00ab \u00bb \u00a1 \u00bf \u2026"
    " \u3002 \uff0c \uff01 \uff1f \uff1a \uff1b \u3001 \uff08 \uff09"
)
"""Marks of punctuation and of Markdown, in Latin and Chinese writing, with spaces between them."""

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
        *("the", "and", "for", "with", "from", "that", "this", "what", "can", "you", "are", "how"),
        *("into", "out", "using", "use", "given", "has", "have", "was", "will", "would", "should"),
        *("could", "please", "find", "calculate", "get"),
    ]
)

_STEM_LENGTH = 5  # "calculates" and "calculating" become one stem

# The numbers that describe a multiple-choice question, in the order of `_choice_row`.
_CHOICE_COLUMNS = (
    "has_options",
    "option_count",
    "question_length",
    "mean_option_length",
    "max_option_length",
    "min_option_length",
    "option_length_std",
    "numeric_share",
    "option_overlap",
    "excess_overlap",
    "words_shared_with_question",
    "has_combining_option",
    "has_statements",
    "has_negation",
    "has_of_the_following",
    "ends_with_question_mark",
    "digit_count",
    "math_symbol_count",
    "long_word_share",
)

CHOICE_WIDTH = len(_CHOICE_COLUMNS)

# The numbers that are multiplied in pairs. Their order is the order of the products, and so of the
# columns that a saved ChoiceScaler expects.
_PAIRED_COLUMNS = [
    _CHOICE_COLUMNS.index(name)
    for name in (
        *("question_length", "mean_option_length", "max_option_length", "option_length_std"),
        *("numeric_share", "option_overlap", "excess_overlap", "words_shared_with_question"),
        *("digit_count", "math_symbol_count", "long_word_share"),
    )
]

_PAIR_ROWS, _PAIR_COLUMNS = np.triu_indices(len(_PAIRED_COLUMNS))

PAIRED_WIDTH, CHOICE_PRODUCTS_WIDTH = len(_PAIRED_COLUMNS), CHOICE_WIDTH + len(_PAIR_ROWS)

_OPTION = re.compile(r"\n[ \t]{0,4}\(?([A-J])[.):] *([^\n]*)")
_MIN_OPTIONS, _MAX_OPTIONS = 2, 10
_CONTENT_WORD = re.compile(r"\w{4,}")
_NUMERIC_OPTION = re.compile(r"[-+$]?\d")
_MATH_SYMBOLS = "=+*^\\"
_NEGATIONS = ("NOT", "EXCEPT", "LEAST", "not true", "incorrect")
_NEGATION = re.compile(rf"\b(?:{'|'.join(_NEGATIONS)})\b")
_COMBINING_OPTION = re.compile(r"\b(?:above|none of|all of|both)\b", re.IGNORECASE)
_STATEMENT_WORDS = ("statement", "true", "false", "wrong")
_STATEMENT = re.compile(rf"\b(?:{'|'.join(_STATEMENT_WORDS)})\b", re.IGNORECASE)
_LONG_WORD_LENGTH = 10  # letters; a word of this length is likely a technical term
_OVERLAP_THRESHOLD = 0.4  # share of common words; options above it combine the same statements


@dataclass(frozen=True)
class FeatureExtractor:
    """Joins embedding, words, surface and tool schemas to `phi(z)`, `(batch, d)`.

    Multiple-choice options are described too, if the training prompts had enough of them. The
    blocks of an embedding of hidden states are standardized by `block_scaler`. If the training
    started from a `pretrained` router, `tfidf` is that one's; what it knows of the prompt comes
    last, and before it the words of the own training prompts, `own_tfidf`. Saved scalers and heads
    identify the numbers by their order alone, so the order must not change.
    """

    tfidf: TfidfSvd
    surface_scaler: FeatureScaler
    tool_schema_scaler: FeatureScaler
    choice_scaler: ChoiceScaler | None = None
    block_scaler: BlockScaler | None = None
    pretrained: PretrainedFeatures | None = None
    own_tfidf: TfidfSvd | None = None

    @property
    def known_columns(self) -> tuple[slice, ...]:
        """The columns of what a pretrained router knows; none if the training started from none."""
        return () if self.pretrained is None else (slice(-self.pretrained.width, None),)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The columns of each block of the embedding; none for one that is used as it is."""
        if self.block_scaler is None:
            return ()
        n_blocks, _, width = self.block_scaler.projections.shape
        return tuple(slice(i * width, (i + 1) * width) for i in range(n_blocks))

    def extract(
        self, prompts: Sequence[str], embeddings: Float32Array, ids: TokenIds
    ) -> Float32Array:
        """Describe prompts whose embeddings `(batch, dim)` and token ids are known."""
        scaler = self.block_scaler
        parts = [
            embeddings if scaler is None else scaler.transform(embeddings),
            self.tfidf.transform(ids),
            surface_features(prompts),
            tool_schema_features(prompts),
        ]
        if self.choice_scaler is not None:
            parts.append(self.choice_scaler.add_products(multiple_choice_features(prompts)))
        features = np.concatenate(parts, axis=1, dtype=np.float32)
        self._scaler.transform_inplace(features[:, -len(self._scaler.mean) :])
        if self.pretrained is None:
            return features
        known = self.pretrained.transform(features)
        if self.own_tfidf is None:
            return np.concatenate([features, known], axis=1)
        return np.concatenate([features, self.own_tfidf.transform(ids), known], axis=1)

    @cached_property
    def _scaler(self) -> FeatureScaler:
        """All scalers as one: a prompt has few numbers, so a call takes longer than its work."""
        scalers = [self.surface_scaler, self.tool_schema_scaler]
        if self.choice_scaler is not None:
            scalers.append(self.choice_scaler.scaler)
        scales = [np.full(len(one.mean), one.scale, np.float32) for one in scalers]
        return FeatureScaler(
            np.concatenate([one.mean for one in scalers]),
            np.concatenate([one.std for one in scalers]),
            np.concatenate(scales),
        )


@dataclass(frozen=True, slots=True)
class BlockScaler:
    """Standardizes the blocks of an embedding of hidden states, and projects each (PCA).

    A few numbers of a hidden state are thousands of times as large as the others (Sun et al., 2024,
    "Massive activations"), so each is scaled by its `mean` and `std` `(dim,)` over the training
    prompts. `projections` are `(n_blocks, block_width, n_components)`.
    """

    mean: Float32Array
    std: Float32Array
    projections: Float32Array

    def __post_init__(self) -> None:
        """Check that the blocks make up the embedding.

        Raises:
            InputError: they are wider or narrower.
        """
        n_blocks, block_width, _ = self.projections.shape
        if not len(self.mean) == len(self.std) == n_blocks * block_width:
            raise InputError(
                f"{n_blocks} blocks of {block_width} numbers, with {len(self.mean)} means and "
                f"{len(self.std)} deviations; expected one of each for every number"
            )

    def transform(self, embeddings: Float32Array) -> Float32Array:
        """Turn embeddings `(batch, dim)` into unit rows `(batch, n_blocks * n_components)`.

        All blocks of a row have the same length; an embedding of zeros stays zeros.
        """
        n_blocks, block_width, n_components = self.projections.shape
        z_scores = ((embeddings - self.mean) / self.std).clip(-_CLIP_STD, _CLIP_STD)
        z_scores[~embeddings.any(axis=1)] = 0
        blocks = z_scores.reshape(len(embeddings), n_blocks, block_width).transpose(1, 0, 2)
        projected = blocks @ self.projections
        lengths = np.sqrt((projected * projected).sum(axis=2, keepdims=True) * n_blocks)
        projected /= np.where(lengths > 0, lengths, 1)
        rows = projected.transpose(1, 0, 2).reshape(len(embeddings), n_blocks * n_components)
        return np.asarray(rows, np.float32)


@dataclass(frozen=True)
class TfidfSvd:
    """The words of a prompt as a short vector: a projection of TF-IDF over the encoder's tokens.

    Latent semantic analysis (Deerwester et al., 1990). It keeps the phrases by which data sets and
    kinds of tasks are recognized, which an embedding averages away. `token_ids` `(n_kept,)` are the
    tokens that count, sorted, with their `idf` `(n_kept,)`; `projection` is `(n_kept, width)`.
    """

    token_ids: NDArray[np.int32]
    idf: Float32Array
    projection: Float32Array

    def __post_init__(self) -> None:
        """Check that each token has a weight and a row.

        Raises:
            InputError: there are more or fewer.
        """
        if not len(self.token_ids) == len(self.idf) == len(self.projection):
            raise InputError(
                f"{len(self.token_ids)} tokens, {len(self.idf)} weights and "
                f"{len(self.projection)} rows; expected as many of each"
            )

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.projection.shape[1])

    def transform(self, ids: TokenIds) -> Float32Array:
        """Project token ids to `(batch, width)`; a prompt without a known token becomes zeros."""
        out = np.zeros((len(ids), self.width), np.float32)
        for row, prompt_ids in enumerate(ids):
            rows = self._rows_by_id.take(prompt_ids, mode="clip")
            unique_rows, counts = _unique_counts(rows[rows != _NOT_KEPT])
            weights = (1 + np.log(counts, dtype=np.float32)) * self.idf.take(unique_rows)
            norm = np.sqrt(weights @ weights)
            if norm > 0:  # a token that every prompt has weighs nothing
                out[row] = (weights / norm) @ self.projection.take(unique_rows, 0)
        return out

    @cached_property
    def _rows_by_id(self) -> NDArray[np.int32]:
        """The row of every token in `projection`; the last entry is for all tokens after it."""
        n_ids = int(self.token_ids[-1]) + 1 if len(self.token_ids) else 0
        rows = np.full(n_ids + 1, _NOT_KEPT, np.int32)
        rows[self.token_ids] = np.arange(len(self.token_ids))
        return rows


_NOT_KEPT = -1


def _unique_counts(values: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Return the same as `np.unique(values, return_counts=True)`, in half of its time for a prompt.

    It sorts `values` in place.
    """
    values.sort()
    is_start = np.ones(len(values) + 1, np.bool_)  # the last entry is for the end of the values
    np.not_equal(values[1:], values[:-1], out=is_start[1:-1])
    starts = is_start.nonzero()[0]
    return values[starts[:-1]], starts[1:] - starts[:-1]


@dataclass(frozen=True, slots=True)
class FeatureScaler:
    """Standardizes numbers by the `mean` and `std` `(n,)` of the training prompts.

    `scale` makes them small: an embedding has length 1 over hundreds of entries, and a few numbers
    must not outweigh it. There is one scale for all numbers, or one for each, `(n,)`. A number
    whose `std` is infinite does not count.
    """

    mean: Float32Array
    std: Float32Array
    scale: float | Float32Array

    def transform(self, numbers: Float32Array) -> Float32Array:
        """Scale numbers `(batch, n)`, and clip those that are far from the mean."""
        scaled = np.array(numbers, np.float32)
        self.transform_inplace(scaled)
        return scaled

    def transform_inplace(self, numbers: Float32Array) -> None:
        """Scale float32 numbers `(batch, n)` in place."""
        numbers -= self.mean
        numbers /= self.std
        np.clip(numbers, -_CLIP_STD, _CLIP_STD, out=numbers)
        numbers *= self.scale


@dataclass(frozen=True, slots=True)
class ChoiceScaler:
    """Standardizes the numbers of multiple-choice questions and the products of some of them.

    `pair_mean` and `pair_std` `(11,)` are of the numbers that are multiplied; `scaler` is of all
    numbers and products, 85 columns.
    """

    pair_mean: Float32Array
    pair_std: Float32Array
    scaler: FeatureScaler

    def __post_init__(self) -> None:
        """Check that there is a mean and a deviation for each number.

        Raises:
            InputError: there are more or fewer.
        """
        if not len(self.pair_mean) == len(self.pair_std) == PAIRED_WIDTH:
            raise InputError(
                f"{len(self.pair_mean)} means and {len(self.pair_std)} deviations; expected "
                f"{PAIRED_WIDTH} of each"
            )

    def transform(self, numbers: Float32Array) -> Float32Array:
        """Turn `multiple_choice_features` `(batch, 19)` into features `(batch, 85)`."""
        return self.scaler.transform(self.add_products(numbers))

    def add_products(self, numbers: Float32Array) -> Float32Array:
        """Turn `multiple_choice_features` `(batch, 19)` into what `scaler` reads, `(batch, 85)`."""
        return add_pair_products(numbers, self.pair_mean, self.pair_std)


def add_pair_products(
    numbers: Float32Array, pair_mean: Float32Array, pair_std: Float32Array
) -> Float32Array:
    """Append the products of pairs to the numbers `(batch, 19)` of multiple-choice questions.

    A product shows that two numbers are unusual together. So every number is first centered on its
    mean, and scaled. The features of prompts without options are zeros.
    """
    features = np.zeros((len(numbers), CHOICE_PRODUCTS_WIDTH), np.float32)
    has_options = numbers[:, _CHOICE_COLUMNS.index("has_options")] > 0
    if has_options.any():
        choice_numbers = numbers[has_options]
        z_scores = (choice_numbers[:, _PAIRED_COLUMNS] - pair_mean) / pair_std
        z_scores = z_scores.clip(-_CLIP_STD, _CLIP_STD)
        products = z_scores[:, _PAIR_ROWS] * z_scores[:, _PAIR_COLUMNS]
        features[has_options] = np.concatenate([choice_numbers, products], axis=1)
    return features


def surface_features(prompts: Sequence[str]) -> Float32Array:
    """Describe the surface of prompts, `(batch, SURFACE_WIDTH)`: length, digits, code, scripts.

    Counts are logarithmic, shares linear.
    """
    rows = [_surface_row(prompt) for prompt in prompts]
    return np.array(rows, np.float32).reshape(-1, SURFACE_WIDTH)


def _surface_row(prompt: str) -> list[float]:
    text = excerpt(prompt)
    last_character = text.rstrip()[-1:]
    n_characters, n_words = len(text) + 1, text.count(" ") + 1
    kinds = _count_ascii_kinds(text) if text.isascii() else _count_kinds(text)
    return [
        math.log(len(prompt) + 1),
        math.log(n_words),
        n_characters / n_words / 5,
        last_character == "?",
        last_character == ".",
        text[:1].isupper(),
        *[_LOG_1P[text.count(part)] for part in _COUNTED_STRINGS],
        *[count / n_characters * 5 for count in kinds],
    ]


def _count_ascii_kinds(text: str) -> list[int]:
    """Count the characters of each of `_CHARACTER_KINDS` in a text of ASCII, six numbers."""
    code, length = text.encode("ascii"), len(text)
    return [length - len(code.translate(None, kind)) if kind else 0 for kind in _ASCII_OF_KIND]


def _count_kinds(text: str) -> list[int]:
    """Count the characters of each of `_CHARACTER_KINDS`, six numbers."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _KINDS_OF_CODE.take(np.minimum(codes, _N_CODES - 1))
    counts: list[int] = (np.bincount(kinds, minlength=len(_KIND_SETS)) @ _KINDS_OF_SET).tolist()
    return counts


def tool_schema_features(prompts: Sequence[str]) -> Float32Array:
    """Describe how a request fits the functions that it carries as JSON, `(batch, 12)`.

    The words that request and functions share, and the values that the request contains, show
    whether an expert should call one function, several or none. An embedding of the whole prompt
    does not show it. A prompt without functions gives zeros.
    """
    return _rows([_tool_schema_row(excerpt(prompt)) for prompt in prompts], TOOL_SCHEMA_WIDTH)


def _rows(rows: Sequence[list[float] | None], width: int) -> Float32Array:
    """Return the rows `(batch, width)`, zeros for None."""
    numbers = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        if row is not None:
            numbers[i] = row
    return numbers


def _tool_schema_row(text: str) -> list[float] | None:
    start = _SCHEMA_START.search(text)
    if start is None:
        return None
    request, schema = text[: start.start()], text[start.start() :]
    request_stems, name_stems = _stems(request), _stems(" ".join(_SCHEMA_NAME.findall(schema)))
    schema_stems = _stems(_SCHEMA_KEYWORD.sub("", schema))
    n_required = sum(names.count('"') // 2 for names in _SCHEMA_REQUIRED.findall(schema))
    counts = np.log1p(
        [
            len(request),
            len(schema),
            schema.count('"parameters"'),
            schema.count('"type"'),
            len(_CONJUNCTION.findall(request)),
            n_required,
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
    """Return the beginnings of the words of a text, without the most common words."""
    return {
        word[:_STEM_LENGTH]
        for word in map(str.lower, _SCHEMA_WORD.findall(text))
        if word not in _STOP_WORDS
    }


def multiple_choice_features(prompts: Sequence[str]) -> Float32Array:
    """Describe the options of multiple-choice questions, `(batch, CHOICE_WIDTH)`.

    Strong and weak experts of a subject differ most where options repeat each other's words, as
    combined statements do, or are numbers. An embedding of the whole prompt does not show it. A
    prompt without options gives zeros.
    """
    return _rows([_choice_row(excerpt(prompt)) for prompt in prompts], CHOICE_WIDTH)


def _choice_row(text: str) -> list[float] | None:
    """Return one number for each of `_CHOICE_COLUMNS`, None without options."""
    matches = list(_OPTION.finditer(text))[-_MAX_OPTIONS:]
    if len(matches) < _MIN_OPTIONS:
        return None
    question, options = text[: matches[0].start()], [match[2].strip() for match in matches]
    option_words = [set(option.lower().split()) for option in options]
    overlap = _option_overlap(option_words)
    question_words = set(_CONTENT_WORD.findall(question.lower()))
    words = text.split()
    return [
        1.0,
        math.log1p(len(options)),
        *_log_lengths(question, options),
        sum(bool(_NUMERIC_OPTION.match(option)) for option in options) / len(options),
        overlap,
        max(overlap - _OVERLAP_THRESHOLD, 0.0),
        math.sqrt(len(question_words & set().union(*option_words))),
        float(bool(_COMBINING_OPTION.search(" ".join(options[-2:])))),
        float(_has_statements(text)),
        float(_has_negation(question)),
        float("of the following" in question),
        float(question.rstrip().endswith("?")),
        math.sqrt(_count_digits(text)),
        math.sqrt(sum(map(text.count, _MATH_SYMBOLS))),
        sum(map(_LONG_WORD_LENGTH.__le__, map(len, words))) / (len(words) + 1),
    ]


# Searches for words and characters take less time than patterns, which may match anywhere.


def _count_digits(text: str) -> int:
    """Count the decimal digits, of any script."""
    digits = string.digits if text.isascii() else filter(str.isdecimal, set(text))
    return sum(map(text.count, digits))


def _has_negation(question: str) -> bool:
    """Tell whether the question asks for the wrong option."""
    is_possible = any(word in question for word in _NEGATIONS)
    return is_possible and _NEGATION.search(question) is not None


def _has_statements(text: str) -> bool:
    """Tell whether words such as "statement" or "true" occur more than once."""
    lowercase = text.lower().replace("\u017f", "s")  # the pattern also takes the long s for an s
    if not any(word in lowercase for word in _STATEMENT_WORDS):
        return False
    return sum(1 for _ in islice(_STATEMENT.finditer(text), 2)) > 1


def _log_lengths(question: str, options: Sequence[str]) -> list[float]:
    """Return the log length of the question, and of the options' mean, maximum, minimum and std.

    Lengths are in characters.
    """
    lengths = np.array([len(option) for option in options], np.float64)
    option_statistics = lengths.mean(), lengths.max(), lengths.min(), lengths.std()
    return [math.log1p(length) for length in (len(question), *option_statistics)]


def _option_overlap(option_words: Sequence[set[str]]) -> float:
    """Return the share of words that two options have in common, on average over the pairs."""
    shares = [len(a & b) / (1 + min(len(a), len(b))) for a, b in combinations(option_words, 2)]
    return sum(shares) / len(shares)
