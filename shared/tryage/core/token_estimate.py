"""An estimate of how many tokens a text has, for models whose tokenizer is not at hand.

Tokenizers of language models cut a text at spaces, at punctuation and where letters meet digits,
and keep common words whole. So the number of tokens depends on how often the kind of characters
changes: in base64 at every second character, in a sentence once per word. The estimate counts runs
of characters of one kind, and adds up what a run of each kind usually costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import Float64Array

# A longer text is estimated from windows that are spread over it, so that every text takes well
# under a millisecond.
MAX_CHARACTERS = 16_384
_WINDOWS, _WINDOW_LENGTH = 64, 256
_GOLDEN_RATIO = 0.618034  # spreads windows without a period, which the text could have as well

# What a run costs in tokens: after a space, after a letter or digit, and after anything else; then
# what its second to eighth character add, and what each further one adds. Digits count in threes.
# Fitted to the geometric mean of the counts of o200k_base and of Llama 3.1's tokenizer by
# benchmarks/token_estimate.py.
_COSTS = {
    "space": (0.00, 0.00, 0.00, 0.00, 0.02),
    "newline": (0.80, 1.39, 1.19, 0.14, 0.00),
    "digit": (1.92, 0.53, 1.34, 0.99, 1.00),
    "word": (0.58, 1.45, 0.70, 0.11, 0.38),  # small Latin letters, and a capital before them
    "capital": (0.78, 1.44, 1.06, 0.15, 0.42),
    "punctuation": (0.88, 0.60, 0.00, 0.13, 0.36),
    "greek": (0.31, 1.00, 0.62, 0.46, 0.24),
    "cyrillic": (1.81, 1.00, 1.92, 0.00, 0.01),
    "hebrew": (1.21, 1.00, 1.15, 0.59, 0.30),
    "arabic": (0.29, 0.94, 0.00, 0.44, 0.04),
    "indic": (0.00, 1.00, 1.62, 0.64, 1.57),
    "thai": (0.93, 1.00, 0.53, 0.43, 0.41),
    "hangul": (0.82, 0.79, 1.02, 0.71, 0.70),
    "kana": (1.16, 0.91, 0.51, 0.66, 0.62),
    "han": (2.03, 1.38, 1.12, 0.69, 0.79),
    "other punctuation": (0.96, 1.69, 0.00, 0.25, 0.30),
    "mark": (1.00, 1.00, 1.33, 1.17, 1.00),  # a combining accent or vowel
    "other": (3.98, 1.01, 2.19, 0.45, 0.52),  # emoji, symbols and other scripts
}
_REPEATED_COST = 0.12  # of a character in a repetition, as in ------------ or AAAAAAAAAAAA
_ACCENT_COST = 0.98  # of an accented Latin letter, in addition: its word is seldom a common one

_KINDS = list(_COSTS)
_DIGIT, _WORD, _CAPITAL = (_KINDS.index(name) for name in ("digit", "word", "capital"))
_LETTERS = ("digit", "word", "capital")
_ACCENTED = len(_KINDS)  # a letter of a word that also costs what an accent costs
_FEATURES_PER_KIND = 5
_KNOT = 8  # characters; the cost of a further one changes here
_DIGITS_PER_TOKEN = 3
_REPETITION = 4  # characters; a repetition is a block of this length that stands twice

COEFFICIENTS = np.array([*np.ravel(list(_COSTS.values())), _REPEATED_COST, _ACCENT_COST])

_KIND_RANGES = (
    ("space", (0x00, 0x20)), ("newline", (0x0A, 0x0A), (0x0D, 0x0D)),
    ("punctuation", (0x21, 0x7E)), ("digit", (0x30, 0x39)),
    ("capital", (0x41, 0x5A)), ("word", (0x61, 0x7A), (0x1E00, 0x1EFF)),
    ("greek", (0x370, 0x3FF), (0x1F00, 0x1FFF)), ("cyrillic", (0x400, 0x52F)),
    ("hebrew", (0x590, 0x5FF)),
    ("arabic", (0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    ("indic", (0x900, 0xDFF)), ("thai", (0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
    ("hangul", (0x1100, 0x11FF), (0xAC00, 0xD7AF)), ("kana", (0x3040, 0x30FF), (0xFF66, 0xFF9D)),
    ("han", (0x3400, 0x9FFF), (0xF900, 0xFAFF)), ("mark", (0x300, 0x36F), (0x64B, 0x65F)),
    ("other punctuation", (0x80, 0xBF), (0x60C, 0x60C), (0x61B, 0x61B), (0x61F, 0x61F),
     (0x2000, 0x200F), (0x2020, 0x206F), (0x3000, 0x303F), (0xFF00, 0xFF65)),
)  # fmt: skip
_ACCENTED_RANGE = slice(0xC0, 0x250)
_N_CODES = 0x10000  # characters above these, such as emoji, are "other", as the last code is


def _kinds_by_code() -> NDArray[np.uint8]:
    """Return the kind of every character by its code."""
    kinds = np.full(_N_CODES, _KINDS.index("other"), np.uint8)
    for name, *ranges in _KIND_RANGES:
        for first, last in ranges:
            kinds[first : last + 1] = _KINDS.index(name)
    kinds[_ACCENTED_RANGE] = _ACCENTED
    return kinds


_KIND_OF_CODE = _kinds_by_code()
_KIND_OF_ASCII = _KIND_OF_CODE[:256].tobytes()

# The cells of a run by its kind, to which what stands before it is added: 0 a space or nothing, 1 a
# letter or digit, 2 the rest.
_FIRST_CELLS = 3 * np.arange(len(_KINDS))
_CONTEXT_AFTER = np.array([{"space": 0, **dict.fromkeys(_LETTERS, 1)}.get(k, 2) for k in _KINDS])


def estimate_tokens(text: str) -> float:
    """Estimate the number of tokens of a text for a usual language model of today.

    It reads at most `MAX_CHARACTERS` characters, spread over the text. Half of the estimates are
    within 10% of what o200k_base and the tokenizer of Llama 3.1 count, 95% within 25%, for every
    kind of text in benchmarks/README.md.
    """
    if not text:
        return 0.0
    excerpt = text if len(text) <= MAX_CHARACTERS else _spread_excerpt(text)
    tokens = float(token_features(excerpt) @ COEFFICIENTS)
    return max(1.0, float(round(tokens * len(text) / len(excerpt))))


def token_features(text: str) -> Float64Array:
    """Count what `COEFFICIENTS` are the costs of, in a text that is not empty.

    Five numbers per kind of characters: its runs in each of the three contexts, and the characters
    after the first and after the eighth of a run; then the repeated and the accented characters.
    """
    codes, kinds, n_accented = _read_characters(text)
    bounds = _run_bounds(kinds)
    starts = bounds[:-1]
    run_kinds = kinds.take(starts)
    lengths = bounds[1:] - starts
    is_repeated = _repeated(codes)
    n_repeated = 0
    if is_repeated.any():  # prose has none
        is_repeated &= kinds > _DIGIT
        is_repeated[starts] = False
        n_repeated = int(np.count_nonzero(is_repeated))
        lengths -= np.add.reduceat(is_repeated, starts, dtype=np.intp)
    is_number = run_kinds == _DIGIT
    if is_number.any():
        lengths[is_number] = -(-lengths[is_number] // _DIGITS_PER_TOKEN)

    features = np.empty(len(COEFFICIENTS))
    per_kind = features[:-2].reshape(-1, _FEATURES_PER_KIND)
    cells = _FIRST_CELLS.take(run_kinds)
    cells[1:] += _CONTEXT_AFTER.take(run_kinds[:-1])
    per_kind[:, :3] = np.bincount(cells, minlength=3 * len(_KINDS)).reshape(-1, 3)
    further = np.minimum(lengths, _KNOT)
    per_kind[:, 4] = np.bincount(run_kinds, lengths - further, len(_KINDS))
    further -= 1
    per_kind[:, 3] = np.bincount(run_kinds, further, len(_KINDS))
    features[-2:] = n_repeated, n_accented
    return features


def _read_characters(text: str) -> tuple[NDArray[Any], NDArray[np.uint8], int]:
    """Return the codes and the kinds of the characters, and how many of them are accented."""
    if text.isascii():
        characters = text.encode("ascii")
        kinds = np.frombuffer(bytearray(characters.translate(_KIND_OF_ASCII)), np.uint8)
        return np.frombuffer(characters, np.uint8), kinds, 0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _KIND_OF_CODE.take(np.minimum(codes, _N_CODES - 1))
    is_accented = kinds == _ACCENTED
    kinds[is_accented] = _WORD
    return codes, kinds, int(np.count_nonzero(is_accented))


def _run_bounds(kinds: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return where runs start, and the end of the last one.

    A capital before a small letter starts a word, in `kinds` as well.
    """
    starts_word = kinds[:-1] == _CAPITAL
    starts_word &= kinds[1:] == _WORD
    kinds[:-1] -= starts_word.view(np.uint8)  # _WORD is the number before _CAPITAL
    is_bound = np.ones(len(kinds) + 1, np.bool_)
    np.not_equal(kinds[1:], kinds[:-1], out=is_bound[1:-1])
    is_bound[1:-2] |= starts_word[1:]
    return is_bound.nonzero()[0]


def _repeated(codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which characters end a block of four that is the same as the four before it."""
    is_repeated = np.zeros(len(codes), np.bool_)
    same = codes[_REPETITION:] == codes[:-_REPETITION]
    if len(same) >= _REPETITION:
        same_pairs = same[1:] & same[:-1]
        np.logical_and(same_pairs[2:], same_pairs[:-2], out=is_repeated[2 * _REPETITION - 1 :])
    return is_repeated


def _spread_excerpt(text: str) -> str:
    """Join windows of a long text: one at an irregular place in each of 64 equal parts."""
    part = len(text) / _WINDOWS
    starts = [
        int(i * part + (i * _GOLDEN_RATIO) % 1 * (part - _WINDOW_LENGTH)) for i in range(_WINDOWS)
    ]
    return "".join(text[start : start + _WINDOW_LENGTH] for start in starts)
