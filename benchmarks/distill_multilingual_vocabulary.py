"""The word pieces of a static table for many languages: those of BERT, then the most frequent."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, models

from tryage.perception.tokenizer import many_language_normalizer, many_language_pre_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNKNOWN, CONTINUATION, WORD_START = "[UNK]", "##", "\u2581"
MAX_PIECE_LENGTH = 24  # characters

# What is written without spaces between words: a piece may begin or continue a run.
_WITHOUT_SPACES = (
    ("\u0e00", "\u0eff"),  # Thai, Lao
    ("\u1000", "\u109f"),  # Burmese
    ("\u1780", "\u17ff"),  # Khmer
    ("\u3040", "\u30ff"),  # Hiragana, Katakana
)
_CHINESE = ("\u3400", "\u9fff")  # each character is a word of its own


def make_tokenizer(pieces: Iterable[str]) -> Tokenizer:
    """Build a WordPiece tokenizer that lowers letters and drops the accents of European scripts."""
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100)
    )
    tokenizer.normalizer = many_language_normalizer()
    tokenizer.pre_tokenizer = many_language_pre_tokenizer()
    tokenizer.add_special_tokens([AddedToken(UNKNOWN, special=True, normalized=False)])
    return tokenizer


def base_pieces(tokenizer: Tokenizer) -> list[str]:
    """Return the pieces of BERT in the order of their ids, without those that nothing uses."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    kept = [p for p, _ in vocabulary if not p.startswith("[unused") and p not in special]
    return [UNKNOWN, *kept]


def candidates(teacher_pieces: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return word pieces with their probability, from the pieces of a unigram tokenizer."""
    normalizer = many_language_normalizer()
    found: Counter[str] = Counter()
    for text, score in teacher_pieces:
        is_start = text.startswith(WORD_START)
        word = normalizer.normalize_str(text.removeprefix(WORD_START)).strip()
        if not word or len(word) > MAX_PIECE_LENGTH or " " in word or score == 0:
            continue
        for piece in _forms(word, is_start=is_start):
            found[piece] += math.exp(score)
    return found


def _forms(word: str, *, is_start: bool) -> list[str]:
    if _within(word[0], _CHINESE) or _is_symbol(word):
        return [word] if len(word) == 1 else []
    if any(_within(c, _CHINESE) for c in word):
        return []
    if any(_within(word[0], script) for script in _WITHOUT_SPACES):
        return [word, CONTINUATION + word]
    return [word if is_start else CONTINUATION + word]


def _is_symbol(word: str) -> bool:
    return not any(c.isalnum() for c in word)


def _within(character: str, script: tuple[str, str]) -> bool:
    return script[0] <= character <= script[1]


def characters(texts: Iterable[str], least: int) -> list[str]:
    """Return every letter that occurs `least` times, as a word and as a continuation."""
    normalizer = many_language_normalizer()
    counts = Counter(c for text in texts for c in normalizer.normalize_str(text) if c.isprintable())
    frequent = [c for c, count in counts.most_common() if count >= least and not c.isspace()]
    forms = []
    for c in frequent:
        is_word = _within(c, _CHINESE) or not (c.isalnum() or _is_mark(c))
        forms += [c] if is_word else [c, CONTINUATION + c]
    return forms


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def frequent_pieces(
    base: Sequence[str],
    teacher_pieces: Sequence[tuple[str, float]],
    texts: Mapping[str, Sequence[str]],
    weights: Mapping[str, float],
    size: int,
) -> tuple[list[str], dict[str, float]]:
    """Choose `size` pieces: the base, all frequent characters, then by frequency in all languages.

    The frequency of a piece is the mean of the one that the teacher's tokenizer gives it and the
    weighted mean over languages of the one in the texts. Returns the pieces and the frequencies.
    """
    prior = candidates(teacher_pieces)
    single = characters((t for part in texts.values() for t in part), least=8)
    single += [p for p in prior if len(p) == 1 and unicodedata.category(p).startswith("S")]
    tokenizer = make_tokenizer([*base, *single, *prior])
    used: Counter[str] = Counter()
    for language, part in texts.items():
        counts = Counter(
            token
            for e in tokenizer.encode_batch(list(part), add_special_tokens=False)
            for token in e.tokens
        )
        total = max(counts.total(), 1)
        for token, count in counts.items():
            used[token] += weights[language] * count / total
    scale, all_prior = sum(weights.values()), sum(prior.values())
    frequency = {p: used[p] / scale / 2 + prior.get(p, 0) / all_prior / 2 for p in {*used, *prior}}
    chosen = dict.fromkeys([*base, *single])
    for piece in sorted(frequency, key=lambda p: -frequency[p]):
        if len(chosen) >= size:
            break
        chosen.setdefault(piece)
    return list(chosen), frequency
